"""Distillation from the teacher's hidden states beside its logits (Jiao et al. 2020; Xia et al. 2022).

For layers l of student and teacher at the same depth (pruning keeps the depth: a closed sub-layer passes
its input on), the mean over dimensions, a window's real tokens, windows and layers of (W h_l - t_l)^2, h
and t behind the layer's last LayerNorm. W is one linear map for all layers, trained along and thrown away:
it lets a student of a smaller hidden width follow. Own choice: W starts as the least-squares map between
the word embeddings of both, which for a student cut from this teacher is the exact way back into the
teacher's dimensions (the identity at full width).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from qaprune.errors import InputError
from qaprune.models.encoder import encoder_layers
from qaprune.train.losses import batch_logits, model_inputs
from qaprune.train.objectives import Batch, Finetune


class HiddenMatch(Finetune):
    """`Finetune`, plus `hidden_weight` times the distance of hidden states. `hidden_layers` (numbers from
    1) picks layers, all without it."""

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module,
        settings: Mapping[str, Any],
        autocast: Callable[[], AbstractContextManager] = nullcontext,
    ):
        super().__init__(model, settings, autocast)
        self._teacher = teacher.eval().requires_grad_(False)
        self._weight = settings["hidden_weight"]
        count = len(encoder_layers(model))
        chosen = settings.get("hidden_layers") or range(1, count + 1)
        for number in chosen:
            if not 1 <= number <= count:
                raise InputError(f"recovery.hidden_layers: {number}: expected layers from 1 to {count}")
        self._layers = [number - 1 for number in chosen]
        self.map = nn.Parameter(initial_map(model, teacher))
        self._add_scheduled(torch.optim.AdamW([self.map], lr=settings["lr"], weight_decay=0.0))

    def loss(self, batch: Batch) -> torch.Tensor:
        with self._autocast():
            with states(self._teacher) as wanted, torch.no_grad():
                self._teacher(**model_inputs(batch))
            with states(self.model) as found:
                logits = batch_logits(self.model, batch)
        distances = [self._distance(found[n], wanted[n], batch["attention_mask"]) for n in self._layers]
        return self._loss_of(logits, batch) + self._weight * torch.stack(distances).mean()

    def _distance(self, found: torch.Tensor, wanted: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Window by window, so that micro-batches add up to their batch."""
        tokens = (found.float() @ self.map - wanted.float()).square().mean(-1)
        return ((tokens * mask).sum(-1) / mask.sum(-1)).mean()

    def tensors(self) -> dict[str, torch.Tensor]:
        return super().tensors() | {"map": self.map}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        super().restore(tensors)
        with torch.no_grad():
            self.map.copy_(tensors["map"])


@contextmanager
def states(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """What the layers put out while the block runs, [batch, length, hidden width] each."""
    found: list[torch.Tensor] = []

    def keep(_layer: nn.Module, _inputs: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(keep) for layer in encoder_layers(model)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def initial_map(student: nn.Module, teacher: nn.Module) -> torch.Tensor:
    """W [student width, teacher width], float32, from the word embeddings that both have."""
    small, large = (model.get_input_embeddings().weight.detach().float() for model in (student, teacher))
    if small.shape[1] == large.shape[1]:
        return torch.eye(small.shape[1], device=small.device)
    rows = min(len(small), len(large))
    # On the CPU in float64: least squares of a GPU differ from run to run.
    solved = torch.linalg.lstsq(small[:rows].double().cpu(), large[:rows].double().cpu()).solution
    return solved.float().to(small.device)
