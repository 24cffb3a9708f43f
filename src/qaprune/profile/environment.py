"""What a timing was taken on: device, driver, clocks, cores, threads, versions, commit.

No paths, no host names, and settings only: what a clock or a load happens to be at one moment is the
sampler's business. What cannot be read is None.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from qaprune.profile.nvml import Gpu, open_gpu
from qaprune.profile.outcome import NotMeasured, Unavailable
from qaprune.stage import git_commit

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "safetensors",
    "triton",
    "flash-attn",
    "qaprune",
)
SYSTEM_CPU = Path("/sys/devices/system/cpu")
KILO, MILLI = 1000, 1e-3

BF16_FLAGS = ("amx_bf16", "avx512_bf16")
TIMING_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "RAYON_NUM_THREADS",
)
TIMING_PREFIXES = ("DNNL_", "GOMP_", "KMP_", "MALLOC_", "MKL_", "OMP_", "ONEDNN_")
"""Environment variables that change how fast the same code runs: threads and where they wait, instruction
sets, allocators."""

GPU_SETTINGS: dict[str, Callable[[Gpu], Any]] = {
    "gpu_mig": lambda gpu: gpu.mig,
    "gpu_max_sm_clock_mhz": lambda gpu: gpu.ask(
        "nvmlDeviceGetMaxClockInfo", gpu.card, gpu.nvml.NVML_CLOCK_SM
    ),
    "gpu_max_memory_clock_mhz": lambda gpu: gpu.ask(
        "nvmlDeviceGetMaxClockInfo", gpu.card, gpu.nvml.NVML_CLOCK_MEM
    ),
    "gpu_application_sm_clock_mhz": lambda gpu: gpu.ask(
        "nvmlDeviceGetApplicationsClock", gpu.card, gpu.nvml.NVML_CLOCK_SM
    ),
    "gpu_application_memory_clock_mhz": lambda gpu: gpu.ask(
        "nvmlDeviceGetApplicationsClock", gpu.card, gpu.nvml.NVML_CLOCK_MEM
    ),
    "gpu_power_limit_w": lambda gpu: gpu.ask("nvmlDeviceGetEnforcedPowerLimit", gpu.card) * MILLI,
    "gpu_ecc": lambda gpu: bool(gpu.ask("nvmlDeviceGetEccMode", gpu.card)[0]),
    "gpu_persistence_mode": lambda gpu: bool(gpu.ask("nvmlDeviceGetPersistenceMode", gpu.card)),
}
"""How NVML is asked. A MIG slice shares all of them with its card. Clocks that
`nvidia-smi --lock-gpu-clocks` fixed are not among them: NVML sets those and does not tell them."""
CPU_SETTINGS = ("cpu_governor", "cpu_clock_limits_mhz", "cpu_boost")

NOT_IN_FINGERPRINT = (
    "git_commit",
    "qaprune",
    "gpu_persistence_mode",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
)
"""A new commit of this project must stay comparable with the old one: that is what comparisons are for.
Persistence keeps the driver loaded between processes; while one times, it is. The two thread counts are the
job's cores under Snakemake, and torch's own number, which is in the fingerprint, overrides them."""
ADDED_LATER = (*CPU_SETTINGS, *GPU_SETTINGS, "triton", "flash-attn")
"""Fields that older records lack: None in a new one says no more than their absence. See `fingerprint`."""


def capture(device: str = "cpu", gpu: Gpu | NotMeasured | None = None) -> dict:
    """Describe the machine and the software; `device` is the torch device that is timed.

    `gpu` is what `nvml.open_gpu` gave for it, looked up where not given. Raises `InputError` where the
    device is lost.
    """
    import torch

    environment = {
        "device": cpu_model(),
        "cpu": cpu_model(),
        "cores": available_cores(),
        "torch_threads": torch.get_num_threads(),
        "gpu": None,
        "gpu_memory_mb": None,
        "driver": None,
        "cuda": None,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "container": in_container(),
        "git_commit": git_commit(),
        **cpu_settings(),
        **dict.fromkeys(GPU_SETTINGS),
        **timing_variables(),
    }
    for package in PACKAGES:
        environment[package] = package_version(package)
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        environment["device"] = environment["gpu"] = properties.name
        environment["gpu_memory_mb"] = properties.total_memory // (1024 * 1024)
        environment["driver"] = nvidia_driver()
        environment["cuda"] = torch.version.cuda
        if gpu is None:
            with open_gpu(device) as found:
                environment |= gpu_settings(found)
        else:
            environment |= gpu_settings(gpu)
    return environment


def fingerprint(environment: dict) -> str:
    """Twelve hex digits of all that timings depend on; timings compare only where these are equal.

    A field that was added later and could not be read counts as absent, so that records from before it
    stay comparable on machines that show no more than they did then.
    """
    kept = {
        key: value
        for key, value in environment.items()
        if key not in NOT_IN_FINGERPRINT and not (value is None and key in ADDED_LATER)
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def bf16_instructions(proc: Path = Path("/proc")) -> list[str]:
    """The CPU's instructions that multiply bfloat16 matrices; none where /proc does not tell."""
    try:
        flags = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []
    return [name for name in BF16_FLAGS if name in flags]


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the kernel gives it, else the machine type."""
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown CPU"


def available_cores() -> int:
    """Cores that this process may use (a container often gets fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_settings(root: Path = SYSTEM_CPU, cores: Iterable[int] | None = None) -> dict:
    """Governor, clock limits and boost of the cores that this process may use, by the kernel's cpufreq.

    Cores that differ give all their values: `powersave, performance`, `800-3500, 800-5200`. Virtual
    machines often show none of it. Source: Linux kernel documentation, admin-guide/pm/cpufreq.
    """
    if cores is None:
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(available_cores())
    policies = [root / f"cpu{core}" / "cpufreq" for core in sorted(cores)]
    values = (
        _all_of([_line(policy / "scaling_governor") for policy in policies]),
        _all_of([_clock_limits(policy) for policy in policies]),
        _boost(root),
    )
    return dict(zip(CPU_SETTINGS, values, strict=True))


def _clock_limits(policy: Path) -> str | None:
    """`800-3500`: the lowest and the highest clock that the kernel will ask for, in MHz."""
    ends = [_line(policy / f"scaling_{end}_freq") for end in ("min", "max")]
    if not all(end and end.isdigit() for end in ends):
        return None
    return "-".join(str(int(end) // KILO) for end in ends)


def _boost(root: Path) -> bool | None:
    """Whether clocks above the nominal one are allowed; Intel's driver says it the other way round."""
    for name, allowed in (("cpufreq/boost", "1"), ("intel_pstate/no_turbo", "0")):
        if (found := _line(root / name)) is not None:
            return found == allowed
    return None


def _all_of(values: list[str | None]) -> str | None:
    """The values that occur, in one line; None where one of them could not be read."""
    if not values or None in values:
        return None
    return ", ".join(dict.fromkeys(values))


def _line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None


def gpu_settings(gpu: Gpu | NotMeasured) -> dict:
    """Clock limits, power limit and modes of the card. Raises `InputError` where the device is lost."""
    return {key: _answer(gpu, read) for key, read in GPU_SETTINGS.items()}


def _answer(gpu: Gpu | NotMeasured, read: Callable[[Gpu], Any]) -> Any:
    if isinstance(gpu, NotMeasured):
        return None
    try:
        return read(gpu)
    except Unavailable:
        return None


def timing_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that are set and change timings. Of a path in a value only its last name stays."""
    return {
        name: re.sub(r"[^\s:;,=]*/", "", value)
        for name, value in sorted(environ.items())
        if name in TIMING_VARIABLES or name.startswith(TIMING_PREFIXES)
    }


def in_container() -> bool:
    """Whether the usual marks of Docker, Podman or Kubernetes are there."""
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return True
    return "KUBERNETES_SERVICE_HOST" in os.environ or "container" in os.environ


def package_version(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def nvidia_driver() -> str | None:
    """The driver's version by NVML, or None where NVML is not there."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        version = pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
    return version.decode() if isinstance(version, bytes) else str(version)
