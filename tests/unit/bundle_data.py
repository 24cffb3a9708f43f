"""Fake wheels, a tiny checkout and the joined parts, for the tests of bundles."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path


def make_wheel(folder: Path, name: str, version: str, requires: list[str]) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    lines += [f"Requires-Dist: {need}" for need in requires]
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo(f"{name}-{version}.dist-info/METADATA")
        archive.writestr(entry, "\n".join(lines) + "\n\ntext: none\n")
    return path


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_checkout(root: Path) -> Path:
    """A tiny checkout that needs one package and pip."""
    (root / "src" / "qaprune").mkdir(parents=True)
    (root / "src" / "qaprune" / "a.py").write_text("A = 1\n")
    (root / "Snakefile").write_text("rule all:\n")
    (root / "constraints.txt").write_text("tool==3.0\npip==3.0\nhostly==2.0 # not packed\nbuilder==3.0\n")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["builder"]\n[project]\ndependencies = ["tool>=1", "hostly>=1.5"]\n'
    )
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "First")
    return root


def joined(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("part-*")))
