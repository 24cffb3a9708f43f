"""Losses over start and end positions. Padding never takes part: its logits are masked out."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def model_inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What of a labelled batch the model is called with."""
    return {name: batch[name] for name in INPUTS if name in batch}


def span_logits(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Start and end logits [2, batch, length] in float32, padding at minus infinity."""
    output = model(**model_inputs(batch))
    return mask_padding(torch.stack([output.start_logits, output.end_logits]), batch)


def mask_padding(logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits [2, batch, length] in float32, padding at minus infinity."""
    return logits.float().masked_fill(batch["attention_mask"] == 0, float("-inf"))


def gold_loss(logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of start and end against the gold positions (Devlin et al. 2019)."""
    gold = torch.stack([batch["start_position"], batch["end_position"]])
    return functional.cross_entropy(logits.flatten(0, 1), gold.flatten())


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(teacher || student) at temperature T, mean over start and end (Hinton et al. 2015).

    Both [2, batch, length], padding at minus infinity.
    """
    log_student = functional.log_softmax(logits / temperature, -1)
    log_teacher = functional.log_softmax(teacher / temperature, -1)
    # Where the teacher has no mass (padding) the term is 0 x (inf - inf): take it as 0.
    terms = log_teacher.exp() * (log_teacher - log_student).nan_to_num(0.0, 0.0, 0.0)
    return temperature**2 * terms.sum(-1).mean()


def span_loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The gold loss of one batch."""
    return gold_loss(span_logits(model, batch), batch)
