"""What is trained and towards what. The loop in `loop.py` knows nothing else of the kinds of training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import nn

from qaprune.train.losses import Logits, batch_logits, distillation_loss, gold_loss
from qaprune.train.optimizers import make_optimizer, optimizer_tensors, restore_optimizer

Batch = dict[str, torch.Tensor]


class Objective(ABC):
    """One kind of training. In a step the loop calls, in this order: `begin` once, `loss` for each
    micro-batch (and its backward pass), `collect` once; it sums gradients over processes; then `penalise`,
    the optimizers, and `end`, once each. `progress` is the share of the steps done when this one is.

    `scheduled` optimizers follow the learning rate's way up and down, `steady` ones keep theirs.
    """

    def __init__(
        self,
        model: nn.Module,
        scheduled: list[torch.optim.Optimizer],
        steady: list[torch.optim.Optimizer] | None = None,
    ):
        self.model = model
        self.scheduled: list[torch.optim.Optimizer] = []
        self.steady = steady or []
        self._rates: list[list[float]] = []
        for optimizer in scheduled:
            self._add_scheduled(optimizer)

    def _add_scheduled(self, optimizer: torch.optim.Optimizer) -> None:
        self.scheduled.append(optimizer)
        self._rates.append([group["lr"] for group in optimizer.param_groups])

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        return self.scheduled + self.steady

    @cached_property
    def parameters(self) -> list[torch.Tensor]:
        """All that is trained."""
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        return [parameter for group in groups for parameter in group["params"]]

    @cached_property
    def weights(self) -> list[torch.Tensor]:
        """Those of the model's that are trained; the common norm of their gradients is clipped."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def set_rate(self, factor: float) -> None:
        """Scale the scheduled learning rates."""
        for optimizer, rates in zip(self.scheduled, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def begin(self, progress: float, seed: int) -> None:
        """Before the step's first pass, again where memory ran out in one. `seed` is the step's own, the
        same in all processes."""

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean loss of a (micro-)batch's windows."""

    def collect(self) -> None:
        """After the last backward pass: gradients that went elsewhere are brought to the parameters."""

    def penalise(self, progress: float) -> None:
        """Add gradients of terms that hang on no batch."""

    def end(self) -> None:
        """After the optimizers' step."""

    def describe(self) -> str:
        """A few words beside the loss, where there is more to say."""
        return ""

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that a checkpoint needs, by name."""
        found = dict(self.model.state_dict(prefix="model.")) if self.weights else {}
        for number, optimizer in enumerate(self.optimizers):
            entries = optimizer_tensors(optimizer).items()
            found |= {f"optimizer.{number}.{name}": tensor for name, tensor in entries}
        return found

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave."""
        if self.weights:
            self.model.load_state_dict(_under("model.", tensors))
        for number, optimizer in enumerate(self.optimizers):
            restore_optimizer(optimizer, _under(f"optimizer.{number}.", tensors))


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Finetune(Objective):
    """All weights of a model, towards gold answers; with a temperature in the settings also towards the
    teacher's logits that come with the batches."""

    def __init__(
        self,
        model: nn.Module,
        settings: Mapping[str, Any],
        autocast: Callable[[], AbstractContextManager] = nullcontext,
        compile_mode: str = "off",
    ):
        optimizer = make_optimizer(
            model, settings["lr"], settings["weight_decay"], settings.get("beta2", 0.999)
        )
        super().__init__(model, [optimizer])
        self._loss_of, self._autocast = training_loss(settings), autocast
        # One graph for all shapes: made for shapes as they come, a training that goes on from a checkpoint
        # would meet them in another order and have other graphs, whose last bits differ.
        compiled = compile_mode != "off"
        self._call = torch.compile(model, mode=compile_mode, dynamic=True) if compiled else model

    def loss(self, batch: Batch) -> torch.Tensor:
        with self._autocast():
            logits = batch_logits(self._call, batch)
        return self._loss_of(logits, batch)


def training_loss(settings: Mapping[str, Any]) -> Callable[[Logits, Batch], torch.Tensor]:
    """The gold loss, or a mix of it with distillation where the settings have a temperature.

    `weight` is the share of the distillation term.
    """
    if "temperature" not in settings:
        return gold_loss
    temperature, weight = settings["temperature"], settings["weight"]

    def mixed(logits: Logits, batch: Batch) -> torch.Tensor:
        teacher = Logits(batch["teacher_spans"], batch.get("teacher_types"))
        loss = weight * distillation_loss(logits, teacher, temperature)
        return loss + (1 - weight) * gold_loss(logits, batch) if weight < 1 else loss

    return mixed
