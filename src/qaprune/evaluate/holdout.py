"""The no-answer threshold of a checkpoint, chosen on the train hold-out by one procedure for all.

The stage that writes a checkpoint calls `fit_threshold` and ships the result in the checkpoint's config.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from qaprune.data.examples import Example, read_examples
from qaprune.data.features import Features, load_features
from qaprune.data.nq import document_context
from qaprune.evaluate import nq, squad2
from qaprune.evaluate.predictions import Predictions, contexts_of, predict_spans
from qaprune.train.compute import Compute
from qaprune.train.predict import predict_logits


class Holdout:
    """The hold-out slice of one run, read once and used for every checkpoint a stage writes."""

    def __init__(self, features: Path, examples: Path, task: str, max_answer_tokens: int):
        self.features: Features = load_features(features)
        self.examples: list[Example] = list(read_examples(examples))
        self.task = task
        self.max_answer_tokens = max_answer_tokens

    @property
    def windows(self) -> dict[str, int]:
        """What a checkpoint must know to read contexts as its threshold was chosen; in tokens."""
        meta = self.features.meta
        return {name: meta[name] for name in ("length", "stride")} | {
            "max_answer_tokens": self.max_answer_tokens
        }

    def fit_threshold(self, model: nn.Module, compute: Compute) -> tuple[float, float]:
        """(threshold, F1 in per cent at it) of a model."""
        logits = predict_logits(model, self.features, compute)
        spans = predict_spans(self.features, contexts_of(self.examples), logits, self.max_answer_tokens)
        if self.task == "squad2":
            return squad2_threshold(self.examples, spans, self.features.meta["answerable"])
        return nq_threshold(self.examples, spans)


def squad2_threshold(
    examples: Sequence[Example], spans: Predictions, answerable_share: float
) -> tuple[float, float]:
    """Maximise the SQuAD 2.0 F1, answerable questions counting as much as they do in train.

    The slice is cut from articles that have both kinds, and so has more unanswerable questions than train.
    """
    gold = squad2.gold_from_examples(examples)
    _, f1 = squad2.score_questions(gold, dict(zip(spans.ids, spans.texts, strict=True)))
    answerable = squad2.has_answer(gold)
    weights = class_weights(answerable, answerable_share)
    threshold = squad2.choose_threshold(f1, answerable, spans.null_odds, weights)
    kept = squad2.with_nulls(f1, answerable, spans.null_odds > threshold)
    return threshold, float(100 * np.average(kept, weights=weights))


def class_weights(answerable: np.ndarray, share: float) -> np.ndarray:
    """Weights [questions] by which answerable ones make up `share`; all 1 where one kind is missing."""
    found = answerable.mean()
    if not 0 < found < 1 or not 0 < share < 1:
        return np.ones(len(answerable))
    return np.where(answerable, share / found, (1 - share) / (1 - found))


def nq_threshold(examples: Sequence[Example], spans: Predictions) -> tuple[float, float]:
    """Maximise the short-answer F1 against the one annotation of each train example."""
    right = []
    for i, example in enumerate(examples):
        document = document_context(example.context)
        predicted = document.token_span(int(spans.start[i]), int(spans.end[i]))
        gold = [document.token_span(a.start, a.start + len(a.text)) for a in example.answers]
        right.append(predicted in gold)
    side = nq.Side(
        np.array([bool(example.answers) for example in examples]),
        np.ones(len(examples), bool),
        np.array(right, bool),
        -spans.null_odds,
    )
    threshold = nq.choose_threshold(side)
    return threshold, 100 * nq.f1_at(side, threshold)
