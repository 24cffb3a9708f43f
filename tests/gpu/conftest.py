"""Everything in this folder needs a GPU; without one each test is skipped with the reason."""

from __future__ import annotations

import pytest


def missing() -> str | None:
    """Why nothing here can run, None where it can."""
    import torch

    if not torch.cuda.is_available():
        return "torch finds no GPU here"
    return None


@pytest.fixture(autouse=True)
def _needs_gpu() -> None:
    reason = missing()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def device() -> str:
    """The torch device of these tests."""
    return "cuda:0"
