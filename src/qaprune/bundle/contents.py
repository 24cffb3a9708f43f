"""What goes into a bundle beside wheels: the source as git sees it, and the data and models of a config."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import yaml

from qaprune.config import Config, sources
from qaprune.data.lines import shards
from qaprune.errors import InputError
from qaprune.models.encoder import TOKENIZER_FILES, WEIGHTS
from qaprune.stage import BUNDLED, git_commit, source_digest

CODE = ("Snakefile", "src", "workflow", "profiles", "config")
CHECKPOINT = ("config.json", WEIGHTS, *TOKENIZER_FILES)

Log = Callable[[str], None]


def source_files(root: Path, log: Log) -> dict[str, Path | bytes]:
    """The tracked files of the checkout as they lie in the work tree, and the commit that they come from.

    Changes that are not committed, and files that git does not know, are said in one line each.
    """
    names = _git(root, "ls-files")
    if changed := _git(root, "diff", "--name-only", "HEAD"):
        log(f"uncommitted changes are packed as they stand: {_some(changed)}")
    if strange := _git(root, "ls-files", "--others", "--exclude-standard", "--", *CODE):
        log(f"not packed, since git does not track them: {_some(strange)}")
    found = {name: root / name for name in names if (root / name).is_file()}
    if not found:
        raise InputError(f"{root}: git tracks no files there; a bundle packs those of a checkout")
    package = root / "src" / "qaprune"
    modules = [file for file in found.values() if file.is_relative_to(package) and file.suffix == ".py"]
    record = {"commit": git_commit(package), "source": source_digest(package, modules)}
    return found | {f"{BUNDLED}/commit.json": json.dumps(record).encode() + b"\n"}


def _git(root: Path, *words: str) -> list[str]:
    """File names that a git command lists."""
    command = ["git", words[0], "-z", *words[1:]]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise InputError("git: not installed; a bundle packs what git tracks") from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["failed"])[-1]
        raise InputError(f"{root}: git {words[0]}: {reason}; a bundle is made from a checkout") from None
    return sorted(name for name in done.stdout.split("\0") if name)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def data_files(config: Config) -> dict[str, Path | bytes]:
    """Data and models of a loaded config, and the config that finds them in the bundle.

    Every local source becomes a path that its key names, so no layout of this machine is carried over.
    """
    moved = deepcopy(config)
    moved["data_root"] = f"{BUNDLED}/data"
    found: dict[str, Path | bytes] = {}
    homes: dict[Path, str] = {}
    for (key, source), (_, packed) in zip(sources(config), sources(moved), strict=True):
        if "hub" in source:
            raise InputError(
                f"config: {key}: hub source {source['hub']!r} cannot be packed: download it and name it as "
                "{path: ...} or give --data-root FOLDER with the `local` paths of the config"
            )
        if "path" in source:
            path = Path(source["path"])
            # A link keeps its own name, whose ending says how to read it; `$` would be read as a variable.
            home = f"{key.replace('.', '/')}/{re.sub(r'[^A-Za-z0-9_.-]', '_', path.name)}"
            packed["path"] = homes.setdefault(path.absolute(), home)
            if packed["path"] == home:
                found |= {f"{BUNDLED}/data/{home}{tail}": file for tail, file in _files(path, key)}
    text = yaml.safe_dump(moved, sort_keys=False, allow_unicode=True, width=100)
    return found | {f"{BUNDLED}/config.yaml": text.encode()}


def _files(path: Path, key: str) -> list[tuple[str, Path]]:
    """The files of a source, each with its place under the source's own; of a checkpoint what is read."""
    if path.is_file():
        return [("", path)]
    if key.startswith("datasets."):
        return [(f"/{file.name}", file) for file in shards(path)]
    names = {name: path / name for name in CHECKPOINT if (path / name).is_file()}
    if "config.json" not in names or WEIGHTS not in names:
        raise InputError(f"config: {key}: {path}: expected a checkpoint with config.json and {WEIGHTS}")
    return [(f"/{name}", file) for name, file in sorted(names.items())]
