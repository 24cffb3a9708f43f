"""Which widths a limit on cost is best spent on: a knapsack over the sub-layers.

In each sub-layer gates go in the order of their scores, so that a sub-layer's choice is a number of gates,
and its value the sum of their scores. The sum over sub-layers is maximised by dynamic programming over the
cost in small steps (as ZipLM searches; Kurtic, Frantar and Alistarh 2023).
"""

from __future__ import annotations

import numpy as np

from qaprune.prune.costs import Costs

BINS = 16384
"""Steps that the cost is counted in; each sub-layer rounds up to one, so that the limit holds."""
SPENT = 0.98
"""The share of the limit that is spent wherever widths allow it."""
OPTIONS = 64
"""Widths of a feed-forward part that are tried: finer ones change the cost by less than timings tell."""


def best_widths(
    heads: np.ndarray, ff: np.ndarray, costs: Costs, limit: float, round_to: tuple[int, ...] = (1, 1)
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Heads and units of each layer within `limit` at the highest sum of scores.

    `heads` [layers, heads] and `ff` [layers, units] are scores that may be added up. Widths are multiples
    of `round_to`, or full.
    """
    steps = (round_to[0], _multiple(max(1, ff.shape[1] // OPTIONS), round_to[1]))
    options = [
        np.unique(np.append(np.arange(0, layers.shape[1], step), layers.shape[1]))
        for layers, step in zip((heads, ff), steps, strict=True)
    ]
    bin_ = (limit - costs.fixed) / BINS
    values, prices = [], []
    for layer in range(costs.layers):
        for scores, widths, table in (
            (heads[layer], options[0], costs.heads),
            (ff[layer], options[1], costs.ff),
        ):
            gained = np.append(0.0, np.cumsum(np.sort(scores.astype(np.float64))[::-1]))
            values.append(gained[widths])
            prices.append(np.ceil(table[widths] / bin_ - 1e-9).astype(int))
    chosen = _knapsack(values, prices)
    picked = [int(options[number % 2][choice]) for number, choice in enumerate(chosen)]
    return tuple(picked[0::2]), tuple(picked[1::2])


def _multiple(least: int, of: int) -> int:
    return -(-least // of) * of


def _knapsack(values: list[np.ndarray], prices: list[np.ndarray]) -> list[int]:
    """One option of each item within BINS and near it, at the highest total; of equal ones the cheaper."""
    best = np.full(BINS + 1, -np.inf)
    best[0] = 0.0
    taken = []
    for value, price in zip(values, prices, strict=True):
        following = np.full((len(value), BINS + 1), -np.inf)
        for option, cost in enumerate(price):
            if cost <= BINS:
                following[option, cost:] = best[: BINS + 1 - cost] + value[option]
        taken.append(following.argmax(0))
        best = following.max(0)
    spent = int(np.ceil(SPENT * BINS))
    # Gates with negative scores would leave the budget unspent: a budget is a size, not only a bound.
    at = spent + int(best[spent:].argmax()) if np.isfinite(best[spent:]).any() else int(best.argmax())
    chosen = []
    for choice, price in zip(reversed(taken), reversed(prices), strict=True):
        option = int(choice[at])
        chosen.append(option)
        at -= int(price[option])
    return chosen[::-1]


def addable(scores: np.ndarray) -> np.ndarray:
    """Scores of one kind as ranks that add up to 1: for criteria whose scores only order gates.

    Equal scores share their mean rank: L0 ends with many gates at one bound, whose order says nothing.
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores).reshape(scores.shape)
    return ranks / ranks.sum()
