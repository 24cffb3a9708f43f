"""From scores and a budget to a mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qaprune.budget import FLOPS, PARAMS, SHARES, Budget
from qaprune.errors import InputError
from qaprune.gate.registry import Scores, load_criterion
from qaprune.models.encoder import WEIGHTS, EncoderShape
from qaprune.prune.costs import Costs, flops_costs, limit_of, parameter_costs
from qaprune.prune.mask import Mask, full_mask, keep_highest, nearest
from qaprune.prune.search import addable, best_widths


def costs_of(
    budget: Budget, shape: EncoderShape, length: int, teacher: Path | None, latency: Path | None
) -> Costs:
    """What a budget counts; a budget of shares counts FLOPs, for whole layers alone.

    `teacher` holds the unpruned weights, `latency` the table of a budget in time.
    """
    if budget.kind in (SHARES, FLOPS):
        costs = flops_costs(shape, length)
        if budget.hidden is None:
            return costs
        narrow = replace(shape, hidden=nearest(shape.hidden, budget.hidden))
        return replace(costs, narrowed=flops_costs(narrow, length))
    if budget.kind == PARAMS:
        from safetensors import safe_open

        with safe_open(teacher / WEIGHTS, "numpy") as file:
            sizes = [np.prod(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
        return parameter_costs(shape, int(sum(sizes)))
    from qaprune.profile.latency import load_costs

    if latency is None:
        raise InputError(f"budgets: {budget.name!r}: expected --latency, the table of the latency stage")
    return load_costs(latency, shape)


def multiples(spec: Mapping[str, Any]) -> tuple[int, ...]:
    """What a spec wants numbers of heads, units and hidden dimensions rounded to."""
    given = tuple(spec.get("round_to") or ())
    return given + (1,) * (3 - len(given))


def select(
    scores: Scores,
    draw: int,
    budget: Budget,
    shape: EncoderShape,
    criterion: str,
    costs: Costs,
    round_to: tuple[int, ...] = (1, 1, 1),
) -> Mask:
    """One draw's mask within a budget; `round_to`: multiples of heads, units and hidden dimensions.

    Shares keep the highest scores of each kind over the whole model. A limit on cost is spent where it adds
    most to the sum of the scores (`search.py`): of criteria that say `additive` as they are, of others by
    rank, both kinds alike. Criteria of whole layers keep as many as come nearest to the budget.
    """
    found = load_criterion(criterion)
    if found.whole_layers:
        return _whole_layers(scores.heads[draw].mean(1), budget, shape, costs)
    if scores.decided:
        hidden = None if scores.hidden_values is None else scores.hidden_values[draw]
        return Mask(tuple(scores.head_values[draw]), tuple(scores.ff_values[draw]), hidden)
    hidden = _hidden(scores, draw, budget, round_to[2], criterion)
    heads, ff = scores.heads[draw], scores.ff[draw]
    values = [None if part is None else part[draw] for part in (scores.head_values, scores.ff_values)]
    if budget.kind == SHARES:
        if round_to[:2] == (1, 1):
            return Mask(
                *(
                    keep_highest(tuple(layers), share, None if part is None else tuple(part))
                    for layers, share, part in (
                        (heads, budget.heads, values[0]),
                        (ff, budget.ff, values[1]),
                    )
                ),
                hidden,
            )
        widths = (
            rounded_share(heads, budget.heads, round_to[0]),
            rounded_share(ff, budget.ff, round_to[1]),
        )
    else:
        if not found.additive:
            heads, ff = addable(heads), addable(ff)
        widths = best_widths(heads, ff, costs, limit_of(budget, costs), round_to)
    return Mask(
        *(
            tuple(_highest(*layer) for layer in zip(layers, kept, _each(part, len(layers)), strict=True))
            for layers, kept, part in ((heads, widths[0], values[0]), (ff, widths[1], values[1]))
        ),
        hidden,
    )


def _hidden(scores: Scores, draw: int, budget: Budget, multiple: int, criterion: str) -> np.ndarray | None:
    """The mask of the hidden width, where the budget cuts it."""
    if budget.hidden is None:
        return None
    if scores.hidden is None:
        raise InputError(
            f"budgets: {budget.name!r}: criterion {criterion!r} gives no scores of hidden dimensions"
        )
    kept = nearest(scores.hidden.shape[1], budget.hidden)
    if multiple > 1:
        kept = max(multiple, kept // multiple * multiple)
    values = None if scores.hidden_values is None else scores.hidden_values[draw]
    return _highest(scores.hidden[draw], min(kept, scores.hidden.shape[1]), values)


def _each(values: np.ndarray | None, layers: int) -> list[np.ndarray | None]:
    return [None] * layers if values is None else list(values)


def _highest(scores: np.ndarray, kept: int, values: np.ndarray | None) -> np.ndarray:
    """One layer's mask that keeps its `kept` highest scores; of equal ones the earlier."""
    if not kept:
        return np.zeros(scores.size, np.float32)
    mask = keep_highest((scores,), 100 * kept / scores.size, None if values is None else (values,))
    return mask[0]


def rounded_share(scores: np.ndarray, share: float, multiple: int) -> tuple[int, ...]:
    """Widths of layers, of `scores` [layers, gates], in multiples or full.

    Each is what the ranking keeps there, rounded down; what that leaves over goes to those that lost most.
    """
    full = scores.shape[1]
    kept = [int(np.count_nonzero(layer)) for layer in keep_highest(tuple(scores), share)]
    widths = [width if width == full else width // multiple * multiple for width in kept]
    left = sum(kept) - sum(widths)
    for layer in sorted(range(len(kept)), key=lambda layer: widths[layer] - kept[layer]):
        step = min(multiple, full - widths[layer])
        if widths[layer] < kept[layer] and step <= left:
            widths[layer] += step
            left -= step
    if not any(widths):  # less than one multiple: as without rounding, something stays
        widths[int(np.argmax(kept))] = min(multiple, full)
    return tuple(widths)


def _whole_layers(order: np.ndarray, budget: Budget, shape: EncoderShape, costs: Costs) -> Mask:
    """Keep whole layers, highest in `order` [layers] first, as many as come nearest to the budget."""
    if budget.kind == SHARES:
        cut = costs.narrowed or costs
        asked = shape.layers * (cut.heads[-1] * budget.heads / 100 + cut.ff[-1] * budget.ff / 100)
    else:
        asked = limit_of(budget, costs) - costs.fixed
    each = float(costs.heads[-1] + costs.ff[-1])
    layers = min(shape.layers, max(1, int(np.floor(asked / each + 0.5))))
    kept = set(np.argsort(-np.asarray(order), kind="stable")[:layers].tolist())
    full = full_mask(shape)
    return Mask(
        tuple(layer * (i in kept) for i, layer in enumerate(full.heads)),
        tuple(layer * (i in kept) for i, layer in enumerate(full.ff)),
    )
