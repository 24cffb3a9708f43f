"""Training weights and gates together, by the schedule of recovery and at its expense."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from qaprune.errors import InputError
from qaprune.gate.gates import Gates, gated
from qaprune.gate.magnitude import Magnitude
from qaprune.gate.registry import KINDS, GateTask, Scores
from qaprune.train.loop import make_optimizer, schedule, training_loss
from qaprune.train.losses import batch_logits


class JointGates(Protocol):
    """Gates that learn along. `parameters` get an Adam of their own at the criterion's `lr`.

    `before(gates, progress)` puts this step's values in place, `penalty(progress)` is added to the loss,
    `after()` follows each step of the optimizer. `progress` is the share of the tokens that was read.
    """

    parameters: list[torch.Tensor]

    def before(self, gates: Gates, progress: float) -> None: ...

    def penalty(self, progress: float) -> torch.Tensor | float: ...

    def after(self) -> None: ...

    def describe(self) -> str: ...

    def scores(self, windows: int, tokens: int) -> Scores: ...


def train_jointly(task: GateTask, joint: JointGates, name: str) -> Scores:
    """Train the task's model in place for `training.epochs` epochs of tokens; the scores at the end.

    A part whose weights add nothing stays closed throughout and comes out last: trained along, it would
    come back to life as a new part.

    Weights: AdamW with `training`'s settings, learning rate up over `warmup` and linearly down. The loss is
    that of recovery: distillation where `training` has a temperature, gold labels otherwise.
    """
    model, training = task.model, task.training
    weights = make_optimizer(model, training["lr"], training["weight_decay"], training.get("beta2", 0.999))
    own = torch.optim.Adam(joint.parameters, lr=task.settings["lr"])
    loss_of = training_loss(training)
    budget = training["epochs"] * task.epoch_tokens
    windows = tokens = reported = 0
    alive = _alive(task)
    model.train()
    with gated(model) as gates:
        for batch in task.batches(training["batch_tokens"], None, task.seed):
            progress = min(1.0, tokens / budget)
            # The schedule counts steps; a thousand of them are fine enough for a share of the tokens.
            factor = schedule(min(999, int(1000 * progress)), 1000, training["warmup"])
            for group in weights.param_groups:
                group["lr"] = training["lr"] * factor
            joint.before(gates, progress)
            for kind, part in alive.items():
                values = getattr(gates, kind)
                setattr(gates, kind, values * part if kind == "hidden" else _times(values, part))
            with task.autocast():
                logits = batch_logits(model, batch)
            loss = loss_of(logits, batch) + joint.penalty(progress)
            if not torch.isfinite(loss):
                raise InputError(f"{name}: loss is not a number after {tokens:,} tokens")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), training["clip"])
            for optimizer in (weights, own):
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            joint.after()
            windows += batch["input_ids"].shape[0]
            tokens += int(batch["attention_mask"].sum())
            if tokens >= budget:
                break
            if tokens >= (reported + 1) * budget / 5:
                reported += 1
                task.log(f"{name} {20 * reported} %: loss {loss.item():.3f}, {joint.describe()}")
    model.eval()
    scores = joint.scores(windows, tokens)
    ranked = {}
    for kind, part in alive.items():
        found = getattr(scores, kind)
        ranked[kind] = np.where(part.cpu().numpy() > 0, found, found.min() - 1)
    return replace(scores, **ranked)


def _times(values: list[torch.Tensor], layers: torch.Tensor) -> list[torch.Tensor]:
    return [value * layer for value, layer in zip(values, layers, strict=True)]


def _alive(task: GateTask) -> dict[str, torch.Tensor]:
    """By kind, 1 for each gate whose weights add anything, else 0; of the shapes of the gates."""
    weight = next(task.model.parameters())
    found = Magnitude().score(task)
    kinds = KINDS if task.hidden else KINDS[:2]
    return {kind: torch.from_numpy(getattr(found, kind)[0] > 0).to(weight) for kind in kinds}
