"""NVML's session, and which of its devices is the one that torch computes on. No measurement happens here.

Every query goes through `Gpu.ask` or `ask`, so that an error has one defined answer: `Unavailable` with the
reason, or an `InputError` where the device is gone and the run cannot go on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from qaprune.errors import InputError
from qaprune.profile.outcome import NotMeasured, Unavailable

NO_GPU = "no GPU: timed on the CPU"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Gpu:
    """The device that is timed: `card` is NVML's handle of the whole card.

    `mig` says that the card is cut into MIG slices, of which this process has one; `slice` is that slice's
    handle, None where it is not known which one it is.
    """

    nvml: ModuleType
    uuid: str
    card: Any
    mig: bool = False
    slice: Any = None

    def ask(self, function: str, *arguments: Any) -> Any:
        """One NVML query. Raises `Unavailable`, or `InputError` where the device is lost."""
        return ask(self.nvml, function, *arguments)

    @property
    def share(self) -> Any:
        """The handle of what this process may use: the slice, else the card.

        Raises `Unavailable` on a card with MIG whose slice is not known: the card's figures are not ours.
        """
        if self.mig and self.slice is None:
            raise Unavailable("a MIG slice, and NVML does not tell which one")
        return self.slice if self.mig else self.card


def ask(nvml: ModuleType, function: str, *arguments: Any) -> Any:
    """Call `nvml.<function>(*arguments)`. Raises `Unavailable`, or `InputError` for a lost device."""
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError as error:
        raise _answer(nvml, function, error) from error
    except nvml.NVMLLibraryMismatchError as error:
        # No NVMLError: the driver is older than what the function answers in.
        raise Unavailable(f"{function}: {error}", for_good=True) from error


def _answer(nvml: ModuleType, function: str, error: Exception) -> Unavailable | InputError:
    """What an NVML error means for the run."""
    code = error.value
    if code in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED):
        return InputError(
            f"profile: the GPU was lost during the run ({error}); the kernel log has the cause"
        )
    if code == nvml.NVML_ERROR_UNINITIALIZED:
        return Unavailable("NVML was shut down under the measurement (Uninitialized)")
    for_good = code in (
        nvml.NVML_ERROR_NOT_SUPPORTED,
        nvml.NVML_ERROR_NO_PERMISSION,
        nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        nvml.NVML_ERROR_INVALID_ARGUMENT,
    )
    return Unavailable(f"{function}: {error}", for_good)


@contextmanager
def open_gpu(
    device: str,
    uuid: str | None = None,
    nvml: ModuleType | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Gpu | NotMeasured]:
    """Hold an NVML session and yield the torch device `device` in it, or why there is none.

    `uuid` is the torch device's (looked up when not given); `nvml` replaces the pynvml module in tests.
    """
    if not device.startswith("cuda"):
        yield NotMeasured(NO_GPU)
        return
    if nvml is None:
        try:
            import pynvml as nvml
        except ImportError:
            yield NotMeasured("the package nvidia-ml-py is not installed")
            return
    try:
        ask(nvml, "nvmlInit")
    except Unavailable as error:
        yield NotMeasured(f"NVML: {error}")
        return
    try:
        yield _located(nvml, device, uuid, environ)
    finally:
        with suppress(nvml.NVMLError):  # a lost device or a closed session leaves nothing to shut down
            nvml.nvmlShutdown()


def _located(
    nvml: ModuleType, device: str, uuid: str | None, environ: Mapping[str, str]
) -> Gpu | NotMeasured:
    ordinal = int(device.partition(":")[2] or 0)
    try:
        return find_gpu(
            nvml, uuid or torch_uuid(device) or visible_uuid(nvml, ordinal, environ), ordinal, environ
        )
    except Unavailable as error:
        return NotMeasured(f"NVML: {error}")


def torch_uuid(device: str) -> str | None:
    """The UUID of a torch CUDA device, without NVML's `GPU-` or `MIG-`; None where torch has none."""
    import torch

    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else str(uuid)


def find_gpu(nvml: ModuleType, uuid: str, ordinal: int = 0, environ: Mapping[str, str] = os.environ) -> Gpu:
    """NVML's view of the device with this UUID. NVML ignores CUDA_VISIBLE_DEVICES: an index would lie.

    CUDA may give a MIG slice the slice's UUID or the card's; with the card's, CUDA_VISIBLE_DEVICES says
    which slice `ordinal` is. Raises `Unavailable` where NVML knows no such device.
    """
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    card = _by_uuid(nvml, f"GPU-{bare}")
    if card is not None and not _mig_enabled(nvml, card):
        return Gpu(nvml, f"GPU-{bare}", card)
    if card is not None:
        return Gpu(nvml, f"GPU-{bare}", card, mig=True, slice=_named_slice(nvml, ordinal, environ))
    mig_uuid = uuid if uuid.startswith("MIG-") else f"MIG-{bare}"
    part = _by_uuid(nvml, mig_uuid)
    if part is None:
        raise Unavailable(f"no device with the UUID {bare}")
    card = ask(nvml, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", part)
    return Gpu(nvml, mig_uuid, card, mig=True, slice=part)


def _named_slice(nvml: ModuleType, ordinal: int, environ: Mapping[str, str]) -> Any | None:
    """The slice that CUDA_VISIBLE_DEVICES names, None where it names none."""
    try:
        uuid = visible_uuid(nvml, ordinal, environ)
    except Unavailable:
        return None
    return _by_uuid(nvml, uuid) if uuid.startswith("MIG-") else None


def visible_uuid(nvml: ModuleType, ordinal: int, environ: Mapping[str, str] = os.environ) -> str:
    """The full UUID of the CUDA device `ordinal` as CUDA_VISIBLE_DEVICES names it.

    An entry is an index, a UUID or a MIG id; an id may be cut short while only one device begins so.
    Raises `Unavailable` where the variable does not settle it. Source: CUDA programming guide, environment
    variables; MIG user guide, device enumeration.
    """
    entries = [entry.strip() for entry in environ[VISIBLE].split(",")] if VISIBLE in environ else None
    if entries is None:
        return _by_index(nvml, ordinal, environ)
    if ordinal >= len(entries) or not entries[ordinal]:
        raise Unavailable(f"{VISIBLE} names no device number {ordinal}")
    entry = entries[ordinal]
    if entry.isdigit():
        return _by_index(nvml, int(entry), environ)
    if entry.startswith("MIG-GPU-"):
        return _by_instance(nvml, entry)
    if entry.startswith("MIG-"):
        return _only(entry, [uuid for uuid, _ in _slices(nvml)])
    if entry.startswith("GPU-"):
        return _only(entry, [uuid for uuid, _ in _cards(nvml)])
    raise Unavailable(f"{VISIBLE}: '{entry}' is no index, no GPU- UUID and no MIG- id")


def _by_index(nvml: ModuleType, index: int, environ: Mapping[str, str]) -> str:
    """CUDA counts the fastest card first unless told to count as NVML does, by PCI bus."""
    count = ask(nvml, "nvmlDeviceGetCount")
    if index >= count:
        raise Unavailable(f"there is no GPU number {index}: NVML counts {count}")
    if count > 1 and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise Unavailable(
            f"GPU number {index} of {count} is ambiguous: give its UUID or set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        )
    return _uuid(nvml, ask(nvml, "nvmlDeviceGetHandleByIndex", index))


def _by_instance(nvml: ModuleType, entry: str) -> str:
    """`MIG-GPU-<card>/<GPU instance>/<compute instance>`, the form of drivers before 470."""
    name, *instances = entry.removeprefix("MIG-").split("/")
    if len(instances) != 2 or not all(number.isdigit() for number in instances):
        raise Unavailable(f"{VISIBLE}: expected MIG-GPU-<uuid>/<instance>/<instance>, got '{entry}'")
    wanted = [int(number) for number in instances]
    card = _only(name, [uuid for uuid, _ in _cards(nvml)])
    for uuid, part in _slices(nvml, card):
        if wanted == [
            ask(nvml, "nvmlDeviceGetGpuInstanceId", part),
            ask(nvml, "nvmlDeviceGetComputeInstanceId", part),
        ]:
            return uuid
    raise Unavailable(f"{VISIBLE}: no MIG slice {entry}")


def _only(prefix: str, uuids: list[str]) -> str:
    """The one UUID that begins so."""
    found = [uuid for uuid in uuids if uuid.lower().startswith(prefix.lower())]
    if len(found) != 1:
        raise Unavailable(f"{VISIBLE}: {len(found) or 'no'} devices begin with '{prefix}'")
    return found[0]


def _cards(nvml: ModuleType) -> list[tuple[str, Any]]:
    """(UUID, handle) of every card."""
    handles = [
        ask(nvml, "nvmlDeviceGetHandleByIndex", index) for index in range(ask(nvml, "nvmlDeviceGetCount"))
    ]
    return [(_uuid(nvml, handle), handle) for handle in handles]


def _slices(nvml: ModuleType, card_uuid: str | None = None) -> list[tuple[str, Any]]:
    """(UUID, handle) of every MIG slice, of one card or of all."""
    found = []
    for uuid, card in _cards(nvml):
        if card_uuid not in (None, uuid) or not _mig_enabled(nvml, card):
            continue
        for index in range(ask(nvml, "nvmlDeviceGetMaxMigDeviceCount", card)):
            part = _or_none(
                nvml, lambda at=index, of=card: nvml.nvmlDeviceGetMigDeviceHandleByIndex(of, at)
            )
            if part is not None:
                found.append((_uuid(nvml, part), part))
    return found


def _uuid(nvml: ModuleType, handle: Any) -> str:
    uuid = ask(nvml, "nvmlDeviceGetUUID", handle)
    return uuid.decode() if isinstance(uuid, bytes) else uuid


def _by_uuid(nvml: ModuleType, uuid: str) -> Any | None:
    """The device with exactly this UUID, None where there is none."""
    return _or_none(nvml, lambda: nvml.nvmlDeviceGetHandleByUUID(uuid))


def _or_none(nvml: ModuleType, query: Callable[[], Any]) -> Any | None:
    """A handle, None where NVML says that there is no such device; other errors as everywhere."""
    try:
        return query()
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
            return None
        raise _answer(nvml, "NVML device look-up", error) from error


def _mig_enabled(nvml: ModuleType, card: Any) -> bool:
    """Whether the card is cut into slices. Cards without MIG answer "not supported"."""
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(card)
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
            return False
        raise _answer(nvml, "nvmlDeviceGetMigMode", error) from error
    return bool(current)
