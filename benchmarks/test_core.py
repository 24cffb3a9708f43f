"""Micro-benchmarks of what every run does often: `make bench`. Each round does the same work."""

from __future__ import annotations

import subprocess
from functools import partial

import numpy as np
import pytest

from benchmarks.exact import CONFIGS, ENVIRONMENT, dry_run
from benchmarks.workload import ARCHITECTURES, DATASETS, SEED, SIZES, WINDOWS, random_mask, untrained
from qaprune.config import load_config
from qaprune.data.features import batch_inputs, load_features
from qaprune.data.windows import WindowSettings, featurise, load_tokenizer
from qaprune.evaluate import nq, squad2
from qaprune.evaluate.decode import decode_windows
from qaprune.evaluate.nq_files import Label, Prediction, Span
from qaprune.evaluate.squad2 import GoldQuestion, answer_words
from qaprune.models.encoder import model_shape
from qaprune.plan import make_plan
from qaprune.prune.slice import slice_model
from qaprune.report.intervals import bootstrap_f1, group_sums, percentile_interval, speedup_interval

SQUAD_DEV, SQUAD_PARAGRAPHS, NQ_DEV = 11_873, 1_204, 7_830
"""Questions and paragraphs of the public dev sets."""
NQ_SPANS = ((0, 90), (5, 8), (20, 22))
"""A long answer, the short one in it, and another span; tokens from its start."""
VARIANTS = 13
"""Rows of a table."""


# --- forward passes ---


@pytest.fixture(scope="module")
def windows(embedded):
    """Real windows: the documents of the embedded NQ, several windows each, so that most are full."""
    return load_features(embedded.features("bert", "nq") / "train.safetensors")


def forward(benchmark, model, windows, batch, length):
    """Time one model on the longest windows, with the attention mask that evaluation passes."""
    import torch

    inputs = batch_inputs(windows, np.argsort(-windows.lengths(), kind="stable")[:batch], length)
    fill = float(inputs["attention_mask"].float().mean()) * 100
    benchmark.extra_info.update(batch=batch, length=length, fill_percent=round(fill, 1))
    with torch.inference_mode():
        benchmark(lambda: model(**inputs))


@pytest.mark.parametrize("size", SIZES)
def test_forward_4x96(benchmark, windows, size, request):
    model = request.getfixturevalue("bert_base") if size == "bert-12x768" else untrained(size)
    forward(benchmark, model, windows, 4, 96)


def test_forward_4x96_half_of_bert_6x384(benchmark, windows):
    model = untrained("bert-6x384")
    forward(benchmark, slice_model(model, random_mask(model_shape(model), "h50-f50")), windows, 4, 96)


def test_slice_bert_12x768_to_half(benchmark, bert_base):
    benchmark(slice_model, bert_base, random_mask(model_shape(bert_base), "h50-f50"))


# --- features ---


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_featurise_1000_questions(benchmark, embedded, architecture, dataset):
    examples = embedded.examples(dataset)[:1000]
    assert len(examples) == 1000
    tokenizer = load_tokenizer(embedded.encoder(architecture))
    settings = WindowSettings(**WINDOWS[dataset])
    made = benchmark(featurise, examples, tokenizer, architecture, settings, labels=True)
    benchmark.extra_info.update(windows=made.windows, tokens=int(made.row_ptr[-1]))


# --- scores ---


def test_score_squad2(benchmark):
    """11,873 questions, half of them answerable with three gold answers; predictions half right."""
    gold = [
        GoldQuestion(f"q{i}", (f"the year {i}", f"{i}", f"in {i}") if i % 2 else (), f"g{i // 9}")
        for i in range(SQUAD_DEV)
    ]
    texts = {question.id: f"year {i + i // 2 % 2}" for i, question in enumerate(gold)}
    odds = np.random.default_rng(SEED).normal(size=SQUAD_DEV)
    answerable, non_empty = squad2.has_answer(gold), np.ones(SQUAD_DEV, bool)

    def score():
        em, f1 = squad2.score_questions(gold, texts)
        squad2.best_threshold(answerable, non_empty, f1, odds)
        return squad2.summarise(gold, em, f1)

    # Without this only the first round would split the answers into words.
    totals = benchmark.pedantic(score, setup=answer_words.cache_clear, rounds=20, warmup_rounds=1)
    assert 0 < totals["HasAns_f1"] < 100


def test_score_nq(benchmark):
    """7,830 examples of five annotators; in two of three examples two or more of them see an answer."""
    generator = np.random.default_rng(SEED)
    gold, predictions = {}, {}
    for i, first in enumerate(generator.integers(1000, size=NQ_DEV).tolist()):
        long, short, other = (Span(start_token=first + a, end_token=first + b) for a, b in NQ_SPANS)
        votes = i % 4 + 2 if i % 3 else 0
        gold[str(i)] = tuple(Label(long, (short,)) if vote < votes else Label() for vote in range(5))
        label = Label(long, (short if i % 2 else other,))
        predictions[str(i)] = Prediction(str(i), label, *generator.normal(size=2).tolist())
    metrics = benchmark(lambda: nq.official_metrics(nq.score_questions(gold, predictions)))
    assert 0 < metrics["short-best-threshold-f1"] < 1


def test_decode_12000_windows(benchmark):
    generator = np.random.default_rng(SEED)
    lengths = generator.integers(120, 257, 12_000)
    row_ptr = np.concatenate([[0], np.cumsum(lengths)])
    start, end = generator.normal(size=(2, int(row_ptr[-1])))
    first, question = np.full(12_000, 14), np.arange(12_000)
    benchmark(decode_windows, start, end, row_ptr, first, lengths - 1, question, 12_000, 30)


# --- the report's intervals ---


def test_f1_intervals_of_13_variants(benchmark):
    """2,000 resamples of the paragraphs of SQuAD 2.0 dev, and an interval of each row and difference."""
    generator = np.random.default_rng(SEED)
    names = [f"v{i:02}" for i in range(VARIANTS) for _ in range(SQUAD_DEV)]
    groups = [f"p{i % SQUAD_PARAGRAPHS}" for i in range(SQUAD_DEV)] * VARIANTS
    sums = group_sums(names, groups, generator.random(len(names)), np.ones(len(names)))

    def intervals():
        samples = bootstrap_f1(sums, 2000, SEED)
        return [percentile_interval(part) for row in samples for part in (row, row - samples[0])]

    assert len(benchmark(intervals)) == 2 * VARIANTS


def test_speedup_intervals_of_13_variants(benchmark):
    ratios = np.random.default_rng(SEED).normal(2, 0.05, (VARIANTS, 60))
    benchmark(lambda: [speedup_interval(row, 2000, SEED) for row in ratios])


# --- the DAG ---


def test_plan_of_the_paper(benchmark):
    config = load_config([next(path for path in CONFIGS if path.stem == "paper")])
    benchmark(lambda: make_plan(config).describe())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_dry_run(benchmark, tmp_path, config):
    command = [*dry_run(config, tmp_path), "--quiet", "all"]
    call = partial(subprocess.run, command, check=True, capture_output=True, env=ENVIRONMENT)
    benchmark.pedantic(call, rounds=3)
