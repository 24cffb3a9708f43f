"""Other people's processes on the device that is timed: they slow it down and draw power."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from qaprune.errors import InputError
from qaprune.profile.nvml import Gpu
from qaprune.profile.outcome import NotMeasured, Unavailable

POLICIES = ("abort", "mark")
LISTS = {
    "compute": "nvmlDeviceGetComputeRunningProcesses",
    "graphics": "nvmlDeviceGetGraphicsRunningProcesses",
    "mps": "nvmlDeviceGetMPSComputeRunningProcesses",
}
MPS_SERVER = "nvidia-cuda-mps"
"""The kernel cuts names at 15 characters."""
MIB = 1024 * 1024
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process on the device; `memory_mb` is None where the driver does not tell. `kind`: a key of
    LISTS.
    """

    pid: int
    kind: str
    memory_mb: float | None


class ForeignWatch:
    """Looks at the device's processes now and then and remembers every foreign one.

    `policy` is `abort` (the first foreign process is an `InputError`) or `mark` (the result lists it).
    Where processes cannot be told apart the result says so under both: an unseen process is no reason to
    stop.
    """

    def __init__(self, gpu: Gpu | NotMeasured, policy: str, own_pid: int | None = None, proc: Path = PROC):
        self._gpu, self._policy, self._proc = gpu, policy, proc
        self._own_pid = own_pid or os.getpid()
        self._seen: dict[int, Process] = {}
        self._reason: str | None = None

    def check(self) -> None:
        """Look once. Call it after the first work on the device: it must list this process."""
        try:
            found = foreign_processes(self._gpu, self._own_pid, self._proc)
        except Unavailable as error:
            self._reason = str(error)
            return
        if found and self._policy == "abort":
            raise InputError(
                f"profile: {describe(found)} on the GPU; "
                "stop what runs there or set profile.foreign_processes: mark"
            )
        self._seen |= {process.pid: process for process in found}

    def describe(self) -> str | None:
        """All that was seen, in words; None where nothing was."""
        return describe(list(self._seen.values())) if self._seen else None

    def columns(self) -> dict:
        """`foreign_processes`: what was seen, None where nothing could be seen, with the reason beside
        it.
        """
        seen = [asdict(process) for process in self._seen.values()]
        return {
            "foreign_processes": None if self._reason and not seen else seen,
            "foreign_processes_reason": self._reason,
        }


def describe(found: list[Process]) -> str:
    """`foreign processes 12 (300 MiB), 14 (memory not visible)`."""
    parts = [f"{process.pid} ({_memory(process)})" for process in found]
    return f"foreign process{'es' if len(parts) > 1 else ''} {', '.join(parts)}"


def _memory(process: Process) -> str:
    return "memory not visible" if process.memory_mb is None else f"{process.memory_mb:.0f} MiB"


def foreign_processes(gpu: Gpu | NotMeasured, own_pid: int, proc: Path = PROC) -> list[Process]:
    """The device's processes without this one and its descendants.

    This process computes on the device, so that its own pid must be in NVML's list; where it is not, the
    list is in another namespace's numbers (a container) or hidden behind MPS. Raises `Unavailable` then.
    """
    if isinstance(gpu, NotMeasured):
        raise Unavailable(gpu.reason)
    listed = _listed(gpu)
    if own_pid not in listed:
        raise Unavailable(
            f"NVML lists {len(listed)} processes and not this one: pids are hidden by a container or by MPS"
        )
    own = {own_pid} | descendants(own_pid, proc)
    behind_mps = listed[own_pid].kind == "mps"
    return [
        process
        for pid, process in sorted(listed.items())
        if pid not in own and not (behind_mps and _name(pid, proc) == MPS_SERVER)
    ]


def _listed(gpu: Gpu) -> dict[int, Process]:
    """All processes by pid. A card that has no list of a kind has no such processes, compute apart."""
    listed: dict[int, Process] = {}
    for kind, function in LISTS.items():
        try:
            found = gpu.ask(function, gpu.share)
        except Unavailable as error:
            if kind == "compute" or not _unsupported(gpu, error):
                raise
            continue
        for process in found:
            used = process.usedGpuMemory
            listed[process.pid] = Process(process.pid, kind, None if used is None else used / MIB)
    return listed


def _unsupported(gpu: Gpu, error: Unavailable) -> bool:
    cause = error.__cause__
    if isinstance(cause, gpu.nvml.NVMLLibraryMismatchError):
        return True  # what pynvml makes of "function not found" where it lists processes
    return getattr(cause, "value", None) == gpu.nvml.NVML_ERROR_NOT_SUPPORTED


def descendants(pid: int, proc: Path = PROC) -> set[int]:
    """The children of a process, their children and so on, from the kernel's process table."""
    parents = {}
    for stat in proc.glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        parents[int(stat.parent.name)] = int(after_name[1])
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def _name(pid: int, proc: Path) -> str | None:
    try:
        return (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
