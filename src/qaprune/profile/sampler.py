"""A thread that notes what the GPU does meanwhile: power, clocks, throttling and the rest."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from qaprune.errors import InputError
from qaprune.profile.nvml import Gpu
from qaprune.profile.outcome import NotMeasured, Unavailable

INTERVAL_S = 0.05
LEAST_SAMPLES = 5
"""Fewer power samples than this in a window are not integrated."""
INSTANT_POWER, USAGE_POWER = "NVML_FI_DEV_POWER_INSTANT", "nvmlDeviceGetPowerUsage"
MILLI = 1e-3
MIB = 1024 * 1024
KB_IN_MB = 1000
WHOLE_CARD = "a MIG slice: this figure belongs to the whole card"

THROTTLE_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
"""NVML's bits (nvmlClocksEventReason*, and two of the older nvmlClocksThrottleReason*) by name."""


def throttle_names(bits: int) -> list[str]:
    """The reasons in a bit mask, lowest bit first; a bit that NVML adds later keeps its number."""
    set_bits = [1 << number for number in range(bits.bit_length()) if bits >> number & 1]
    return [THROTTLE_REASONS.get(bit, f"unknown_{bit:#x}") for bit in set_bits]


def _instant_power(gpu: Gpu) -> dict[str, float]:
    """Watts at this moment. Raises `Unavailable` on drivers and cards without the field."""
    (found,) = gpu.ask("nvmlDeviceGetFieldValues", gpu.card, [gpu.nvml.NVML_FI_DEV_POWER_INSTANT])
    if found.nvmlReturn or not found.value.uiVal:
        raise Unavailable(f"{INSTANT_POWER}: NVML answers with code {found.nvmlReturn} and no value")
    return {"power_w": found.value.uiVal * MILLI}


def _usage_power(gpu: Gpu) -> dict[str, float]:
    """Watts; on Ampere (GA100 apart) and newer cards the average of the last second."""
    return {"power_w": gpu.ask("nvmlDeviceGetPowerUsage", gpu.card) * MILLI}


POWER_READINGS = {INSTANT_POWER: _instant_power, USAGE_POWER: _usage_power}


def power_source(gpu: Gpu) -> str:
    """Which power reading the card has: the instant one if it can, since the other may lag by a second."""
    try:
        _instant_power(gpu)
    except Unavailable:
        return USAGE_POWER
    return INSTANT_POWER


def _utilisation(gpu: Gpu) -> dict[str, float]:
    rates = gpu.ask("nvmlDeviceGetUtilizationRates", gpu.card)
    return {"gpu_util_percent": rates.gpu, "memory_util_percent": rates.memory}


def _sm_clock(gpu: Gpu) -> dict[str, float]:
    return {"sm_clock_mhz": gpu.ask("nvmlDeviceGetClockInfo", gpu.card, gpu.nvml.NVML_CLOCK_SM)}


def _memory_clock(gpu: Gpu) -> dict[str, float]:
    return {"memory_clock_mhz": gpu.ask("nvmlDeviceGetClockInfo", gpu.card, gpu.nvml.NVML_CLOCK_MEM)}


def _temperature(gpu: Gpu) -> dict[str, float]:
    return {"temperature_c": gpu.ask("nvmlDeviceGetTemperature", gpu.card, gpu.nvml.NVML_TEMPERATURE_GPU)}


def _throttle(gpu: Gpu) -> dict[str, float]:
    try:
        return {"throttle": gpu.ask("nvmlDeviceGetCurrentClocksEventReasons", gpu.card)}
    except Unavailable:
        # the same bits under the name that drivers before 535 know
        return {"throttle": gpu.ask("nvmlDeviceGetCurrentClocksThrottleReasons", gpu.card)}


def _memory(gpu: Gpu) -> dict[str, float]:
    return {"memory_used_mb": gpu.ask("nvmlDeviceGetMemoryInfo", gpu.share).used / MIB}


def _pcie_tx(gpu: Gpu) -> dict[str, float]:
    sent = gpu.ask("nvmlDeviceGetPcieThroughput", gpu.card, gpu.nvml.NVML_PCIE_UTIL_TX_BYTES)
    return {"pcie_tx_mb_s": sent / KB_IN_MB}


def _pcie_rx(gpu: Gpu) -> dict[str, float]:
    received = gpu.ask("nvmlDeviceGetPcieThroughput", gpu.card, gpu.nvml.NVML_PCIE_UTIL_RX_BYTES)
    return {"pcie_rx_mb_s": received / KB_IN_MB}


@dataclass(frozen=True, slots=True)
class Reading:
    """One query. `every`: in each poll of so many. `whole_card`: says nothing about one MIG slice."""

    keys: tuple[str, ...]
    read: Callable[[Gpu], dict[str, float]]
    every: int
    whole_card: bool = False


READINGS = (
    Reading(("gpu_util_percent", "memory_util_percent"), _utilisation, 5, whole_card=True),
    Reading(("sm_clock_mhz",), _sm_clock, 5),
    Reading(("memory_clock_mhz",), _memory_clock, 5),
    Reading(("temperature_c",), _temperature, 5),
    Reading(("throttle",), _throttle, 5),
    Reading(("memory_used_mb",), _memory, 5),
    # each blocks the sampler's thread for the 20 ms that NVML counts over
    Reading(("pcie_tx_mb_s",), _pcie_tx, 10, whole_card=True),
    Reading(("pcie_rx_mb_s",), _pcie_rx, 10, whole_card=True),
)


@dataclass(slots=True)
class Trace:
    """What was read of one quantity: (time, value) pairs, failed reads and the last one's reason."""

    points: list[tuple[float, float]] = field(default_factory=list)
    failed: int = 0
    reason: str | None = None
    given_up: bool = False


class Sampler:
    """Polls the GPU from `__enter__` to `__exit__`, in a thread of its own.

    A quantity that the card lacks is a gap with its reason, never zero. After the block: `summary` for the
    result, `energy` for the cross-check, `lost` if the device went away. `start_thread=False` leaves
    polling to the caller (tests); `clock` must be the one that windows are timed with.
    """

    def __init__(
        self,
        gpu: Gpu,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.perf_counter,
        start_thread: bool = True,
    ):
        self._gpu, self._interval_s, self._clock = gpu, interval_s, clock
        self.power_source = power_source(gpu)
        power = Reading(("power_w",), POWER_READINGS[self.power_source], 1, whole_card=True)
        self._readings = [power, *READINGS]
        self.traces = {key: Trace() for reading in self._readings for key in reading.keys}
        self.polls = 0
        self.poll_seconds = self.cpu_seconds = 0.0
        self.lost: InputError | None = None
        self._crash: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gpu-sampler", daemon=True)
        self._started = start_thread
        if gpu.mig:
            for reading in self._readings:
                if reading.whole_card:
                    self._give_up(reading, WHOLE_CARD)

    def __enter__(self) -> Sampler:
        self._began = self._clock()
        if self._started:
            self._thread.start()
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._stop.set()
        if self._started:
            self._thread.join()
        self._ended = self._clock()
        if self._crash is not None and kind is None:
            raise self._crash

    def _run(self) -> None:
        try:
            while self.lost is None:
                self.poll()
                if self._stop.wait(self._interval_s):
                    break
        except Exception as error:  # a thread's traceback would vanish: __exit__ raises it
            self._crash = error

    def poll(self) -> None:
        """Read whatever is due once and note what that cost."""
        started, cpu = self._clock(), time.thread_time()
        for reading in self._readings:
            if self.polls % reading.every == 0 and not self.traces[reading.keys[0]].given_up:
                self._take(reading)
        self.polls += 1
        self.poll_seconds += self._clock() - started
        self.cpu_seconds += time.thread_time() - cpu

    def ask_device(self) -> None:
        """Ask whether the device is still there, between polls; `lost` has the answer."""
        try:
            self._gpu.ask("nvmlDeviceGetMemoryInfo", self._gpu.card)
        except Unavailable:
            pass
        except InputError as error:
            self.lost = error

    def _take(self, reading: Reading) -> None:
        before = self._clock()
        try:
            values = reading.read(self._gpu)
        except Unavailable as error:
            self._failed(reading, error)
            return
        except InputError as error:
            self.lost = error
            return
        at = (before + self._clock()) / 2
        for key, value in values.items():
            self.traces[key].points.append((at, value))

    def _failed(self, reading: Reading, error: Unavailable) -> None:
        for key in reading.keys:
            self.traces[key].failed += 1
            self.traces[key].reason = str(error)
            self.traces[key].given_up = error.for_good

    def _give_up(self, reading: Reading, reason: str) -> None:
        for key in reading.keys:
            self.traces[key].reason, self.traces[key].given_up = reason, True

    def points(self, key: str, since: float, until: float) -> list[tuple[float, float]]:
        """The (time, value) pairs of one quantity between two moments of the clock."""
        return [point for point in self.traces[key].points if since <= point[0] <= until]

    def energy(self, since: float, until: float) -> float | NotMeasured:
        """Joules between two moments, integrated from the power samples by the trapezoid rule."""
        return integrate(self.points("power_w", since, until), since, until, self.traces["power_w"].reason)

    def summary(self, since: float, until: float) -> dict[str, Any]:
        """Mean, min and max of each quantity between two moments, throttle reasons seen, gaps, own cost.

        `throttle_reasons` maps each reason seen to the per cent of readings that had it; `gaps` maps each
        quantity without a value, or with failed reads, to the reason. The cost is that of the whole block.
        """
        result: dict[str, Any] = {"power_source": self.power_source, "gaps": self._gaps(since, until)}
        for key in self.traces:
            values = [value for _, value in self.points(key, since, until)]
            if not values:
                continue
            if key == "throttle":
                result["throttle_reasons"] = _shares([throttle_names(int(bits)) for bits in values])
            else:
                result[key] = {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}
        return result | {
            "polls": self.polls,
            "poll_seconds": self.poll_seconds,
            "poll_cpu_seconds": self.cpu_seconds,
            "seconds": self._ended - self._began,
        }

    def _gaps(self, since: float, until: float) -> dict[str, str]:
        gaps = {}
        for key, trace in self.traces.items():
            read = len(self.points(key, since, until))
            if not read:
                gaps[key] = trace.reason or "no reading fell into the window"
            elif trace.failed:
                gaps[key] = f"{trace.failed} reads failed: {trace.reason}"
        return gaps


def _shares(seen: list[list[str]]) -> dict[str, float]:
    """Each name's share of the readings, in per cent."""
    counts = Counter(name for names in seen for name in names)
    return {name: 100 * count / len(seen) for name, count in sorted(counts.items())}


def integrate(
    points: list[tuple[float, float]], since: float, until: float, reason: str | None = None
) -> float | NotMeasured:
    """The area under (time, watts) points from `since` to `until`, in joules.

    Power counts as flat before the first and after the last. `reason`: why there are none, if known.
    """
    if len(points) < LEAST_SAMPLES:
        return NotMeasured(
            reason or f"{len(points)} power samples fell into the window, {LEAST_SAMPLES} needed"
        )
    ends = [(since, points[0][1]), *points, (until, points[-1][1])]
    return sum((right - left) * (before + after) / 2 for (left, before), (right, after) in pairwise(ends))
