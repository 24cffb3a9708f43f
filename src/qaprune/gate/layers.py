"""Small baselines that drop whole layers: what a model of the same FLOPs costs with no criterion at all.

The number of layers kept is the one whose FLOPs come nearest to the budget's. A dropped layer leaves its
two LayerNorms and output biases behind, as every closed sub-layer does (the project's own choice: one
rule for all masks), which costs well under 1 % of the layer.
"""

from __future__ import annotations

import numpy as np

from qaprune.gate.registry import GateTask, Scores
from qaprune.models.encoder import EncoderShape


def _layer_scores(order: np.ndarray, shape: EncoderShape) -> Scores:
    heads = np.repeat(order[:, None], shape.heads[0], axis=1).astype(np.float32)
    ff = np.repeat(order[:, None], shape.ff[0], axis=1).astype(np.float32)
    return Scores(heads[None], ff[None])


class FirstLayers:
    """Keep the layers nearest to the embeddings."""

    needs_model = False
    per_budget = False
    whole_layers = True
    version = 1

    def score(self, task: GateTask) -> Scores:
        return _layer_scores(np.arange(task.shape.layers, 0, -1), task.shape)


class AlternateLayers:
    """Keep every other layer, counted from the last (as DistilBERT's initialisation does), then the rest
    from the last down."""

    needs_model = False
    per_budget = False
    whole_layers = True
    version = 1

    def score(self, task: GateTask) -> Scores:
        layers = task.shape.layers
        distance = np.arange(layers)[::-1]
        order = -(distance % 2 * layers + distance // 2)
        return _layer_scores(order, task.shape)
