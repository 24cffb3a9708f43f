"""Checks of software and machine: versions, cores, clocks, load, disk, hub."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from qaprune.data.sources import HUB_TIMEOUT_S
from qaprune.profile.checks import NO, WARN, YES, Finding, Host
from qaprune.profile.environment import (
    available_cores,
    cpu_model,
    cpu_settings,
    in_container,
    package_version,
    timing_variables,
)
from qaprune.profile.outcome import Unavailable

ROOT = Path(__file__).parents[3]
"""The checkout. Not from config.py: that needs PyYAML, whose absence is to be reported here."""
NAMED = ("torch", "transformers", "snakemake")
"""Packages with a line of their own; the others share one."""
STEADY_GOVERNOR = "performance"
BUSY_SHARE = 0.25
"""A load average above this share of the cores is worth a warning."""
LEAST_DISK_GB = 5
GB = 1e9


def project() -> dict:
    """The `project` table of pyproject.toml; from the installed package where there is no checkout."""
    file = ROOT / "pyproject.toml"
    if file.exists():
        return tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    try:
        found = metadata.metadata("qaprune")
    except metadata.PackageNotFoundError:
        raise Unavailable("neither a checkout with pyproject.toml nor an installed package") from None
    wanted = [entry for entry in found.get_all("Requires-Dist") or [] if "extra ==" not in entry]
    return {"requires-python": found["Requires-Python"], "dependencies": wanted}


def python(host: Host) -> Finding:
    """Whether this Python is one of those that the project runs on."""
    from packaging.specifiers import SpecifierSet

    version, wanted = platform.python_version(), project()["requires-python"]
    inside = SpecifierSet(wanted).contains(version, prereleases=True)
    return (
        Finding(YES, f"{version} (needs {wanted})") if inside else Finding(NO, f"{version}, needs {wanted}")
    )


def package(name: str) -> Finding:
    """Whether a package is there in a version that pyproject.toml allows."""
    from packaging.requirements import Requirement

    wanted, version = Requirement(_wanted()[name]), package_version(name)
    text = f"needs {_wanted()[name].removeprefix(name)}"
    if version is None:
        return Finding(NO, f"not installed, {text}")
    if not wanted.specifier.contains(version, prereleases=True):
        return Finding(WARN, f"{version} is outside of what is tested, {text}")
    return Finding(YES, f"{version} ({text})")


def _wanted() -> dict[str, str]:
    """The requirements of pyproject.toml by package."""
    return {re.split(r"[^\w.-]", entry)[0]: entry for entry in project()["dependencies"]}


def torch_package(host: Host) -> Finding:
    """As `package`, and whether it can be imported."""
    found = package("torch")
    if found.mark != NO:
        host.need_torch()
    return found


def transformers(host: Host) -> Finding:
    return package("transformers")


def snakemake(host: Host) -> Finding:
    """As `package`, and whether its command is where this Python's commands are, or on the path."""
    found = package("snakemake")
    beside = Path(sys.executable).parent / "snakemake"
    if found.mark == YES and not beside.exists() and shutil.which("snakemake") is None:
        return Finding(WARN, f"{found.text}, but no command of that name is on the path")
    return found


def other_packages(host: Host) -> list[Finding]:
    """One line for all that are as they should be, and one for each that is not."""
    names = [name for name in _wanted() if name not in NAMED]
    found = {name: package(name) for name in names}
    wrong = [Finding(mark, text, name) for name, (mark, text, _) in found.items() if mark != YES]
    fine = len(names) - len(wrong)
    return [Finding(YES if fine else NO, f"{fine} of {len(names)} are in pyproject.toml's ranges"), *wrong]


def system(host: Host) -> Finding:
    where = ", in a container" if in_container() else ""
    return Finding(YES, f"{platform.system()} {platform.machine()}{where}")


def cpu(host: Host) -> Finding:
    """Model and cores. More torch threads than cores wait for each other."""
    cores = available_cores()
    text = f"{cpu_model(host.proc / 'cpuinfo')}, {_count(cores, 'core')} for this process"
    threads = host.need_torch().get_num_threads()
    text += f", {_count(threads, 'torch thread')} by default"
    return Finding(WARN, f"{text}: more than cores") if threads > cores else Finding(YES, text)


def clocks(host: Host) -> Finding:
    """Governor and limits: anything but `performance` lets clocks wander while one measures."""
    settings = cpu_settings(host.system_cpu)
    governor, limits, boost = settings.values()
    if governor is None:
        return Finding(NO, "cpufreq cannot be read (usual in a virtual machine): drift goes unseen")
    text = f"governor {governor}"
    if limits:
        text += f", {limits} MHz"
    if boost is not None:
        text += f", boost {'on' if boost else 'off'}"
    if governor != STEADY_GOVERNOR:
        return Finding(WARN, f"{text}; timings may drift unless it is {STEADY_GOVERNOR}")
    return Finding(YES, text)


def variables(host: Host) -> Finding:
    found = ", ".join(f"{name}={value}" for name, value in timing_variables().items())
    return Finding(YES, found or "none is set that changes timings")


def load(host: Host) -> Finding:
    """How busy the machine was in the last minute, before this command began to compute."""
    minute, cores = os.getloadavg()[0], os.cpu_count() or 1
    text = f"load average {minute:.2f} over a minute on {_count(cores, 'core')}"
    if minute > BUSY_SHARE * cores:
        return Finding(WARN, f"{text}: something else runs and will be in the timings")
    return Finding(YES, text)


def disk(host: Host) -> Finding:
    free = free_gb(host)
    text = f"{free:.1f} GB free under the current folder"
    return (
        Finding(YES, text)
        if free >= LEAST_DISK_GB
        else Finding(WARN, f"{text}; `qaprune plan` says the need")
    )


def free_gb(host: Host) -> float:
    """Gigabytes that may still be written under the host's folder."""
    return shutil.disk_usage(host.folder).free / GB


def hub(host: Host) -> Finding:
    """Whether the hub answers at all. The only check that uses the network."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        raise Unavailable("HF_HUB_OFFLINE is set: nothing is fetched")
    try:
        status = get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_S).status_code
    except Exception as error:
        raise Unavailable(f"{constants.ENDPOINT} cannot be reached ({type(error).__name__})") from error
    return Finding(YES if status < 400 else NO, f"{constants.ENDPOINT} answers with status {status}")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
