"""Micro-benchmarks of what every run does often: `make bench`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from qaprune.config import load_config
from qaprune.evaluate.decode import decode_windows
from qaprune.evaluate.squad2 import GoldQuestion, score_questions
from qaprune.plan import make_plan
from qaprune.prune.mask import Mask
from qaprune.prune.slice import slice_model
from tests.conftest import ROOT, make_model


def test_plan(benchmark):
    config = load_config([ROOT / "config" / "paper.yaml"])
    benchmark(lambda: make_plan(config).describe())


@pytest.mark.parametrize("config", ["embedded", "paper"])
def test_dry_run(benchmark, config):
    command = [sys.executable, "-m", "snakemake", "-n", "--nolock", "--configfile", f"config/{config}.yaml"]
    benchmark.pedantic(lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True), rounds=3)


def test_score_12000_answers(benchmark):
    gold = [GoldQuestion(f"q{i}", (f"the year {i}", f"{i}"), f"g{i // 9}") for i in range(12_000)]
    predictions = {question.id: f"year {i + i % 2}" for i, question in enumerate(gold)}
    benchmark(score_questions, gold, predictions)


def test_decode_12000_windows(benchmark):
    generator = np.random.default_rng(0)
    lengths = generator.integers(120, 257, 12_000)
    row_ptr = np.concatenate([[0], np.cumsum(lengths)])
    start, end = generator.normal(size=(2, int(row_ptr[-1])))
    first = np.full(12_000, 14)
    benchmark(decode_windows, start, end, row_ptr, first, lengths - 1, np.arange(12_000), 12_000, 30)


def test_slice_a_base_size_layer_stack(benchmark):
    shape = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
    model = make_model("bert", layers=4, scale=0.02, **shape)
    half = Mask(
        tuple((np.arange(12) % 2).astype(np.float32) for _ in range(4)),
        tuple((np.arange(3072) % 2).astype(np.float32) for _ in range(4)),
    )
    benchmark(slice_model, model, half)
