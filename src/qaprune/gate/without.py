"""The loss of one batch without some gates of one layer, from the kept prefix below it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from qaprune.gate.gates import gated
from qaprune.models import steps
from qaprune.models.cost import head_flops, unit_flops
from qaprune.models.encoder import encoder_layers, heads_of, model_shape
from qaprune.train.losses import gold_loss, masked_logits, model_inputs


class Without:
    """Stands at one layer, the lowest at first, with everything below it and inside it computed once."""

    def __init__(self, model: nn.Module, batch: dict[str, torch.Tensor]):
        self.model, self.batch = model, batch
        self.layers = encoder_layers(model)
        shape = model_shape(model)
        self.head_size = shape.head_size
        length = batch["input_ids"].shape[1]
        heads, ff = (shape.heads[0] * head_flops(shape, length), shape.ff[0] * unit_flops(shape, length))
        projection = 2 * length * shape.hidden * shape.heads[0] * shape.head_size
        self.after_heads, self.after_units = (projection + ff) / (heads + ff), ff / 2 / (heads + ff)
        """What is left of a layer's FLOPs behind the heads, and behind the units."""
        self.start = steps.encoder_input(model, model_inputs(batch))
        self.layers_run = 0.0
        """Layers computed so far, each a share of a forward pass, by FLOPs."""
        self._enter(0, self.start.hidden)

    def _enter(self, layer: int, hidden: torch.Tensor) -> None:
        self.at, self.hidden = layer, hidden
        if layer < len(self.layers):
            here = self.layers[layer]
            self.heads = steps.head_outputs(here, hidden, self.start)
            self.middle = steps.after_heads(here, self.heads, hidden)
            self.units = steps.unit_outputs(here, self.middle)
            self.layers_run += 1

    def climb(self) -> None:
        """Go on to the next layer."""
        self._enter(self.at + 1, steps.after_units(self.layers[self.at], self.units, self.middle))

    def loss(self) -> float:
        """With all gates open."""
        return self._finish(steps.after_units(self.layers[self.at], self.units, self.middle))

    def without_heads(self, heads: Sequence[int]) -> float:
        """With these heads of the layer closed."""
        here = self.layers[self.at]
        outputs = self.heads.clone()
        for head in heads:
            outputs[..., head * self.head_size : (head + 1) * self.head_size] = 0
        middle = steps.after_heads(here, outputs, self.hidden)
        self.layers_run += self.after_heads
        return self._finish(steps.after_units(here, steps.unit_outputs(here, middle), middle))

    def without_units(self, units: Sequence[int]) -> float:
        """With these units of the layer closed."""
        outputs = self.units.clone()
        outputs[..., units] = 0
        self.layers_run += self.after_units
        return self._finish(steps.after_units(self.layers[self.at], outputs, self.middle))

    def without_hidden(self, dimensions: Sequence[int]) -> float:
        """With these hidden dimensions closed: nothing of what is kept can be used."""
        opened = torch.ones(self.start.hidden.shape[-1], device=self.start.hidden.device)
        opened[torch.as_tensor(dimensions)] = 0
        with gated(self.model) as gates:
            gates.hidden = opened
            start = steps.encoder_input(self.model, model_inputs(self.batch))
            hidden = steps.run_layers(self.model, 0, start.hidden, start)
        self.layers_run += len(self.layers)
        return self._loss_of(hidden)

    def _finish(self, hidden: torch.Tensor) -> float:
        self.layers_run += len(self.layers) - self.at - 1
        return self._loss_of(steps.run_layers(self.model, self.at + 1, hidden, self.start))

    def _loss_of(self, hidden: torch.Tensor) -> float:
        heads = heads_of(self.model)
        spans = heads["spans"](hidden).movedim(-1, 0)
        types = heads["types"](hidden[:, 0]) if "types" in heads else None
        return gold_loss(masked_logits(spans, types, self.batch), self.batch).item()
