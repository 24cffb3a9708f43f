"""A fake pynvml with the real module's names and signatures over a simulated card, and time that only work
moves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pynvml

UUID = "12345678-aaaa-bbbb-cccc-1234567890ab"
OTHER = "12349999-aaaa-bbbb-cccc-1234567890ab"
SLICE = "5a5a5a5a-1111-2222-3333-444444444444"
IDLE_W, BUSY_W = 60.0, 260.0
OWN_PID = 4000
CARD_QUERIES = (
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetFieldValues",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetPcieThroughput",
)


class World:
    """Time, and a card that draws power: its counter and its power reading move every `period_s`."""

    def __init__(self, period_s: float = 0.02, stuck: bool = False):
        self.now, self.period_s, self.stuck = 100.0, period_s, stuck
        self.joules = self.counted = 5000.0
        self.watts = IDLE_W
        self._next = self.now + period_s

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.advance(seconds, IDLE_W)

    def advance(self, seconds: float, watts: float) -> None:
        until = self.now + seconds
        self.watts = watts
        while self._next <= until:
            self.joules += watts * (self._next - self.now)
            self.now = self._next
            self._next += self.period_s
            if not self.stuck:
                self.counted = self.joules
        self.joules += watts * (until - self.now)
        self.now = until


class FakeNvml:
    """One card (`GPU-<UUID>`) or more. `errors` maps a function's name to the NVML error that it answers.

    Handles are plain strings: a card's is its UUID, a slice's too.
    """

    def __init__(
        self,
        world: World | None = None,
        cards: tuple[str, ...] = (f"GPU-{UUID}",),
        slices: tuple[str, ...] = (),
        errors: dict[str, int] | None = None,
        processes: dict[str, list[tuple[int, int | None]]] | None = None,
    ):
        self.world = world or World()
        self.cards, self.slices = cards, slices
        self.errors = errors or {}
        self.processes = {"compute": [(OWN_PID, 100)]} if processes is None else processes
        self.instant, self.throttle, self.power_scale = True, 0, 1.0
        self.open = 0
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        """Constants and NVMLError are pynvml's own; a function that is not defined here does not exist."""
        if name.startswith("nvml") and callable(getattr(pynvml, name, None)):
            raise AttributeError(name)
        return getattr(pynvml, name)

    def _enter(self, name: str, handle: object = None) -> None:
        self.calls.append(name)
        if name in self.errors:
            raise pynvml.NVMLError(self.errors[name])
        if handle in self.slices and name in CARD_QUERIES:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def _enter_unversioned(self, name: str, handle: object) -> None:
        """As pynvml wraps these: a function that the driver lacks is no NVMLError."""
        pynvml.throwOnVersionMismatch(self._enter)(name, handle)

    def nvmlInit(self):
        self._enter("nvmlInit")
        self.open += 1

    def nvmlShutdown(self):
        self._enter("nvmlShutdown")
        self.open -= 1

    def nvmlSystemGetDriverVersion(self):
        self._enter("nvmlSystemGetDriverVersion")
        return "570.86.15"

    def nvmlDeviceGetCount(self):
        self._enter("nvmlDeviceGetCount")
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        self._enter("nvmlDeviceGetHandleByIndex")
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        self._enter("nvmlDeviceGetHandleByUUID")
        if uuid not in (*self.cards, *self.slices):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid

    def nvmlDeviceGetUUID(self, handle):
        self._enter("nvmlDeviceGetUUID")
        return handle

    def nvmlDeviceGetMigMode(self, device):
        self._enter("nvmlDeviceGetMigMode")
        return [int(bool(self.slices) and device == self.cards[0])] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, device):
        self._enter("nvmlDeviceGetMaxMigDeviceCount")
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device, index):
        self._enter("nvmlDeviceGetMigDeviceHandleByIndex")
        if index % 2 or index // 2 >= len(self.slices):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)  # real cards have holes too
        return self.slices[index // 2]

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, migDevice):
        self._enter("nvmlDeviceGetDeviceHandleFromMigDeviceHandle")
        return self.cards[0]

    def nvmlDeviceGetGpuInstanceId(self, device):
        self._enter("nvmlDeviceGetGpuInstanceId")
        return 3 + self.slices.index(device)

    def nvmlDeviceGetComputeInstanceId(self, device):
        self._enter("nvmlDeviceGetComputeInstanceId")
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self._enter("nvmlDeviceGetTotalEnergyConsumption", handle)
        return int(self.world.counted * 1000)

    def nvmlDeviceGetPowerUsage(self, handle):
        self._enter("nvmlDeviceGetPowerUsage", handle)
        return int(self.world.watts * 1000 * self.power_scale)

    def nvmlDeviceGetFieldValues(self, handle, fieldIds):
        self._enter("nvmlDeviceGetFieldValues", handle)
        assert fieldIds == [pynvml.NVML_FI_DEV_POWER_INSTANT]
        values = (pynvml.c_nvmlFieldValue_t * 1)()
        values[0].nvmlReturn = 0 if self.instant else pynvml.NVML_ERROR_NOT_SUPPORTED
        values[0].value.uiVal = int(self.world.watts * 1000 * self.power_scale) if self.instant else 0
        return values

    def nvmlDeviceGetUtilizationRates(self, handle):
        self._enter("nvmlDeviceGetUtilizationRates", handle)
        return SimpleNamespace(gpu=97, memory=40)

    def nvmlDeviceGetClockInfo(self, handle, type):
        self._enter("nvmlDeviceGetClockInfo", handle)
        return {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 2619}[type]

    def nvmlDeviceGetMaxClockInfo(self, handle, type):
        self._enter("nvmlDeviceGetMaxClockInfo", handle)
        return {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 3201}[type]

    def nvmlDeviceGetApplicationsClock(self, handle, type):
        self._enter("nvmlDeviceGetApplicationsClock", handle)
        return {pynvml.NVML_CLOCK_SM: 1830, pynvml.NVML_CLOCK_MEM: 2619}[type]

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        self._enter("nvmlDeviceGetEnforcedPowerLimit", handle)
        return 700_000

    def nvmlDeviceGetEccMode(self, handle):
        self._enter("nvmlDeviceGetEccMode", handle)
        return [pynvml.NVML_FEATURE_ENABLED, pynvml.NVML_FEATURE_DISABLED]

    def nvmlDeviceGetPersistenceMode(self, handle):
        self._enter("nvmlDeviceGetPersistenceMode", handle)
        return pynvml.NVML_FEATURE_ENABLED

    def nvmlDeviceGetTemperature(self, handle, sensor):
        self._enter("nvmlDeviceGetTemperature", handle)
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return 61

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        self._enter("nvmlDeviceGetCurrentClocksEventReasons", handle)
        return self.throttle

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        self._enter("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return self.throttle

    def nvmlDeviceGetMemoryInfo(self, handle, version=None):
        self._enter("nvmlDeviceGetMemoryInfo", handle)
        return SimpleNamespace(
            total=80 << 30, free=78 << 30, used=(1 if handle in self.slices else 2) << 30
        )

    def nvmlDeviceGetPcieThroughput(self, device, counter):
        self._enter("nvmlDeviceGetPcieThroughput", device)
        return {pynvml.NVML_PCIE_UTIL_TX_BYTES: 5000, pynvml.NVML_PCIE_UTIL_RX_BYTES: 9000}[counter]

    def _listed(self, kind: str) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(pid=pid, usedGpuMemory=None if mib is None else mib << 20)
            for pid, mib in self.processes.get(kind, ())
        ]

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        self._enter_unversioned("nvmlDeviceGetComputeRunningProcesses", handle)
        return self._listed("compute")

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle):
        self._enter_unversioned("nvmlDeviceGetGraphicsRunningProcesses", handle)
        return self._listed("graphics")

    def nvmlDeviceGetMPSComputeRunningProcesses(self, handle):
        self._enter_unversioned("nvmlDeviceGetMPSComputeRunningProcesses", handle)
        return self._listed("mps")
