"""What each head and unit of an encoder costs, in parameters, FLOPs or milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qaprune.budget import FLOPS, PARAMS, SHARES, SPEEDUP, Budget
from qaprune.errors import InputError
from qaprune.models.cost import encoder_flops, head_flops, unit_flops
from qaprune.models.encoder import EncoderShape


@dataclass(frozen=True)
class Costs:
    """Costs of widths, of one kind. `heads[k]`: a layer's attention with k heads, k from 0; `ff[k]`: its
    feed-forward part with k units; `fixed`: everything else. Every layer costs the same.

    `narrowed`: costs at the hidden width of the budget, where it cuts that.
    """

    unit: str
    layers: int
    fixed: float
    heads: np.ndarray
    ff: np.ndarray
    narrowed: Costs | None = None

    def of(self, heads: tuple[int, ...], ff: tuple[int, ...]) -> float:
        """The cost of a model with these widths."""
        return float(self.fixed + self.heads[list(heads)].sum() + self.ff[list(ff)].sum())

    @property
    def full(self) -> float:
        """The cost of the unpruned model."""
        return self.fixed + self.layers * float(self.heads[-1] + self.ff[-1])

    @property
    def least(self) -> float:
        """What stays when every layer is closed but for one head and one unit."""
        closed = self.fixed + self.layers * float(self.heads[0] + self.ff[0])
        return closed + float(self.heads[1] - self.heads[0] + self.ff[1] - self.ff[0])


def flops_costs(shape: EncoderShape, length: int) -> Costs:
    """FLOPs of a window of `length` tokens."""
    heads = np.arange(shape.heads[0] + 1.0) * head_flops(shape, length)
    ff = np.arange(shape.ff[0] + 1.0) * unit_flops(shape, length)
    full = encoder_flops(shape, length)
    return Costs("FLOPs", shape.layers, full - shape.layers * (heads[-1] + ff[-1]), heads, ff)


def parameter_costs(shape: EncoderShape, total: int) -> Costs:
    """Parameters; `total` of the unpruned model, embeddings included.

    A head has four matrices and three biases, a unit two vectors and one bias; the output biases stay.
    """
    heads = np.arange(shape.heads[0] + 1.0) * shape.head_size * (4 * shape.hidden + 3)
    ff = np.arange(shape.ff[0] + 1.0) * (2 * shape.hidden + 1)
    return Costs("parameters", shape.layers, total - shape.layers * (heads[-1] + ff[-1]), heads, ff)


def limit_of(budget: Budget, costs: Costs) -> float:
    """The most that a budget allows, in the unit of `costs`; one out of reach says what can be reached."""
    if budget.kind == SPEEDUP:
        limit, reachable = costs.full / budget.limit, f"at most {costs.full / costs.least:.2f}x"
    elif budget.kind in (PARAMS, FLOPS):
        limit = costs.full * budget.limit / 100
        reachable = f"{100 * costs.least / costs.full:.1f} % of the {costs.unit}"
    else:
        limit, reachable = budget.limit, f"{costs.least:.3g} ms a batch"
    if limit < costs.least:
        raise InputError(
            f"budgets: {budget.name!r}: out of reach; one head and one unit alone make {reachable}"
        )
    return limit


def _shared_out(table: np.ndarray) -> np.ndarray:
    """What a mean width costs where layers may have wider and narrower ones: the lower convex hull."""
    corners: list[int] = []
    for width in range(len(table)):
        while len(corners) > 1:
            before, last = corners[-2:]
            rise = (table[last] - table[before]) * (width - before)
            if rise < (table[width] - table[before]) * (last - before):
                break
            corners.pop()
        corners.append(width)
    return np.interp(np.arange(len(table)), corners, table[corners])


def as_shares(budget: Budget, costs: Costs | None) -> Budget:
    """The budget as per cents of heads and units, for a criterion that trains towards them.

    Own choice: the same share of both kinds, the largest whose cost stays within the limit where layers
    share it out as is cheapest. Where a part costs mostly by being there, as on a GPU that waits for
    launches, that is to close some and keep others: half a part then costs half.
    """
    if budget.kind == SHARES:
        return budget
    limit = limit_of(budget, costs)
    cheapest = [_shared_out(table) for table in (costs.heads, costs.ff)]
    low, high = 0.0, 1.0
    for _ in range(30):
        share = (low + high) / 2
        cost = costs.fixed + costs.layers * sum(
            np.interp(share * (len(table) - 1), np.arange(len(table)), table) for table in cheapest
        )
        low, high = (share, high) if cost <= limit else (low, share)
    return replace(budget, heads=100 * low, ff=100 * low)
