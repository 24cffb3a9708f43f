"""Pruning in steps: score, close, train on, and score again what is left (Molchanov et al. 2017; Zhu and
Gupta 2017).

Step k of n closes parts until the budget has come k/n of its way from the whole model; then the model
trains, closed parts staying closed, on its share of recovery's epochs. A criterion of single parts thus
judges them in a model that has got used to what is gone. Survivors' values of criteria that tune them are
folded into the weights. Cost: n times the criterion's own, and `share` of recovery's epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qaprune.budget import LATENCY, SHARES, SPEEDUP, Budget
from qaprune.gate.registry import Criterion, GateTask, Scores

if TYPE_CHECKING:
    from torch import nn

    from qaprune.prune.costs import Costs
    from qaprune.prune.mask import Mask


class Gradual:
    """A criterion of single parts, asked several times. Settings: `gradual: {steps, share, distil}`."""

    needs_model = True
    per_budget = True
    whole_layers = False
    additive = False
    trains_weights = True

    def __init__(self, name: str, criterion: Criterion, settings: Mapping[str, Any]):
        self._name, self._criterion = name, criterion
        self._steps = settings["steps"]
        self.package = criterion.package
        self.scores_hidden = criterion.scores_hidden
        self.version = criterion.version

    def score(self, task: GateTask) -> Scores:
        """The last step's mask as scores. The task's model holds the trained weights afterwards."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        import numpy as np

        from qaprune.gate.learning import alive_parts, dead_last, learn_jointly
        from qaprune.gate.learnt import OpenGates
        from qaprune.prune.costs import as_shares
        from qaprune.prune.select import select

        training = task.training | {"epochs": task.training["epochs"] / self._steps}
        passes, tokens = 0.0, 0
        for step in range(1, self._steps + 1):
            asked = partway(task.asked, step / self._steps, task.costs)
            own = replace(task, asked=asked, budget=as_shares(asked, task.costs), training=None)
            found = dead_last(self._criterion.score(own), alive_parts(task))
            mask = select(found, 0, asked, task.shape, self._name, task.costs, task.round_to)
            fold(task.model.requires_grad_(True), mask)
            trained = learn_jointly(replace(task, training=training), OpenGates(task))
            passes, tokens = passes + found.passes + trained.passes, tokens + found.tokens + trained.tokens
            widths = " ".join(f"{heads}/{units}" for heads, units in zip(*mask.widths(), strict=True))
            task.log(f"step {step} of {self._steps}: heads/units by layer {widths}")
        binary = [(np.stack(layers) != 0).astype(np.float32)[None] for layers in (mask.heads, mask.ff)]
        return Scores(*binary, *binary, passes=passes, tokens=tokens, decided=True)


def partway(budget: Budget, share: float, costs: Costs) -> Budget:
    """The budget after `share` of the way from the whole model to it."""

    def kept(per_cent: float) -> float:
        return 100 - share * (100 - per_cent)

    if budget.kind == SHARES:
        return replace(budget, heads=kept(budget.heads), ff=kept(budget.ff))
    if budget.kind == SPEEDUP:
        return replace(budget, limit=100 / kept(100 / budget.limit))
    if budget.kind == LATENCY:
        return replace(budget, limit=costs.full - share * (costs.full - budget.limit))
    return replace(budget, limit=kept(budget.limit))


def fold(model: nn.Module, mask: Mask) -> None:
    """Multiply the weights behind heads and units by the mask's values, in place: a removed part adds
    nothing any more."""
    import torch

    from qaprune.models.encoder import encoder_layers, ff_output, head_output, model_shape

    repeat = model_shape(model).head_size
    with torch.no_grad():
        for layer, heads, ff in zip(encoder_layers(model), mask.heads, mask.ff, strict=True):
            for dense, values in ((head_output(layer), heads.repeat(repeat)), (ff_output(layer), ff)):
                dense.weight *= torch.from_numpy(values).to(dense.weight)
