"""Energy of forward passes: a hardware counter read over a long window, idle power measured and subtracted.

On a GPU the counter is NVML's total energy, cross-checked against the sampler's power readings; on a CPU
it is RAPL's. What cannot be measured is a `NotMeasured` with the reason.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

from qaprune.profile.energy import Energy, Idle, Measurement, Part
from qaprune.profile.nvml import NO_GPU, Gpu
from qaprune.profile.outcome import NotMeasured, Unavailable
from qaprune.profile.rapl import POWERCAP, RaplCounter
from qaprune.profile.sampler import MILLI, Sampler

PERIODS_A_WINDOW = 20
"""A window spans at least so many updates of the counter."""
PARTS = 4
"""A window is read at so many moments, so that two windows can be told apart by how their parts vary."""
LEAST_UPDATES = 6
"""The counter's period is the median of the gaps between at least so many updates."""
PATIENCE_S = 5.0
"""A counter that has not moved for so long is not going to."""
POLL_S = 0.0005


class EnergyCounter(Protocol):
    """A counter of joules. `read` raises `Unavailable`, or `InputError` where the device is gone."""

    source: str

    def read(self) -> float: ...


class NvmlCounter:
    """The whole board's energy since the driver was loaded. Raises `Unavailable` where there is none."""

    source = "nvml"

    def __init__(self, gpu: Gpu):
        if gpu.mig:
            raise Unavailable("a MIG slice: the energy counter belongs to the whole card")
        self._gpu = gpu
        self.read()

    def read(self) -> float:
        """Joules."""
        return self._gpu.ask("nvmlDeviceGetTotalEnergyConsumption", self._gpu.card) * MILLI


class _Edge(NamedTuple):
    """A moment at which the counter had just updated, and the passes run on the way there."""

    at: float
    joules: float
    passes: int


class _Window(NamedTuple):
    """A measured window, by the meter's clock. `parts` is a reason where no counter could be read."""

    since: float
    until: float
    parts: list[Part] | NotMeasured


@dataclass(frozen=True)
class Meter:
    """Measures idle power and windows of one device with one counter.

    `wait` waits for the device. `make_sampler` starts the sampler of one window. `clock` and `sleep` are
    replaced in tests.
    """

    counter: EnergyCounter | NotMeasured
    make_sampler: Callable[[], Sampler] | NotMeasured
    wait: Callable[[], None]
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep

    def idle(self, seconds: float = 1.0, settle_seconds: float = 0.5) -> Idle | NotMeasured:
        """Power at rest and the counter's update period, from its updates over at least `seconds`.

        The device is waited for first, then left alone for `settle_seconds`, so that the last work's
        power is not in it.
        """
        if isinstance(self.counter, NotMeasured):
            return self.counter
        self.wait()
        self.sleep(settle_seconds)
        try:
            updates = self._updates(self.counter, seconds)
        except Unavailable as error:
            return NotMeasured(str(error))
        (began, low), (ended, high) = updates[0], updates[-1]
        gaps = [later[0] - earlier[0] for earlier, later in pairwise(updates)]
        return Idle((high - low) / (ended - began), ended - began, statistics.median(gaps))

    def _updates(self, counter: EnergyCounter, seconds: float) -> list[tuple[float, float]]:
        """(time, joules) of each update seen over `seconds`, longer where they are few."""
        started, last = self.clock(), counter.read()
        updates: list[tuple[float, float]] = []
        while len(updates) < LEAST_UPDATES or updates[-1][0] - updates[0][0] < seconds:
            if self.clock() - started > seconds + PATIENCE_S:
                raise Unavailable(
                    f"the energy counter moved {len(updates)} times in {seconds + PATIENCE_S:.1f} s"
                )
            self.sleep(POLL_S)
            now = counter.read()
            if now != last:
                _must_rise(last, now)
                updates.append((self.clock(), now))
                last = now
        return updates

    def measure(
        self,
        call: Callable[[], object],
        idle: Idle | NotMeasured,
        min_seconds: float = 1.0,
        warm_seconds: float = 0.5,
    ) -> Measurement:
        """Repeat `call` (one forward pass) for `warm_seconds`, then over a window of at least
        `min_seconds` and `PERIODS_A_WINDOW` updates of the counter, which begins and ends at an update.

        Where only the sampler can measure, the window is `min_seconds` of wall clock; where nothing can,
        no pass runs. Raises `InputError` where the device is lost.
        """
        if isinstance(self.make_sampler, NotMeasured):
            if isinstance(idle, NotMeasured):
                return Measurement(idle, self.make_sampler)
            window = self._window(call, idle, min_seconds, warm_seconds)
            return Measurement(self._energy(window, idle, self.make_sampler), self.make_sampler)
        sampler = self.make_sampler()
        try:
            with sampler:
                window = self._window(call, idle, min_seconds, warm_seconds)
        except Exception as error:
            # CUDA reports a lost device in its own words and sooner than a poll does: say what NVML sees.
            sampler.ask_device()
            if sampler.lost:
                raise sampler.lost from error
            raise
        if sampler.lost:
            raise sampler.lost
        sampled = sampler.energy(window.since, window.until)
        return Measurement(self._energy(window, idle, sampled), sampler.summary(window.since, window.until))

    def _energy(
        self, window: _Window, idle: Idle | NotMeasured, sampled_j: float | NotMeasured
    ) -> Energy | NotMeasured:
        if isinstance(idle, NotMeasured):
            return idle
        if isinstance(window.parts, NotMeasured):
            return window.parts
        return Energy(window.parts, idle, self.counter.source, sampled_j)

    def _window(
        self, call: Callable[[], object], idle: Idle | NotMeasured, min_seconds: float, warm_seconds: float
    ) -> _Window:
        """Run the passes; a counter that fails on the way makes the joules, not the window, unmeasured."""
        self._run(call, warm_seconds)
        began = self.clock()
        if isinstance(idle, NotMeasured):
            self._run(call, min_seconds)
            return _Window(began, self.clock(), idle)
        parts: list[Part] = []
        try:
            edge = start = self._to_update(call)
            for number in range(1, PARTS + 1):
                # Each runs up to its share of the whole, so that waiting for an update adds up to nothing.
                due = start.at + number / PARTS * max(min_seconds, PERIODS_A_WINDOW * idle.period_s)
                passes = self._run(call, due - edge.at)
                after = self._to_update(call)
                _must_rise(edge.joules, after.joules)
                parts.append(Part(after.at - edge.at, after.joules - edge.joules, passes + after.passes))
                edge = after
        except Unavailable as error:
            return _Window(began, self.clock(), NotMeasured(str(error)))
        return _Window(start.at, edge.at, parts)

    def _run(self, call: Callable[[], object], seconds: float) -> int:
        """Run passes for `seconds`; at least one."""
        started, passes = self.clock(), 0
        while not passes or self.clock() - started < seconds:
            call()
            self.wait()
            passes += 1
        return passes

    def _to_update(self, call: Callable[[], object]) -> _Edge:
        """Run passes until the counter moves: a window between two such moments has no stale ends."""
        started, before = self.clock(), self.counter.read()
        passes = 0
        while True:
            passes += self._run(call, 0)
            now = self.counter.read()
            at = self.clock()
            if now != before:
                return _Edge(at, now, passes)
            if at - started > PATIENCE_S:
                raise Unavailable(f"the energy counter did not move in {at - started:.1f} s")


def _must_rise(before: float, after: float) -> None:
    if after <= before:
        raise Unavailable(f"the energy counter went from {before:.3f} J to {after:.3f} J: it was reset")


def make_meter(
    device: str, gpu: Gpu | NotMeasured, wait: Callable[[], None], powercap: Path = POWERCAP
) -> Meter:
    """The meter of a torch device: NVML's counter and sampler on a GPU, RAPL's counter on a CPU.

    `gpu` is what `nvml.open_gpu` gave for the device, and must stay open while the meter is used; `wait`
    waits for the device. A GPU that cannot be measured is never replaced by the CPU's counter.
    """
    if not device.startswith("cuda"):
        return Meter(_rapl(powercap), NotMeasured(NO_GPU), wait)
    if isinstance(gpu, NotMeasured):
        return Meter(gpu, gpu, wait)
    try:
        counter: EnergyCounter | NotMeasured = NvmlCounter(gpu)
    except Unavailable as error:
        counter = NotMeasured(str(error))
    return Meter(counter, lambda: Sampler(gpu), wait)


def _rapl(powercap: Path) -> RaplCounter | NotMeasured:
    try:
        return RaplCounter(powercap)
    except Unavailable as error:
        return NotMeasured(f"{NO_GPU}; {error}")
