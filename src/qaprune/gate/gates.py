"""Gate variables on a live model: a multiplier on the output of a head, a unit or a hidden dimension.

A gate on a hidden dimension multiplies what every LayerNorm puts out there, and the statistics of
LayerNorms run over the open dimensions alone: a closed one is in no sum and read by no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from qaprune.models.encoder import encoder_layers, ff_output, head_output, hidden_norms, model_shape
from qaprune.prune.mask import Mask


class Gates:
    """The current gate values of a model. `heads[i]` and `ff[i]` are tensors of shape [gates] or, for
    gates of their own for each example, [batch, gates]; None leaves a sub-layer ungated. So it is with
    `hidden`, over the hidden width."""

    def __init__(self, layers: int):
        self.heads: list[torch.Tensor | None] = [None] * layers
        self.ff: list[torch.Tensor | None] = [None] * layers
        self.hidden: torch.Tensor | None = None

    def set(
        self, heads: Sequence[torch.Tensor], ff: Sequence[torch.Tensor], hidden: torch.Tensor | None = None
    ) -> None:
        """Put new values in place for the next forward pass."""
        self.heads, self.ff, self.hidden = list(heads), list(ff), hidden


def _hook(gates: Gates, kind: str, layer: int, repeat: int):
    def multiply(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor] | None:
        values = getattr(gates, kind)[layer]
        if values is None or values.shape[-1] == 0:
            return None
        columns = values.repeat_interleave(repeat, dim=-1)
        if columns.dim() == 2:  # one row an example: the same at each of its positions
            columns = columns[:, None, :]
        return (inputs[0] * columns.to(inputs[0].dtype),)

    return multiply


def _norm_hook(gates: Gates):
    def multiply(norm: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor):
        values = gates.hidden
        if values is None:
            return None
        if values.dim() == 2:
            values = values[:, None, :]
        opened = values != 0
        if not bool(opened.all()):
            output = _open_norm(norm, inputs[0], opened)
        return output * values.to(output.dtype)

    return multiply


def _open_norm(norm: nn.Module, hidden: torch.Tensor, opened: torch.Tensor) -> torch.Tensor:
    """LayerNorm with statistics over the open dimensions. Closed ones are computed too, by the same
    statistics: what a gate would let through is what its gradient hangs on."""
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    opened = opened.to(hidden.dtype)
    count = opened.sum(-1, keepdim=True)
    centred = hidden - (hidden * opened).sum(-1, keepdim=True) / count
    variance = (centred.square() * opened).sum(-1, keepdim=True) / count
    return centred * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias


@contextmanager
def gated(model: nn.Module) -> Iterator[Gates]:
    """Install gates on a model; gone, with no trace, when the block ends."""
    shape = model_shape(model)
    gates = Gates(shape.layers)
    handles = []
    for i, layer in enumerate(encoder_layers(model)):
        handles.append(
            head_output(layer).register_forward_pre_hook(_hook(gates, "heads", i, shape.head_size))
        )
        handles.append(ff_output(layer).register_forward_pre_hook(_hook(gates, "ff", i, 1)))
    handles += [norm.register_forward_hook(_norm_hook(gates)) for norm in hidden_norms(model)]
    try:
        yield gates
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def masked(model: nn.Module, mask: Mask) -> Iterator[nn.Module]:
    """The model as a mask makes it compute, at full size."""
    with gated(model) as gates:
        weight = next(model.parameters())
        gates.set(
            [torch.from_numpy(layer).to(weight) for layer in mask.heads],
            [torch.from_numpy(layer).to(weight) for layer in mask.ff],
            None if mask.hidden is None else torch.from_numpy(mask.hidden).to(weight),
        )
        yield model
