"""Natural Questions scorer, written anew after the definition of the official `nq_eval.py`.

Gold has a long (short) answer where at least two annotators gave one; yes/no counts as a short answer.
A long prediction is right if it equals one annotator's span, a short one if its set of spans equals one
annotator's set or its yes/no equals one annotator's. Precision counts non-null predictions, recall gold
answers. The official figure is F1 at the best threshold on the predictions' scores.

Everything is kept as arrays a question, so that F1 can be recomputed for bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qaprune.errors import InputError
from qaprune.evaluate.nq_files import Label, Prediction
from qaprune.evaluate.threshold import cuts, lowest_best

VOTES = 2  # annotators who must give an answer, as in the official script
PRECISION_TARGETS = (0.5, 0.75, 0.9)


@dataclass(frozen=True, slots=True)
class Side:
    """Long or short answers of all questions, each array [questions]."""

    has_gold: np.ndarray  # bool
    has_pred: np.ndarray  # bool, before any threshold
    is_correct: np.ndarray  # bool
    score: np.ndarray  # float64, higher: surer that there is an answer


@dataclass(frozen=True, slots=True)
class NqScores:
    """Per-question outcomes in the order of the gold file."""

    ids: tuple[str, ...]
    long: Side
    short: Side


@dataclass(frozen=True, slots=True)
class Best:
    """F1 in [0, 1] at the best threshold: predictions with at least that score are kept."""

    f1: float
    precision: float
    recall: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """A side sorted once by falling score, for many resamples."""

    order: np.ndarray  # int64 [questions]
    last: np.ndarray  # int64 [distinct scores], the last place of each in `order`
    threshold: np.ndarray  # float64 [distinct scores], falling
    side: Side


def score_questions(
    gold: Mapping[str, Sequence[Label]],
    predictions: Mapping[str, Prediction],
    *,
    lone_annotator: bool = False,
) -> NqScores:
    """Compare predictions with annotations. Ids that differ are an error, as in the official script.

    `lone_annotator=True` asks only min(2, annotators) for an answer: own choice for the train hold-out,
    whose examples have one annotation and would all be null under the official rule.
    """
    check_ids(gold, predictions)
    long, short = [], []
    for identity, labels in gold.items():
        votes = max(1, min(VOTES, len(labels))) if lone_annotator else VOTES
        prediction = predictions[identity]
        long.append((*long_outcome(labels, prediction.label, votes), prediction.long_score))
        short.append((*short_outcome(labels, prediction.label, votes), prediction.short_score))
    return NqScores(tuple(gold), _side(long), _side(short))


def check_ids(gold: Mapping[str, Any], given: Mapping[str, Any], what: str = "predictions") -> None:
    """The ids of gold and predictions must be the same set."""
    missing = [identity for identity in gold if identity not in given]
    if missing:
        raise InputError(f"{what}: {len(missing)} of {len(gold)} gold ids missing, first '{missing[0]}'")
    unknown = [identity for identity in given if identity not in gold]
    if unknown:
        raise InputError(f"{what}: {len(unknown)} ids not in the gold files, first '{unknown[0]}'")


def long_outcome(labels: Sequence[Label], predicted: Label, votes: int = VOTES) -> tuple[bool, bool, bool]:
    """(gold has a long answer, the prediction has one, it is correct)."""
    has_gold = sum(label.has_long for label in labels) >= votes
    if not (has_gold and predicted.has_long):
        return has_gold, predicted.has_long, False
    return True, True, any(label.has_long and label.long.same(predicted.long) for label in labels)


def short_outcome(labels: Sequence[Label], predicted: Label, votes: int = VOTES) -> tuple[bool, bool, bool]:
    """(gold has a short or yes/no answer, the prediction has one, it is correct)."""
    has_gold = sum(label.has_short for label in labels) >= votes
    if not (has_gold and predicted.has_short):
        return has_gold, predicted.has_short, False
    if predicted.yes_no != "none":
        return True, True, any(label.yes_no == predicted.yes_no for label in labels)
    return True, True, any(_same_set(label, predicted) for label in labels)


def _same_set(label: Label, predicted: Label) -> bool:
    ours = [span for span in predicted.shorts if not span.is_null]
    theirs = [span for span in label.shorts if not span.is_null]
    return all(any(a.same(b) for b in theirs) for a in ours) and all(
        any(b.same(a) for a in ours) for b in theirs
    )


def _side(rows: Sequence[tuple[bool, bool, bool, float]]) -> Side:
    has_gold, has_pred, is_correct, score = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Side(
        np.array(has_gold, bool),
        np.array(has_pred, bool),
        np.array(is_correct, bool),
        np.array(score, float),
    )


def short_f1(has_gold: np.ndarray, has_pred: np.ndarray, is_correct: np.ndarray) -> float:
    """F1 in [0, 1] from bool arrays [questions]; the same formula serves long answers."""
    return _f1(*_precision_recall(is_correct.sum(), has_pred.sum(), has_gold.sum())).item()


def f1_at(side: Side, threshold: float) -> float:
    """F1 with the no-answer threshold of a checkpoint: null where the null odds (-score) are above it."""
    kept = -side.score <= threshold
    return short_f1(side.has_gold, side.has_pred & kept, side.is_correct & kept)


def choose_threshold(side: Side, times: np.ndarray | None = None) -> float:
    """The no-answer threshold (on null odds, -score) with the highest hold-out F1; see `threshold.py`.

    `times` float [questions]: how often each counts, once where not given.
    """
    options = cuts(-side.score)
    counts = np.ones(len(side.score)) if times is None else times
    correct = _running((counts * side.is_correct)[options.order])[options.answered]
    predicted = _running((counts * side.has_pred)[options.order])[options.answered]
    gold = (counts * side.has_gold).sum()
    return lowest_best(_f1(*_precision_recall(correct, predicted, gold)), options.threshold)


def rank(side: Side) -> Ranking:
    """Sort a side by falling score; equal scores form one step, as in the official script."""
    order = np.argsort(-side.score, kind="stable")
    ranked = side.score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else order
    return Ranking(order, last, ranked[last], side)


def curve(ranking: Ranking, counts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall [distinct scores] when predictions down to each score are kept.

    `counts` int [questions]: how often a resample drew each question; None: once each.
    """
    side, order = ranking.side, ranking.order
    weight = np.ones(len(order), np.int64) if counts is None else np.asarray(counts, np.int64)
    correct = np.cumsum((side.is_correct * weight)[order])[ranking.last]
    predicted = np.cumsum((side.has_pred * weight)[order])[ranking.last]
    return _precision_recall(correct, predicted, (side.has_gold * weight).sum())


def best(ranking: Ranking, counts: np.ndarray | None = None) -> Best:
    """The official best-threshold F1; of equal ones the highest threshold; all 0.0 if nothing is right.

    A score drawn zero times in a resample repeats the step before it and so never changes the best.
    """
    precision, recall = curve(ranking, counts)
    f1 = _f1(precision, recall)
    if not len(f1) or f1.max() <= 0:
        return Best(0.0, 0.0, 0.0, 0.0)
    at = int(f1.argmax())
    return Best(float(f1[at]), float(precision[at]), float(recall[at]), float(ranking.threshold[at]))


def official_metrics(scores: NqScores) -> dict[str, float]:
    """All figures of the official script, under its names, as fractions of 1."""
    metrics: dict[str, float] = {}
    for name, side in (("long", scores.long), ("short", scores.short)):
        ranking = rank(side)
        top = best(ranking)
        metrics[f"{name}-best-threshold-f1"] = top.f1
        metrics[f"{name}-best-threshold-precision"] = top.precision
        metrics[f"{name}-best-threshold-recall"] = top.recall
        metrics[f"{name}-best-threshold"] = top.threshold
        precision, recall = curve(ranking)
        for target in PRECISION_TARGETS:
            reached = np.where(precision >= target, recall, 0.0)
            at = int(reached.argmax()) if reached.size and reached.max() > 0 else None
            metrics[f"{name}-recall-at-precision>={target}"] = 0.0 if at is None else float(recall[at])
            metrics[f"{name}-precision-at-precision>={target}"] = (
                0.0 if at is None else float(precision[at])
            )
    return metrics


def _running(flags: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(flags)])


def _precision_recall(correct: Any, predicted: Any, gold: Any) -> tuple[np.ndarray, np.ndarray]:
    """Ratios that are 0 where nothing was predicted, or nothing is in gold."""
    return np.divide(correct, np.maximum(predicted, 1)), np.divide(correct, np.maximum(gold, 1))


def _f1(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    total = precision + recall
    return 2 * precision * recall / np.where(total > 0, total, 1.0)
