"""Criteria: what scores the gates. Built in ones live beside this file, others come by entry point.

A criterion from outside the package is a class with the attributes of `Criterion`, named in the entry
point group `qaprune.criteria` of its own package; its settings stand under `settings:` in the config.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qaprune.budget import Budget
from qaprune.errors import InputError
from qaprune.models.encoder import EncoderShape

if TYPE_CHECKING:
    from torch import nn

    from qaprune.prune.costs import Costs
    from qaprune.train.loop import FitResult
    from qaprune.train.objectives import Objective

GROUP = "qaprune.criteria"
BUILT_IN = {
    "random": "qaprune.gate.random:Random",
    "magnitude": "qaprune.gate.magnitude:Magnitude",
    "gain": "qaprune.gate.gain:Gain",
    "leave_one_out": "qaprune.gate.leave_one_out:LeaveOneOut",
    "fisher": "qaprune.gate.fisher:Fisher",
    "movement": "qaprune.gate.movement:Movement",
    "l0": "qaprune.gate.l0:L0",
    "l0_joint": "qaprune.gate.l0_joint:L0Joint",
    "torch_pruning_global": "qaprune.gate.torch_pruning_taylor:TorchPruningGlobal",
    "torch_pruning_layer": "qaprune.gate.torch_pruning_taylor:TorchPruningLayer",
    "uniform": "qaprune.gate.uniform:Uniform",
    "first_layers": "qaprune.gate.layers:FirstLayers",
    "alternate_layers": "qaprune.gate.layers:AlternateLayers",
}


OPTIONAL = {"additive": False, "trains_weights": False, "package": None, "scores_hidden": True}
"""Facts that a criterion need not say, and what is taken then."""
KINDS = ("heads", "ff", "hidden")
"""What gates stand on; the third only where a task asks for it."""
VALUES = ("head_values", "ff_values", "hidden_values")


@dataclass(frozen=True)
class Scores:
    """What a criterion returns. Higher scores stay.

    `heads` [draws, layers, heads] and `ff` [draws, layers, units]: one draw unless the criterion is
    random. `hidden` [draws, hidden width] where the task asks for it. `head_values`, `ff_values`,
    `hidden_values`: what survivors are multiplied by, of the same shapes, where the criterion says.
    `decided`: the values are the mask itself, 0 where removed.

    `passes` counts forward-plus-backward passes over a window (a forward pass alone is a third of one, a
    part of a pass that part), `tokens` the tokens of those passes, counted alike.
    """

    heads: np.ndarray
    ff: np.ndarray
    head_values: np.ndarray | None = None
    ff_values: np.ndarray | None = None
    passes: float = 0
    tokens: int = 0
    decided: bool = False
    hidden: np.ndarray | None = None
    hidden_values: np.ndarray | None = None


@dataclass(frozen=True)
class GateTask:
    """What a criterion may read. `model` and `batches` are None for one that needs no model.

    `batches(tokens, windows, seed)` yields padded training batches (dicts of tensors with labels) of at
    most `tokens` tokens, shuffled by seed, endlessly where `windows` is None. `autocast()` is the context
    of mixed-precision passes on this device. `log(line)` reports.

    `hidden`: whether the hidden width is scored too. `budget` is in shares, whatever unit was `asked` for
    in; `costs` and `round_to` are what a mask within the budget is chosen by (`prune.select`).

    For a criterion that trains, `fit(objective, settings)` runs the training loop (`train.loop.train`).
    Where it trains weights, `training` is recovery's schedule over the share of its epochs that the
    criterion may spend; with a temperature in it the batches carry the teacher's logits.
    """

    shape: EncoderShape
    settings: Mapping[str, Any]
    seed: int
    budget: Budget | None = None
    model: nn.Module | None = None
    batches: Callable[[int, int | None, int], Iterator[dict[str, Any]]] | None = None
    autocast: Callable[[], AbstractContextManager] = nullcontext
    log: Callable[[str], None] = field(default=lambda _line: None)
    fit: Callable[[Objective, Mapping[str, Any]], FitResult] | None = None
    training: Mapping[str, Any] | None = None
    asked: Budget | None = None
    costs: Costs | None = None
    round_to: tuple[int, ...] = (1, 1, 1)
    hidden: bool = False


def gate_shapes(task: GateTask) -> list[tuple[int, ...]]:
    """Shapes of the gates of each of the task's kinds: one row a layer, hidden dimensions in one."""
    shape = task.shape
    shapes = [(shape.layers, shape.heads[0]), (shape.layers, shape.ff[0]), (shape.hidden,)]
    return shapes if task.hidden else shapes[:2]


def shares_of(task: GateTask) -> list[float]:
    """Per cent to keep of each of the task's kinds."""
    shares = [task.budget.heads, task.budget.ff, task.budget.hidden]
    return shares if task.hidden else shares[:2]


class Criterion(Protocol):
    """The contract of a criterion.

    `needs_model`: whether it reads the teacher and training batches. `per_budget`: whether it must run
    once for each budget. `whole_layers`: whether its scores rank layers rather than single gates.
    `version`: raised whenever its numbers change, so that results are computed again.

    More may be set. `additive = True`: scores of heads and units may be added up, as estimates of a
    loss may. `trains_weights = True`: trained weights are left in the task's model, at the expense of
    `share` of recovery's epochs. `package`: the module of another package that it needs.
    `scores_hidden = False`: it has no scores of hidden dimensions.
    """

    needs_model: bool
    per_budget: bool
    whole_layers: bool
    additive: bool
    trains_weights: bool
    package: str | None
    scores_hidden: bool
    version: int

    def score(self, task: GateTask) -> Scores: ...


def criterion_names() -> list[str]:
    """Names of all criteria that are installed."""
    return sorted(BUILT_IN | {point.name: "" for point in entry_points(group=GROUP)})


def _complete(criterion: Any) -> Criterion:
    for name, default in OPTIONAL.items():
        if not hasattr(criterion, name):
            setattr(criterion, name, default)
    return criterion


def base_name(name: str) -> str:
    """The criterion that a config's name means: `l0@slow` is `l0` with settings of its own."""
    return name.partition("@")[0]


def load_criterion(name: str, settings: Mapping[str, Any] | None = None) -> Criterion:
    """The criterion of that name; an unknown one is answered with what was probably meant.

    With settings that ask for `gradual` pruning it is the criterion asked in steps.
    """
    name = base_name(name)
    if settings and settings.get("gradual"):
        from qaprune.gate.gradual import Gradual

        return Gradual(name, load_criterion(name), settings["gradual"])
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return _complete(getattr(import_module(module), attribute)())
    for point in entry_points(group=GROUP):
        if point.name == name:
            return _complete(point.load()())
    close = difflib.get_close_matches(name, criterion_names(), 1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(criterion_names())}"
    raise InputError(f"criteria: {name!r} is no known criterion{hint}")
