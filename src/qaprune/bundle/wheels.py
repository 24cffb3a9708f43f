"""The wheels of a bundle: what the project requires, what that requires in turn, at the pinned versions.

Which packages those are is read from the packed wheels themselves, with markers judged for the other host.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from qaprune.bundle.parts import FIXED_TIME
from qaprune.errors import InputError

HUB_ONLY = frozenset({"datasets"})
"""Requirements that only a hub source uses: a bundle has none, and this one brings 70 MB of others."""

CUDA = re.compile(r"(nvidia|cuda)-|triton$")
OLD_NAMES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}

Fetch = Callable[[Mapping[str, str]], Mapping[str, Path]]
"""(name -> version) -> (name -> wheel file); names are canonical."""


@dataclass(frozen=True)
class Target:
    """The host that a bundle is for: CPython `python` ("3.12") on Linux with glibc `2.<glibc>` or newer."""

    python: str
    glibc: int
    machine: str

    @classmethod
    def parse(cls, python: str, platform: str) -> Target:
        """From `--python-version` and `--platform`."""
        if not re.fullmatch(r"3\.\d+", python):
            raise InputError(f"--python-version: expected one like 3.12, got {python!r}")
        found = re.fullmatch(r"manylinux_2_(\d+)_(\w+)", platform)
        if not found:
            raise InputError(f"--platform: expected one like manylinux_2_28_x86_64, got {platform!r}")
        return cls(python, int(found[1]), found[2])

    @property
    def platforms(self) -> list[str]:
        """All platform tags that run there, newest first: pip takes none but those that are named."""
        tags = []
        for minor in range(self.glibc, 4, -1):
            tags.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in OLD_NAMES:
                tags.append(f"{OLD_NAMES[minor]}_{self.machine}")
        return tags

    @property
    def environment(self) -> dict[str, str]:
        """What markers are judged by."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    def __str__(self) -> str:
        return f"Python {self.python} on Linux {self.machine} with glibc 2.{self.glibc} or newer"


@dataclass(frozen=True)
class Needs:
    """What `pyproject.toml` asks for: to run the project, and to install it."""

    run: list[Requirement]
    build: list[Requirement]

    @classmethod
    def read(cls, pyproject: Path, extras: Iterable[str] = ()) -> Needs:
        """Requirements that only hub sources use are not among them; those of the `extras` are."""
        table = tomllib.loads(pyproject.read_text(encoding="utf-8"))
        named = list(table["project"]["dependencies"])
        for extra in extras:
            named += table["project"]["optional-dependencies"][extra]
        run = [Requirement(text) for text in named]
        return cls(
            [need for need in run if canonicalize_name(need.name) not in HUB_ONLY],
            [Requirement(text) for text in table["build-system"]["requires"]],
        )

    def of_host(self, without: Iterable[str]) -> list[str]:
        """`torch>=2.11`: what the host must have itself, with the lowest version that will do, if any."""
        ranges = {canonicalize_name(need.name): need.specifier for need in self.run}
        found = []
        for name in sorted(without):
            least = [one.version for one in ranges.get(name, ()) if one.operator == ">="]
            found.append(f"{name}>={least[0]}" if least else name)
        return found


def read_pins(constraints: Path) -> dict[str, str]:
    """Canonical name -> version of every `name==version` line."""
    pins = {}
    for line in constraints.read_text(encoding="utf-8").splitlines():
        name, separator, version = line.partition("#")[0].strip().partition("==")
        if separator:
            pins[canonicalize_name(name)] = version
    return pins


def collect(
    roots: Iterable[Requirement],
    without: frozenset[str],
    pins: Mapping[str, str],
    target: Target,
    fetch: Fetch,
) -> dict[str, Path]:
    """Wheels of the requirements and of all that they require; `without` and what only those need stay out.

    A pin that some packed wheel refuses is an error here, not on a host where nothing can be fetched.
    """
    wheels: dict[str, Path] = {}
    seen: set[tuple[str, str]] = set()
    asked = [("pyproject.toml", need) for need in roots if _applies(need, "", target)]
    while asked:
        found = []
        for who, need in asked:
            name = canonicalize_name(need.name)
            if name in without:
                continue
            _check(who, need, pins.get(name))
            for extra in ("", *sorted(need.extras)):
                if (name, extra) not in seen:
                    seen.add((name, extra))
                    found.append((name, extra))
        if missing := sorted({name for name, _ in found} - wheels.keys()):
            wheels |= fetch({name: pins[name] for name in missing})
        asked = [
            (name, need)
            for name, extra in found
            for need in requires(wheels[name])
            if _applies(need, extra, target)
        ]
    return wheels


def _applies(need: Requirement, extra: str, target: Target) -> bool:
    return need.marker is None or need.marker.evaluate({**target.environment, "extra": extra})


def _check(who: str, need: Requirement, pin: str | None) -> None:
    """`who` needs `need`: the pin must suit it, and torch must not bring CUDA along."""
    if who == "torch" and CUDA.match(canonicalize_name(need.name)):
        raise InputError(
            f"torch: pip found a CUDA build, which needs {need.name} and gigabytes more; leave it out "
            "(--without torch), or point pip to an index of CPU builds"
        )
    if pin is None:
        raise InputError(f"constraints.txt: no version of {need.name}, which {who} needs")
    if not need.specifier.contains(pin, prereleases=True):
        raise InputError(f"constraints.txt: {need.name}=={pin}, but {who} needs {need}")


def requires(wheel: Path) -> list[Requirement]:
    """What a wheel's own metadata asks for."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        headers = BytesHeaderParser().parsebytes(archive.read(name))
    return [Requirement(text) for text in headers.get_all("Requires-Dist", [])]


def downloader(target: Target, folder: Path, log: Callable[[str], None]) -> Fetch:
    """Fetch by pip, from wherever pip is set up to fetch, into `folder`.

    A package that is published as source alone is built here, which serves the other host only if it is
    pure Python.
    """
    platforms = [word for tag in target.platforms for word in ("--platform", tag)]
    options = ["--dest", folder, "--no-deps", "--implementation", "cp", "--python-version", target.python]

    def fetch(wanted: Mapping[str, str]) -> dict[str, Path]:
        log(f"wheels: fetching {len(wanted)} packages")
        _pip("download", *options, *platforms, *(f"{name}=={pin}" for name, pin in wanted.items()))
        for source in [path for path in folder.iterdir() if path.suffix != ".whl"]:
            _build(source, folder, target)
        found = {parse_wheel_filename(path.name)[0]: path for path in folder.iterdir()}
        return {name: found[canonicalize_name(name)] for name in wanted}

    return fetch


def _build(source: Path, folder: Path, target: Target) -> None:
    name = parse_sdist_filename(source.name)[0]
    before = set(folder.iterdir())
    _pip("wheel", "--no-deps", "--no-cache-dir", "--wheel-dir", folder, source)
    (wheel,) = set(folder.iterdir()) - before
    if not wheel.name.endswith("-none-any.whl"):
        raise InputError(
            f"{name}: no wheel for {target}, and it is not pure Python, so none can be built here; "
            "try a newer --platform, or leave it out (--without) where the host has it"
        )
    source.unlink()


def _pip(*words: str | Path) -> None:
    """One pip call; its own last error is the message."""
    command = [sys.executable, "-m", "pip", words[0], "--quiet", "--disable-pip-version-check", *words[1:]]
    # A wheel built twice from the same source must be the same file.
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(FIXED_TIME)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise InputError(f"pip {words[0]}: {(errors or lines or ['failed'])[-1]}")
