"""Everything of one config into one folder: parts, digests, what `run.sh` must know, and `run.sh`."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from qaprune.bundle.contents import data_files, source_files
from qaprune.bundle.parts import Archive, Contents, write_parts
from qaprune.bundle.wheels import Fetch, Needs, Target, collect, downloader, read_pins
from qaprune.config import ROOT, load_config
from qaprune.errors import InputError
from qaprune.gate.registry import BUILT_IN, base_name, load_criterion
from qaprune.plan import make_plan
from qaprune.stage import BUNDLED

SUMS, FACTS, RUN = "SHA256SUMS", "bundle.env", "run.sh"

Log = Callable[[str], None]
Fetcher = Callable[[Target, Path, Log], Fetch]


def pack(
    configs: Sequence[Path],
    overrides: Mapping[str, Any],
    out: Path,
    without: Sequence[str],
    target: Target,
    limit: int,
    log: Log,
    fetcher: Fetcher = downloader,
) -> list[str]:
    """Write the bundle to `out`, parts of at most `limit` bytes; returns lines that say what it holds.

    It is written beside `out` and renamed: one that fails leaves nothing behind, an older one is replaced.
    """
    pins = read_pins(ROOT / "constraints.txt")
    left_out = frozenset(canonicalize_name(name) for name in without)
    if unknown := sorted(left_out - pins.keys()):
        raise InputError(f"--without: {unknown[0]}: not among the packages of constraints.txt")
    if "pip" in left_out:
        raise InputError("--without: pip: run.sh installs with the bundle's own, as many hosts have none")
    config = _config(configs, overrides)
    needs = Needs.read(ROOT / "pyproject.toml", extras_of(config))
    try:
        _check_place(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            draft, downloads = Path(scratch) / "bundle", Path(scratch) / "wheels"
            draft.mkdir()
            downloads.mkdir()
            kinds = {"data and models": data_files(config), "source": source_files(ROOT, log)}
            kinds["wheels"] = _wheels(needs, left_out, pins, target, fetcher(target, downloads, log))
            archive = write_parts({k: v for kind in kinds.values() for k, v in kind.items()}, draft, limit)
            facts = {
                "ARCHIVE_SHA256": archive.digest,
                "CONFIG_NAME": config["name"],
                "HOST_PYTHON": target.python,
                "HOST_MACHINE": target.machine,
                "HOST_GLIBC": f"2.{target.glibc}",
                "HOST_NEEDS": " ".join(needs.of_host(left_out)),
            }
            _write_rest(draft, archive, facts)
            sizes = ", ".join(f"{name} {_size(files) / 1e6:.1f} MB" for name, files in kinds.items())
            if out.exists():
                out.rename(Path(scratch) / "old")
            draft.rename(out)
    except OSError as error:
        raise InputError(f"{error.filename or out}: {error.strerror or error}") from error
    whole = sum(path.stat().st_size for path in out.glob("part-*")) / 1e6
    return [
        f"{out}: {len(archive.parts)} part(s), {whole:.1f} MB packed ({sizes} before)",
        f"for {target}, which must have: {facts['HOST_NEEDS'] or 'nothing else'}",
    ]


def _config(configs: Sequence[Path], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The config, refused where it needs what no bundle has."""
    config = load_config(configs, overrides)
    make_plan(config)
    for name in config["criteria"]:
        if base_name(name) not in BUILT_IN:
            raise InputError(
                f"config: criteria.{name}: comes from a package of its own, which a bundle does not pack"
            )
    return config


def extras_of(config: dict[str, Any]) -> list[str]:
    """Extras of `pyproject.toml` that the config's criteria and backends need."""
    peers = any(load_criterion(name).package for name in config["criteria"])
    onnx = any(backend.startswith("onnxruntime") for backend in config["profile"]["backend"])
    return ["peers"] * peers + ["onnx"] * onnx


def _check_place(out: Path) -> None:
    """An older bundle may be replaced; anything else is somebody's, like the results of a run inside it."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out: {out}: is a file; expected a folder")
    if out.exists() and any(out.iterdir()) and not (out / SUMS).exists():
        raise InputError(f"--out: {out}: is not empty and holds no bundle; name another folder")
    for path in sorted(out.iterdir()) if out.exists() else ():
        if path.name not in (SUMS, FACTS, RUN) and not re.fullmatch(r"part-\d+", path.name):
            raise InputError(
                f"--out: {out}: holds {path.name!r}, which is no part of a bundle; move it away or name "
                "another folder"
            )


def _wheels(
    needs: Needs, without: frozenset[str], pins: dict[str, str], target: Target, fetch: Fetch
) -> Contents:
    """The wheels, and the list that the other host installs by."""
    roots = [*needs.run, *needs.build, Requirement("pip")]
    found = collect(roots, without, pins, target, fetch)
    # A vendor's torch may call itself a pre-release, which no range takes: `run.sh` looks at its version.
    asked = [need for need in roots[:-1] if need.name != "torch" or need.name not in without]
    lines = "".join(f"{need}\n" for need in asked)
    return {f"{BUNDLED}/wheels/{path.name}": path for path in found.values()} | {
        f"{BUNDLED}/requirements.txt": lines.encode()
    }


def _write_rest(draft: Path, archive: Archive, facts: dict[str, str]) -> None:
    """Beside the parts: `run.sh`, what it must know, and the digests of all."""
    text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in facts.items())
    (draft / FACTS).write_text(text, encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name(RUN), draft / RUN)
    (draft / RUN).chmod(0o755)
    digests = dict(archive.parts)
    for name in (FACTS, RUN):
        digests[name] = hashlib.sha256((draft / name).read_bytes()).hexdigest()
    lines = (f"{digest}  {name}\n" for name, digest in digests.items())
    (draft / SUMS).write_text("".join(lines), encoding="utf-8")


def _size(contents: Contents) -> int:
    return sum(len(it) if isinstance(it, bytes) else it.stat().st_size for it in contents.values())
