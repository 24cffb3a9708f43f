"""GPU energy from NVML's total-energy counter, or a typed "not measured" that says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of one window of `passes` forward passes that took `seconds`. `joules` is the whole board's,
    idle power included."""

    joules: float
    seconds: float
    passes: int

    @property
    def joules_per_pass(self) -> float:
        """Energy of one forward pass of a whole batch, in joules."""
        return self.joules / self.passes


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """Nothing was measured, and the reason in one clause."""

    reason: str


class _Unavailable(Exception):
    """Inside this module: carries the reason out of the driver calls."""


def measure_energy(
    call: Callable[[], object],
    device: str,
    synchronise: Callable[[], None],
    min_seconds: float = 1.0,
    uuid: str | None = None,
    nvml: ModuleType | None = None,
) -> Energy | NotMeasured:
    """Repeat `call` until the window is at least `min_seconds` long and read the energy counter around it.

    The counter updates only every 10 to 100 ms, so that a short window would read zero. `uuid` is the torch
    device's (looked up when not given); `nvml` replaces the pynvml module in tests.
    """
    if not device.startswith("cuda"):
        return NotMeasured("no GPU: timed on the CPU")
    if nvml is None:
        try:
            import pynvml as nvml
        except ImportError:
            return NotMeasured("the package nvidia-ml-py is not installed")
    try:
        with _session(nvml):
            handle = find_device(nvml, uuid or torch_uuid(device))
            return _window(nvml, handle, call, synchronise, min_seconds)
    except _Unavailable as error:
        return NotMeasured(str(error))
    except nvml.NVMLError as error:
        return NotMeasured(f"NVML: {error}")


def torch_uuid(device: str) -> str:
    """The UUID of a torch CUDA device, as NVML writes it apart from the `GPU-` or `MIG-` in front."""
    import torch

    return str(torch.cuda.get_device_properties(device).uuid)


def find_device(nvml: ModuleType, uuid: str) -> object:
    """NVML's handle of the device with this UUID. NVML ignores CUDA_VISIBLE_DEVICES: an index would lie."""
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    handle = _handle(nvml, f"GPU-{bare}")
    if handle is None and _handle(nvml, f"MIG-{bare}") is None:
        raise _Unavailable(f"NVML knows no device with the UUID {bare}")
    if handle is None or _mig_enabled(nvml, handle):
        raise _Unavailable("a MIG slice: the energy counter belongs to the whole card")
    return handle


def _handle(nvml: ModuleType, uuid: str) -> object | None:
    """The device with exactly this UUID, None where there is none; other errors pass."""
    try:
        return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
            return None
        raise


def _mig_enabled(nvml: ModuleType, handle: object) -> bool:
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return False  # cards without MIG answer "not supported"
    return bool(current)


@contextmanager
def _session(nvml: ModuleType) -> Iterator[None]:
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _window(
    nvml: ModuleType,
    handle: object,
    call: Callable[[], object],
    synchronise: Callable[[], None],
    min_seconds: float,
) -> Energy | NotMeasured:
    """Read the counter (millijoules), run the passes, read it again."""
    nvml.nvmlDeviceGetTotalEnergyConsumption(
        handle
    )  # raises here, before the work, where there is no counter
    synchronise()
    before = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    started = time.perf_counter()
    passes = 0
    seconds = 0.0
    while seconds < min_seconds:
        call()
        synchronise()
        passes += 1
        seconds = time.perf_counter() - started
    millijoules = nvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before
    if millijoules <= 0:
        return NotMeasured(f"the energy counter did not move in {seconds:.1f} s")
    return Energy(joules=millijoules / 1000, seconds=seconds, passes=passes)
