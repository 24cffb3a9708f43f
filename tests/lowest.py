"""The oldest releases that pyproject.toml allows, as constraints for pip; for `make test-lowest`."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
EXTRAS = ("onnx", "peers")
"""Extras beside what everybody installs; the tools of `dev` may be any."""


def lowest(requirement: str) -> str:
    """`torch==2.11.*` for `torch>=2.11`, `numpy==2.0.*` for `numpy>=2`: patches of it may be any."""
    found = Requirement(requirement)
    (bound,) = (part.version for part in found.specifier if part.operator == ">=")
    return f"{found.name}=={bound if '.' in bound else bound + '.0'}.*"


def constraints() -> list[str]:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = (line for extra in EXTRAS for line in project["optional-dependencies"][extra])
    return [lowest(line) for line in (*project["dependencies"], *extras)]


if __name__ == "__main__":
    print("\n".join(constraints()))
