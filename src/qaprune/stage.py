"""One stage, one folder: what every stage shares around its own work."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from qaprune.errors import InputError, gpu_failure, out_of_memory
from qaprune.jsonfile import expect, read_json

COMPUTE: dict[str, Any] = {}
"""Device, number format, threads and seed of this process, once a stage has set them; for `stage.json`."""

BUNDLED = "bundled"
"""Folder of an unpacked bundle's source tree that holds all that is no source; a checkout has none."""

LOCK = ".lock"
"""In a stage's temporary folder: held by the process that works there."""

MADE = ".made.json"
"""In a stage's folder: the names that it put there. Snakemake takes `stage.json` away before it runs a job
again."""

READ = ("digest", "digests")
"""In a stage's result: digests of files that it read from outside the results folder."""

MEASURED = ("table.json",)
"""Files of stage folders that hold timings: the stage `latency` has its table."""

PACKAGES = ("qaprune", "torch", "transformers", "tokenizers", "numpy")


def run_stage(
    stage: str,
    spec: Mapping[str, Any],
    inputs: Mapping[str, Path],
    out: Path,
    work: Callable[[Path], Mapping[str, Any]],
) -> Mapping[str, Any]:
    """Run `work(folder)` in a temporary folder beside `out`, then move its files there.

    `stage.json` (spec, input digests, versions, wall time, and what `work` returned) moves last: a folder
    without one is unfinished. If `work` fails nothing of it stays, and an older result is gone too, so
    that no later run trusts it. What an earlier run made there and this one does not is cleared away;
    what no stage made stays.
    """
    began = time.perf_counter()
    _check_place(out, inputs)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if is_main_process():
            (out / "stage.json").unlink(missing_ok=True)
        _clear_orphans(out)
        # Locked before it has its name: another process of this stage may be looking for orphans.
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=out.parent))
        lock = (fresh / LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        scratch = fresh.rename(out.parent / f".{out.name}-{fresh.name.rpartition('-')[2]}")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    try:
        result = work(scratch)
        record = {
            "stage": stage,
            "spec": spec,
            "inputs": digests(inputs),
            "result": result,
            "compute": COMPUTE or None,
            "seconds": round(time.perf_counter() - began, 2),
            "git_commit": git_commit(),
            "packages": package_versions(),
            "python": platform.python_version(),
        }
        (scratch / LOCK).unlink()
        _write_json(scratch / "stage.json", record)
        if is_main_process():
            _move_all(scratch, out)
            shutil.rmtree(resume_folder(scratch), ignore_errors=True)
    except Exception as error:
        if out_of_memory(error):
            raise InputError(f"out of memory ({' '.join(str(error).split())[:160]})") from error
        if failure := gpu_failure(error):
            raise InputError(f"the GPU failed: {failure}") from error
        reason = _not_written(error)
        if reason is None:
            raise
        raise InputError(f"{out}: cannot be written ({reason})") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        lock.close()
    return result


def _not_written(error: Exception) -> str | None:
    """What the system said where a file could not be written; None for any other error."""
    if isinstance(error, OSError):
        known = error.errno is not None and not isinstance(error, FileNotFoundError)
        return error.strerror if known else None
    if type(error).__name__ != "SafetensorError":  # known without importing the package
        return None
    found = re.search(r" serializing: I/O error: (.+?) \(os error \d+\)", str(error))
    return found[1] if found else None


def _clear_orphans(out: Path) -> None:
    """Remove what processes left that were killed: temporary folders that nobody holds the lock of."""
    for folder in out.parent.glob(f".{glob.escape(out.name)}-*"):
        if not re.fullmatch(r"[a-z0-9_]{8}", folder.name.rpartition("-")[2]):
            continue
        if folder.name.rpartition("-")[0] != f".{out.name}":
            continue
        with contextlib.suppress(OSError), (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def resume_folder(scratch: Path) -> Path:
    """Where a stage keeps what a killed run can go on from; `scratch` is the folder that `work` is handed.

    Hidden beside the output folder, and gone when the stage is done.
    """
    return scratch.with_name(scratch.name.rpartition("-")[0] + ".resume")


def launched_processes() -> int:
    """How many processes run this stage together (torchrun); 1 where it runs alone."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def is_main_process() -> bool:
    """Whether this process is the one that writes."""
    return launched_processes() == 1 or os.environ["RANK"] == "0"


def _check_place(out: Path, inputs: Mapping[str, Path]) -> None:
    """Nobody's working folder is a result, and no stage replaces what it reads."""
    place = out.resolve()
    if Path.cwd().is_relative_to(place):
        raise InputError(f"--out: {out}: expected a folder of its own, not one that this command runs in")
    for name, path in inputs.items():
        if path.resolve() == place:
            raise InputError(f"--out: {out}: is --{name}; expected a folder of its own")


def _move_all(scratch: Path, out: Path) -> None:
    """Rename everything into `out`, `stage.json` last; what an older run alone had made there goes."""
    out.mkdir(exist_ok=True)
    names, made = {path.name for path in scratch.iterdir()}, _made(out)
    _write_json(scratch / MADE, sorted(names))
    for old in out.iterdir():
        if old.name in made - names:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for name in sorted({MADE, *names}, key=lambda name: (name == "stage.json", name != MADE)):
        _replace(scratch / name, out / name, name in made)


def _made(out: Path) -> set[str]:
    """Names in a folder that a stage put there, as far as that is known."""
    try:
        return set(expect(read_json(out / MADE), list, MADE))
    except (InputError, TypeError):
        return set()


def _replace(source: Path, target: Path, ours: bool) -> None:
    """Rename; a folder that no stage made keeps what else it holds."""
    if target.is_dir() and ours:
        shutil.rmtree(target)
    elif target.is_dir() and source.is_dir():
        for path in source.iterdir():
            _replace(path, target / path.name, ours)
        return
    source.replace(target)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_stage(folder: Path) -> dict[str, Any]:
    """A finished stage's record."""
    return read_json(folder / "stage.json")


def digest(path: Path) -> str:
    """SHA-256 of a file; of a stage folder, what its `stage.json` says went into it, the digests of files
    that it read from elsewhere, and what it measured that others compute with: that differs from time to
    time."""
    if path.is_dir():
        record = read_stage(path)
        parts = {key: record[key] for key in ("stage", "spec", "inputs")}
        # A path or a hub's name is the same whatever lies there.
        parts |= {key: record["result"][key] for key in READ if key in (record.get("result") or {})}
        parts |= {name: digest(path / name) for name in MEASURED if (path / name).exists()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def digests(paths: Mapping[str, Path]) -> dict[str, str]:
    """Of files and stage folders, by name; a folder that no stage made has none."""
    return {
        name: digest(path)
        for name, path in sorted(paths.items())
        if path.is_file() or (path / "stage.json").exists()
    }


def git_commit(here: Path = Path(__file__).parent) -> str | None:
    """The commit of the source tree, with `+` where it has uncommitted changes; None outside a checkout.

    An unpacked bundle says which commit it was packed from; a repository around it is another project's.
    """
    record = here.parents[1] / BUNDLED / "commit.json"
    if record.exists():
        packed = read_json(record)
        same = source_digest(here, here.rglob("*.py")) == packed["source"]
        return packed["commit"] if same else packed["commit"].rstrip("+") + "+"
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no", ".") else "")
    return None


def source_digest(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 over the names, as seen from `folder`, and the contents of files."""
    found = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        found.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def package_versions() -> dict[str, str | None]:
    """Versions of what computes; None where one is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class Log:
    """Lines for the person who watches, kept in the rule's log file too."""

    def __init__(self, path: Path | None):
        self.path = path if is_main_process() else None
        if self.path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("", encoding="utf-8")
            except OSError as error:
                raise InputError(f"--log: {path}: cannot be written ({error.strerror})") from None

    def __call__(self, line: str) -> None:
        if is_main_process():
            print(line, file=sys.stderr, flush=True)
        self.keep(line)

    def keep(self, line: str) -> None:
        """Into the file only. Where that is not possible nothing is lost: the line is shown anyway."""
        if self.path is not None:
            with contextlib.suppress(OSError), self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
