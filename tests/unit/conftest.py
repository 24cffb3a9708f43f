"""Fixtures that several modules of unit tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.profile_data import write_checkpoints


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A features file, and a teacher and a smaller variant by key."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))
