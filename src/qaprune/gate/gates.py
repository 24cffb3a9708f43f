"""Gate variables on a live model: a multiplier on each head's and each feed-forward unit's output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from qaprune.models.encoder import encoder_layers, ff_output, head_output, model_shape
from qaprune.prune.mask import Mask


class Gates:
    """The current gate values of a model. `heads[i]` and `ff[i]` are tensors of shape [gates] or, for
    gates of their own for each example, [batch, gates]; None leaves a sub-layer ungated."""

    def __init__(self, layers: int):
        self.heads: list[torch.Tensor | None] = [None] * layers
        self.ff: list[torch.Tensor | None] = [None] * layers

    def set(self, heads: Sequence[torch.Tensor], ff: Sequence[torch.Tensor]) -> None:
        """Put new values in place for the next forward pass."""
        self.heads, self.ff = list(heads), list(ff)


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
        )
        yield model
