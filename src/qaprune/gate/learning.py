"""Gates that learn, alone or with the weights: an objective of the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from qaprune.gate.gates import Gates, gated
from qaprune.gate.learnt import LearntGates
from qaprune.gate.magnitude import Magnitude
from qaprune.gate.registry import KINDS, GateTask, Scores
from qaprune.train.losses import batch_logits
from qaprune.train.objectives import Batch, Objective, training_loss
from qaprune.train.optimizers import make_optimizer


class GateObjective(Objective):
    """The task's loss over gates and, where `alive` is given, over the weights by the task's `training`;
    `alive` (`alive_parts`) then says which gates may open.

    The model runs with copies of the gates' values; what the copies gathered is passed on to the gates'
    parameters once a step, so that one sample serves all micro-batches of a batch.
    """

    def __init__(
        self,
        task: GateTask,
        gates: Gates,
        learnt: LearntGates,
        alive: Mapping[str, torch.Tensor] | None = None,
    ):
        training, weights = task.training if alive else {}, []
        if alive:
            rates = (training["lr"], training["weight_decay"], training.get("beta2", 0.999))
            weights = [make_optimizer(task.model, *rates)]
        rate = task.settings.get("lr")
        own = [torch.optim.Adam(learnt.parameters, lr=rate)] if learnt.parameters else []
        super().__init__(task.model, weights, own)
        self._gates, self._learnt, self._autocast = gates, learnt, task.autocast
        self._loss_of = training_loss(training)
        self._alive = alive or {}
        self._values: list[torch.Tensor] = []
        self._copies: list[torch.Tensor] = []

    def begin(self, progress: float, seed: int) -> None:
        gates = self._gates
        self._learnt.before(gates, progress, seed)
        for kind, part in self._alive.items():
            values = getattr(gates, kind)
            closed = values * part if kind == "hidden" else _times(values, part)
            setattr(gates, kind, closed)
        hidden = [] if gates.hidden is None else [gates.hidden]
        self._values = [*gates.heads, *gates.ff, *hidden]
        self._copies = [value.detach().requires_grad_() for value in self._values]
        layers = len(gates.heads)
        gates.set(self._copies[:layers], self._copies[layers : 2 * layers], *self._copies[2 * layers :])

    def loss(self, batch: Batch) -> torch.Tensor:
        with self._autocast():
            logits = batch_logits(self.model, batch)
        return self._loss_of(logits, batch)

    def collect(self) -> None:
        found = [
            (value, copy.grad)
            for value, copy in zip(self._values, self._copies, strict=True)
            if value.requires_grad and copy.grad is not None
        ]
        if found:  # a process whose part of the batch is empty has none
            torch.autograd.backward(*map(list, zip(*found, strict=True)))

    def penalise(self, progress: float) -> None:
        penalty = self._learnt.penalty(progress)
        if penalty is not None:
            penalty.backward()

    def end(self) -> None:
        self._learnt.after()

    def describe(self) -> str:
        return self._learnt.describe()

    def tensors(self) -> dict[str, torch.Tensor]:
        gates = {f"gates.{number}": part for number, part in enumerate(self._learnt.parameters)}
        return super().tensors() | gates | self._learnt.extra()

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        super().restore(tensors)
        with torch.no_grad():
            for number, part in enumerate(self._learnt.parameters):
                part.copy_(tensors[f"gates.{number}"])
        self._learnt.restore_extra(tensors)


def learn_gates(task: GateTask, learnt: LearntGates, settings: Mapping[str, object]) -> Scores:
    """Train gates alone, the weights frozen; `settings` are those of the loop. The scores at the end."""
    task.model.eval().requires_grad_(False)
    with gated(task.model) as gates:
        result = task.fit(GateObjective(task, gates, learnt), settings)
    return learnt.scores(result.windows, result.tokens)


def learn_jointly(task: GateTask, learnt: LearntGates) -> Scores:
    """Train the task's model in place and gates with it, by the task's `training`; the scores at the end.

    A part whose weights add nothing stays closed throughout and comes out last: trained along, it would
    come back to life as a new part.

    Weights: AdamW with `training`'s settings, learning rate up over `warmup` and linearly down. The loss is
    that of recovery: distillation where `training` has a temperature, gold labels otherwise.
    """
    alive = alive_parts(task)
    task.model.train()
    with gated(task.model) as gates:
        result = task.fit(GateObjective(task, gates, learnt, alive), task.training)
    task.model.eval()
    return dead_last(learnt.scores(result.windows, result.tokens), alive)


def dead_last(scores: Scores, alive: Mapping[str, torch.Tensor]) -> Scores:
    """The scores with parts that add nothing behind all others."""
    ranked = {}
    for kind, part in alive.items():
        found = getattr(scores, kind)
        ranked[kind] = np.where(part.cpu().numpy() > 0, found, found.min() - 1)
    return replace(scores, **ranked)


def _times(values: list[torch.Tensor], layers: torch.Tensor) -> list[torch.Tensor]:
    return [value * layer for value, layer in zip(values, layers, strict=True)]


def alive_parts(task: GateTask) -> dict[str, torch.Tensor]:
    """By kind, 1 for each gate whose weights add anything, else 0; of the shapes of the gates."""
    weight = next(task.model.parameters())
    found = Magnitude().score(task)
    kinds = KINDS if task.hidden else KINDS[:2]
    return {kind: torch.from_numpy(getattr(found, kind)[0] > 0).to(weight) for kind in kinds}
