"""What a timing was taken on: device, driver, cores, threads, versions, commit. No paths, no host names."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path

from qaprune.stage import git_commit

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "safetensors", "qaprune")
NOT_IN_FINGERPRINT = ("git_commit", "qaprune")
"""A new commit of this project must stay comparable with the old one: that is what comparisons are for."""


def capture(device: str = "cpu") -> dict:
    """Describe the machine and the software; `device` is the torch device that is timed."""
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
    }
    for package in PACKAGES:
        environment[package] = package_version(package)
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        environment["device"] = environment["gpu"] = properties.name
        environment["gpu_memory_mb"] = properties.total_memory // (1024 * 1024)
        environment["driver"] = nvidia_driver()
        environment["cuda"] = torch.version.cuda
    return environment


def fingerprint(environment: dict) -> str:
    """Twelve hex digits of all that timings depend on; timings compare only where these are equal."""
    kept = {key: value for key, value in environment.items() if key not in NOT_IN_FINGERPRINT}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


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
