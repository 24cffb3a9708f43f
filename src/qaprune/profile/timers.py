"""Wall-clock timing of several models, interleaved in rounds so that drift hits all of them alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from qaprune.errors import InputError

ForwardPass = Callable[[int], object]
"""One forward pass on the batch of a round; takes the round's number, so that all variants see the same."""

MIB = 1024 * 1024


class Sample(NamedTuple):
    """One timed forward pass: `seconds` of wall clock, device work included."""

    round: int
    name: str
    seconds: float


def round_order(names: list[str], round_number: int, seed: int) -> list[str]:
    """The order of the variants inside one round: a fresh seeded shuffle: nobody always goes first."""
    order = list(names)
    random.Random(f"{seed}/{round_number}").shuffle(order)
    return order


def time_interleaved(
    models: Mapping[str, ForwardPass],
    rounds: int,
    warmup_rounds: int,
    min_seconds: float,
    synchronise: Callable[[], None],
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Sample]:
    """Time every model once a round, for at least `rounds` rounds and `min_seconds` of measured time.

    `synchronise` waits for the device (a no-op on a CPU); it is called on both sides of each pass.
    """
    if not models:
        raise InputError("profile: no variants to time")
    if rounds < 1 or warmup_rounds < 0:
        raise InputError(
            f"profile: expected rounds >= 1 and warmup_rounds >= 0, got {rounds} and {warmup_rounds}"
        )
    names = list(models)
    for number in range(warmup_rounds):
        for name in round_order(names, -1 - number, seed):
            models[name](number)
    synchronise()
    samples: list[Sample] = []
    spent = 0.0
    number = 0
    while number < rounds or spent < min_seconds:
        for name in round_order(names, number, seed):
            synchronise()
            started = clock()
            models[name](number)
            synchronise()
            samples.append(Sample(number, name, clock() - started))
            spent += samples[-1].seconds
        number += 1
    return samples


def synchroniser(device: str) -> Callable[[], None]:
    """What waits for the device: `torch.cuda.synchronize` on a GPU, nothing on a CPU."""
    if not device.startswith("cuda"):
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)


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
