"""Losses over start and end positions and, where a model has them, answer types.

Padding never takes part: its logits are masked out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Logits(NamedTuple):
    """Of one batch, in float32: `spans` [2, batch, length], start and end, padding at minus infinity;
    `types` [batch, answer types], None for a model that has none."""

    spans: torch.Tensor
    types: torch.Tensor | None = None


def model_inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What of a labelled batch the model is called with."""
    return {name: batch[name] for name in INPUTS if name in batch}


def batch_logits(model: nn.Module, batch: dict[str, torch.Tensor]) -> Logits:
    """The logits of one batch."""
    output = model(**model_inputs(batch))
    types = getattr(output, "answer_type_logits", None)
    return masked_logits(torch.stack([output.start_logits, output.end_logits]), types, batch)


def masked_logits(
    spans: torch.Tensor, types: torch.Tensor | None, batch: dict[str, torch.Tensor]
) -> Logits:
    """From a model's raw logits, `spans` [2, batch, length]."""
    spans = spans.float().masked_fill(batch["attention_mask"] == 0, float("-inf"))
    return Logits(spans, None if types is None else types.float())


def gold_loss(logits: Logits, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of start and end against the gold positions (Devlin et al. 2019), and of the
    answer type where there is one (Alberti, Lee and Collins 2019)."""
    gold = torch.stack([batch["start_position"], batch["end_position"]])
    spans = functional.cross_entropy(logits.spans.flatten(0, 1), gold.flatten())
    if logits.types is None:
        return spans
    return _mean(spans, functional.cross_entropy(logits.types, batch["answer_type"]))


def distillation_loss(logits: Logits, teacher: Logits, temperature: float) -> torch.Tensor:
    """T^2 KL(teacher || student) at temperature T, mean over start, end and, where there are any, answer
    types (Hinton et al. 2015)."""
    spans = _divergence(logits.spans, teacher.spans, temperature)
    if logits.types is None:
        return spans
    return _mean(spans, _divergence(logits.types, teacher.types, temperature))


def _divergence(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    log_student = functional.log_softmax(logits / temperature, -1)
    log_teacher = functional.log_softmax(teacher / temperature, -1)
    # Where the teacher has no mass (padding) the term is 0 x (inf - inf): take it as 0. Only there: a
    # student whose logits are no numbers must not pass for one that is right.
    terms = log_teacher.exp() * (log_teacher - log_student).masked_fill(log_teacher.isneginf(), 0.0)
    return temperature**2 * terms.sum(-1).mean()


def _mean(spans: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
    """Of three terms, two of which are in `spans` already."""
    return (2 * spans + types) / 3


def task_loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The gold loss of one batch."""
    return gold_loss(batch_logits(model, batch), batch)
