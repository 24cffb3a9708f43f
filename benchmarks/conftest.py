"""What all benchmarks share: no network, a number of torch threads, one small corpus."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

import pytest

from benchmarks.workload import THREADS, Embedded, make_embedded, untrained

QUESTIONS = 2_000
"""Training questions a data set of the embedded corpus that is featurised and predicted on."""


@pytest.fixture(scope="session", autouse=True)
def _threads():
    import torch

    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def _say_threads(benchmark):
    benchmark.extra_info["threads"] = THREADS


@pytest.fixture(scope="session")
def embedded(tmp_path_factory) -> Embedded:
    """The embedded corpus, its encoders and features."""
    return make_embedded(tmp_path_factory.mktemp("embedded"), QUESTIONS)


@pytest.fixture(scope="session")
def bert_base():
    """An untrained bert-base."""
    return untrained("bert-12x768")
