"""The no-answer threshold of a checkpoint, chosen on the train hold-out by one procedure for all.

The stage that writes a checkpoint calls `Holdout.fit` and ships the result in the checkpoint's config.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from qaprune.data.examples import Example
from qaprune.data.features import Features, load_features
from qaprune.data.nq import NqExample
from qaprune.data.prepared import read_examples
from qaprune.evaluate import nq, squad2
from qaprune.evaluate.nq_answers import annotated, predicted
from qaprune.evaluate.predictions import Predictions, contexts_of, predict_spans
from qaprune.evaluate.threshold import bagged
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

    def spans(self, model: nn.Module, compute: Compute) -> Predictions:
        """A model's best span of each question."""
        logits = predict_logits(model, self.features, compute)
        return predict_spans(self.features, contexts_of(self.examples), logits, self.max_answer_tokens)

    def fit(self, model: nn.Module, compute: Compute) -> dict[str, float]:
        """A model's `threshold` and its `holdout_f1` in per cent; of NQ, `long_threshold` and
        `holdout_long_f1` too."""
        spans = self.spans(model, compute)
        if self.task == "squad2":
            outcomes = squad2_outcomes(self.examples, spans, self.features.meta["answerable"])
            threshold = bagged(outcomes.groups, outcomes.choose)
            return {"threshold": threshold, "holdout_f1": round(outcomes.f1_at(threshold), 4)}
        return nq_thresholds(self.examples, spans)


class Outcomes(NamedTuple):
    """What a model's answers to the hold-out of SQuAD 2.0 are worth, arrays [questions]."""

    f1: np.ndarray  # float64, of the best non-null span
    answerable: np.ndarray  # bool
    null_odds: np.ndarray  # float64, null score minus span score
    weights: np.ndarray  # float64, how much each question counts
    groups: tuple[str, ...]  # the paragraph of each

    def choose(self, times: np.ndarray) -> float:
        """The best threshold where each question counts so many times its weight."""
        return squad2.choose_threshold(self.f1, self.answerable, self.null_odds, self.weights * times)

    def f1_at(self, threshold: float) -> float:
        """F1 in per cent."""
        kept = squad2.with_nulls(self.f1, self.answerable, self.null_odds > threshold)
        return float(100 * np.average(kept, weights=self.weights))


def squad2_outcomes(examples: Sequence[Example], spans: Predictions, answerable_share: float) -> Outcomes:
    """Answerable questions count as much as they do in train, `answerable_share`: the slice is cut from
    articles that have both kinds, and so has more unanswerable questions.
    """
    gold = squad2.gold_from_examples(examples)
    _, f1 = squad2.score_questions(gold, dict(zip(spans.ids, spans.texts, strict=True)))
    answerable = squad2.has_answer(gold)
    weights = class_weights(answerable, answerable_share)
    return Outcomes(f1, answerable, spans.null_odds, weights, tuple(example.group for example in examples))


def class_weights(answerable: np.ndarray, share: float) -> np.ndarray:
    """Weights [questions] by which answerable ones make up `share`; all 1 where one kind is missing."""
    found = answerable.mean()
    if not 0 < found < 1 or not 0 < share < 1:
        return np.ones(len(answerable))
    return np.where(answerable, share / found, (1 - share) / (1 - found))


def nq_thresholds(examples: Sequence[NqExample], spans: Predictions) -> dict[str, float]:
    """The bagged thresholds of the best F1 of short and of long answers, against train's annotation."""
    gold, found = annotated(examples), predicted(examples, spans)
    scores = nq.score_questions(gold, found, lone_annotator=True)
    groups, fitted = [example.group for example in examples], {}
    for prefix, side in (("", scores.short), ("long_", scores.long)):
        threshold = bagged(groups, partial(nq.choose_threshold, side))
        fitted[f"{prefix}threshold"] = threshold
        fitted[f"holdout_{prefix}f1"] = round(100 * nq.f1_at(side, threshold), 4)
    return fitted
