"""The no-answer threshold of a checkpoint, chosen on the train hold-out by one procedure for all.

The stage that writes a checkpoint calls `Holdout.fit` and ships the result in the checkpoint's config.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from qaprune.data.examples import Example
from qaprune.data.features import Features, load_features
from qaprune.data.nq import NqExample
from qaprune.data.prepared import read_examples
from qaprune.evaluate import nq, squad2
from qaprune.evaluate.nq_answers import annotated, predicted
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

    def fit(self, model: nn.Module, compute: Compute) -> dict[str, float]:
        """A model's `threshold` and its `holdout_f1` in per cent; of NQ, `long_threshold` and
        `holdout_long_f1` too."""
        logits = predict_logits(model, self.features, compute)
        spans = predict_spans(self.features, contexts_of(self.examples), logits, self.max_answer_tokens)
        if self.task == "squad2":
            threshold, f1 = squad2_threshold(self.examples, spans, self.features.meta["answerable"])
            return {"threshold": threshold, "holdout_f1": round(f1, 4)}
        return nq_thresholds(self.examples, spans)


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


def nq_thresholds(examples: Sequence[NqExample], spans: Predictions) -> dict[str, float]:
    """Maximise the F1 of short answers, and that of long ones, against the annotation of train examples."""
    gold, found = annotated(examples), predicted(examples, spans)
    scores = nq.score_questions(gold, found, lone_annotator=True)
    fitted = {}
    for prefix, side in (("", scores.short), ("long_", scores.long)):
        threshold = nq.choose_threshold(side)
        fitted[f"{prefix}threshold"] = threshold
        fitted[f"holdout_{prefix}f1"] = round(100 * nq.f1_at(side, threshold), 4)
    return fitted
