"""The one procedure that chooses a no-answer threshold, for teacher and variants and both data sets.

A prediction is null where `null_score - score > threshold`; that difference is called the null odds. On the
train hold-out every threshold that changes an outcome is tried: one below all odds, the midpoints between
neighbouring distinct odds, one above all. Among those with the best value (equal within `TIE`) the lowest
threshold is taken, so the choice depends on the numbers only, not on their order.

F1 is flat near its best, so that the best of one sample wanders: bagged (Breiman, Bagging Predictors,
1996), as the mean of the best ones of resampled paragraphs or documents, it moves less from sample to
sample and is better on questions that did not choose it (benchmarks/threshold_noise.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MARGIN = 1.0  # how far outside the observed odds the two outermost thresholds lie, in logits
TIE = 1e-9  # sums of per-question scores closer than this are equal
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Cuts:
    """Candidate thresholds, ascending: `threshold[k]` answers the first `answered[k]` of `order`."""

    order: np.ndarray  # int64 [finite questions], by ascending odds; infinite odds are always null
    answered: np.ndarray  # int64 [candidates]
    threshold: np.ndarray  # float64 [candidates], finite


def cuts(null_odds: np.ndarray) -> Cuts:
    """All thresholds worth trying for these odds (float [questions]; +inf means that no span exists)."""
    odds = np.asarray(null_odds, dtype=np.float64)
    if np.isnan(odds).any() or np.isneginf(odds).any():
        raise ValueError("null odds must be numbers above minus infinity")
    order = np.argsort(odds, kind="stable")
    ranked = odds[order][: int(np.isfinite(odds).sum())]
    if not len(ranked):
        return Cuts(order[:0], np.zeros(1, np.int64), np.zeros(1))
    steps = np.flatnonzero(np.diff(ranked)) + 1
    below, above = ranked[steps - 1], ranked[steps]
    middle = below + (above - below) / 2
    middle = np.where(middle < above, middle, below)
    threshold = np.concatenate([[ranked[0] - MARGIN], middle, [ranked[-1] + MARGIN]])
    return Cuts(order[: len(ranked)], np.concatenate([[0], steps, [len(ranked)]]), threshold)


def lowest_best(value: np.ndarray, threshold: np.ndarray) -> float:
    """The lowest of ascending thresholds whose value is within `TIE` of the best."""
    return float(threshold[np.flatnonzero(value >= value.max() - TIE)[0]])


def bagged(groups: Sequence[str], choose: Callable[[np.ndarray], float]) -> float:
    """The mean of the thresholds chosen on resamples of whole groups, the same ones for every checkpoint.

    `groups` [questions]: the paragraph or document of each; `choose` gets how often each question counts
    (float [questions]) and returns its threshold. The order of questions plays no part.
    """
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    return float(np.mean([choose(times[place].astype(np.float64)) for times in drawn]))
