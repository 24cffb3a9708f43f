"""From a mask to a smaller dense model that computes the same function."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from qaprune.models.encoder import encoder_layers, ff_output, head_output, hidden_axis, model_shape
from qaprune.models.rebuild import empty_like, put_in_place
from qaprune.prune.mask import Mask


def slice_model(model: nn.Module, mask: Mask) -> nn.Module:
    """Return a new model without what `mask` closes; `model` is left as it is.

    Survivors' fractional values are folded into their output weights, so the sliced model's logits equal
    the masked model's. Works on stock and on already pruned models, in the model's own dtype.
    """
    shape = model_shape(model)
    mask.check(shape)
    heads, ff = mask.widths()
    hidden = shape.hidden if mask.hidden is None else int(np.count_nonzero(mask.hidden))
    widths = {"heads_per_layer": list(heads), "ff_per_layer": list(ff), "hidden_width": hidden}
    smaller = empty_like(model, **widths)
    state = {name: weight.detach() for name, weight in model.state_dict().items()}
    layers = encoder_layers(model)
    prefix = next(name for name, module in model.named_modules() if module is layers)
    for i, layer in enumerate(layers):
        state.update(_sliced_layer(layer, f"{prefix}.{i}.", mask.heads[i], mask.ff[i], shape.head_size))
    weights = {}
    for name in smaller.state_dict():
        weight = state.pop(name)  # what was cut is freed as soon as it is copied
        if mask.hidden is not None:
            weight = _narrowed(name, weight, mask.hidden)
        # Row-major: a view keeps its strides, and a reloaded checkpoint would compute other last bits.
        weights[name] = weight.clone(memory_format=torch.contiguous_format)
    return put_in_place(smaller, weights, model)


def _sliced_layer(
    layer: nn.Module, prefix: str, heads: np.ndarray, ff: np.ndarray, head_size: int
) -> dict[str, torch.Tensor]:
    """The sliced weights of one layer, by their full names."""
    state = {}
    kept = np.flatnonzero(heads)
    if kept.size:
        columns = torch.from_numpy((kept[:, None] * head_size + np.arange(head_size)).ravel())
        for name in ("query", "key", "value"):
            linear = getattr(layer.attention.self, name)
            state[f"{prefix}attention.self.{name}.weight"] = linear.weight.detach()[columns]
            state[f"{prefix}attention.self.{name}.bias"] = linear.bias.detach()[columns]
        scale = torch.from_numpy(heads[kept].repeat(head_size))
        state[f"{prefix}attention.output.dense.weight"] = _folded(head_output(layer), columns, scale)
    kept = np.flatnonzero(ff)
    if kept.size:
        units = torch.from_numpy(kept)
        dense = layer.intermediate.dense
        state[f"{prefix}intermediate.dense.weight"] = dense.weight.detach()[units]
        state[f"{prefix}intermediate.dense.bias"] = dense.bias.detach()[units]
        state[f"{prefix}output.dense.weight"] = _folded(ff_output(layer), units, torch.from_numpy(ff[kept]))
    return state


def _narrowed(name: str, weight: torch.Tensor, hidden: np.ndarray) -> torch.Tensor:
    """One tensor over the open hidden dimensions. Their values go into the LayerNorms, whose outputs are
    all that is read of the residual stream."""
    axis = hidden_axis(name)
    if axis is None:
        return weight
    open_ = np.flatnonzero(hidden)
    weight = weight.index_select(axis, torch.from_numpy(open_).to(weight.device))
    return weight * torch.from_numpy(hidden[open_]).to(weight) if "LayerNorm" in name else weight


def _folded(dense: nn.Module, columns: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    weight = dense.weight.detach()[:, columns]
    return weight * scale.to(weight)
