"""Optimizers, the learning rate's way up and down, and their state as plain tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


def schedule(step: int, total: int, warmup: float) -> float:
    """Learning-rate factor: linear up over the first `warmup` share of the steps, linear down to zero."""
    rise = max(1, round(warmup * total))
    return min((step + 1) / rise, (total - step) / max(1, total - rise + 1), 1.0)


def make_optimizer(
    model: nn.Module, lr: float, weight_decay: float, beta2: float = 0.999
) -> torch.optim.Optimizer:
    """AdamW; biases and LayerNorms are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, float(beta2)), fused=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Moments and step counts, named by parameter number. Learning rates follow from the step."""
    return {
        f"{number}.{name}": value
        for number, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, bit for bit."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
