"""Gradients of the loss with respect to every gate, for each example: what gain and Fisher are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from qaprune.gate.gates import gated
from qaprune.gate.registry import GateTask
from qaprune.train.losses import task_loss


@dataclass(frozen=True)
class GateGradients:
    """dL/dg at g = 1 of one batch, and the `tokens` that the pass read.

    `by_kind`: `heads` [examples, layers, heads], `ff` [examples, layers, units] and, where the task asks
    for it, `hidden` [examples, hidden width].
    """

    by_kind: dict[str, torch.Tensor]
    tokens: int


def gate_gradients(task: GateTask) -> Iterator[GateGradients]:
    """One pass over `windows` training windows in batches of `batch_tokens`, in float32.

    The model's weights are frozen meanwhile and get no gradients.
    """
    model, shape, settings = task.model, task.shape, task.settings
    device = next(model.parameters()).device
    model.eval().requires_grad_(False)
    with gated(model) as gates:
        for batch in task.batches(settings["batch_tokens"], settings["windows"], task.seed):
            size = batch["input_ids"].shape[0]
            heads, ff = (
                [torch.ones(size, width, device=device, requires_grad=True) for width in widths]
                for widths in (shape.heads, shape.ff)
            )
            hidden = torch.ones(size, shape.hidden, device=device, requires_grad=task.hidden)
            gates.set(heads, ff, hidden if task.hidden else None)
            # Summed over the batch, so that the gradient of an example's own gates is that example's.
            loss = task_loss(model, batch) * size
            found = torch.autograd.grad(loss, heads + ff + [hidden] * task.hidden)
            by_kind = {
                "heads": torch.stack(found[: shape.layers], 1),
                "ff": torch.stack(found[shape.layers : 2 * shape.layers], 1),
            }
            if task.hidden:
                by_kind["hidden"] = found[-1]
            yield GateGradients(by_kind, int(batch["attention_mask"].sum()))
