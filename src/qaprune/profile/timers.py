"""Timing of several models, interleaved in rounds so that drift hits all of them alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from qaprune.errors import InputError

ForwardPass = Callable[[int], object]
"""One forward pass on the batch of a round; takes the round's number, so that all variants see the same."""

MIB = 1024 * 1024


class Sample(NamedTuple):
    """One timed pass: `seconds` of wall clock, device work included; `device_seconds` between two events
    in the device's own queue, None on a CPU.
    """

    round: int
    name: Any
    seconds: float
    device_seconds: float | None = None


@dataclass(frozen=True)
class Stopwatch:
    """Wall clock around a pass. `wait` waits for the device: a no-op on a CPU."""

    wait: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.perf_counter

    def measure(self, call: Callable[[], object]) -> tuple[float, float | None]:
        """Seconds of wall clock, and of the device's own clock where it has one."""
        self.wait()
        started = self.clock()
        call()
        self.wait()
        return self.clock() - started, None


@dataclass(frozen=True)
class CudaStopwatch(Stopwatch):
    """Wall clock, and CUDA events recorded on the stream right before and after the pass.

    Wall clock is what a caller waits for, launches included. The first event is passed by an idle device at
    once, so that the host's time before the first kernel is in both; its return after the last is not.
    """

    device: str = "cuda"
    events: tuple[Any, Any] = field(default=(None, None))

    def measure(self, call: Callable[[], object]) -> tuple[float, float | None]:
        """Seconds of wall clock and seconds between the two events (resolution about 0.5 us)."""
        before, after = self.events
        self.wait()
        started = self.clock()
        before.record()
        call()
        after.record()
        self.wait()
        seconds = self.clock() - started
        return seconds, before.elapsed_time(after) / 1000


def make_stopwatch(device: str) -> Stopwatch:
    """The stopwatch of a torch device."""
    if not device.startswith("cuda"):
        return Stopwatch()
    import torch

    with torch.cuda.device(device):
        events = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
    return CudaStopwatch(lambda: torch.cuda.synchronize(device), device=device, events=events)


class Warmup(NamedTuple):
    """How warm-up ended: `cv_percent` is the coefficient of variation of the last rounds' total times."""

    rounds: int
    cv_percent: float
    steady: bool


def round_order(names: Sequence[Any], round_number: int, seed: int) -> list[Any]:
    """The order of the variants inside one round: a fresh seeded shuffle: nobody always goes first."""
    order = list(names)
    random.Random(f"{seed}/{round_number}").shuffle(order)
    return order


def warm_up(
    calls: Mapping[Any, ForwardPass],
    least: int,
    most: int,
    cv_percent: float,
    stopwatch: Stopwatch | None = None,
    seed: int = 0,
) -> Warmup:
    """Run rounds until the last `least` of them took the same time: their totals' standard deviation is at
    most `cv_percent` of their mean. Gives up after `most` rounds and says so.
    """
    stopwatch = stopwatch or Stopwatch()
    totals: list[float] = []
    cv = float("inf")
    while len(totals) < most:
        number = len(totals)
        order = round_order(list(calls), -1 - number, seed)
        totals.append(sum(stopwatch.measure(partial(calls[name], number))[0] for name in order))
        if len(totals) >= max(2, least):
            cv = coefficient_of_variation(totals[-max(2, least) :])
            if cv <= cv_percent:
                return Warmup(len(totals), cv, True)
    return Warmup(len(totals), cv, False)


def coefficient_of_variation(values: Sequence[float]) -> float:
    """Standard deviation (n - 1) in per cent of the mean; 0 where nothing takes time."""
    mean = statistics.fmean(values)
    return 100 * statistics.stdev(values) / mean if mean else 0.0


def time_interleaved(
    calls: Mapping[Hashable, ForwardPass],
    rounds: int,
    min_seconds: float,
    stopwatch: Stopwatch | None = None,
    seed: int = 0,
) -> list[Sample]:
    """Time every call once a round, for at least `rounds` rounds and `min_seconds` of measured time."""
    if not calls:
        raise InputError("profile: no variants to time")
    if rounds < 1:
        raise InputError(f"profile: expected rounds >= 1, got {rounds}")
    stopwatch = stopwatch or Stopwatch()
    samples: list[Sample] = []
    spent = 0.0
    number = 0
    while number < rounds or spent < min_seconds:
        for name in round_order(list(calls), number, seed):
            seconds, on_device = stopwatch.measure(partial(calls[name], number))
            samples.append(Sample(number, name, seconds, on_device))
            spent += seconds
        number += 1
    return samples


def peak_memory_mb(call: ForwardPass, weight_bytes: int, device: str) -> float | None:
    """Peak device memory of one variant in MiB: its own weights and the most that a pass allocates on top.

    All variants are resident while they are timed, so the allocator's plain peak would count the others'
    weights too. None on a CPU, where the allocations of one variant are not counted.
    """
    if not device.startswith("cuda"):
        return None
    import torch

    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call(0)
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before + weight_bytes) / MIB
