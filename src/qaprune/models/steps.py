"""An encoder one sub-layer at a time, for criteria that start again from the middle.

The steps are the model's own modules in the model's own order: put together they give its logits bit for
bit (a contract test). Unpruned BERT and RoBERTa only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from qaprune.models.encoder import encoder_layers


@dataclass(frozen=True)
class EncoderInput:
    """What enters the first layer: `hidden` [batch, length, width], and what every attention is called
    with besides."""

    hidden: torch.Tensor
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class _Reached(Exception):
    """The first attention was called: nothing behind it has to run."""


def encoder_input(model: nn.Module, inputs: dict[str, torch.Tensor]) -> EncoderInput:
    """Run the model up to its first layer."""
    caught: list[EncoderInput] = []

    def catch(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        caught.append(EncoderInput(arguments[0], arguments[1:], keywords))
        raise _Reached

    handle = encoder_layers(model)[0].attention.self.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        model(**inputs)
    except _Reached:
        pass
    finally:
        handle.remove()
    return caught[0]


def head_outputs(layer: nn.Module, hidden: torch.Tensor, start: EncoderInput) -> torch.Tensor:
    """What the heads put out side by side [batch, length, heads x head size], before their projection."""
    return layer.attention.self(hidden, *start.arguments, **start.keywords)[0]


def after_heads(layer: nn.Module, outputs: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Projection, residual and LayerNorm behind the heads."""
    return layer.attention.output(outputs, hidden)


def unit_outputs(layer: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """What the feed-forward units put out [batch, length, units]; `hidden` comes from `after_heads`."""
    return layer.intermediate(hidden)


def after_units(layer: nn.Module, outputs: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Projection, residual and LayerNorm behind the units: the layer's output."""
    return layer.output(outputs, hidden)


def run_layers(model: nn.Module, first: int, hidden: torch.Tensor, start: EncoderInput) -> torch.Tensor:
    """The encoder's output from the input of layer `first` on."""
    for layer in encoder_layers(model)[first:]:
        middle = after_heads(layer, head_outputs(layer, hidden, start), hidden)
        hidden = after_units(layer, unit_outputs(layer, middle), middle)
    return hidden
