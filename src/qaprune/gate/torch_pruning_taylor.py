"""Torch-Pruning's Taylor importance as a peer, by its own package (Fang et al. 2023, arXiv 2301.12900).

Its dependency graph finds which rows and columns belong to a head or unit, its `GroupTaylorImportance`
scores them (Molchanov et al. 2019): |w dL/dw| summed by channel, averaged over the matrices of a group,
divided by the group's mean; a head's score is the mean of its channels, as its pruner takes it.
`torch_pruning_global` ranks heads, and units, over the whole model; `torch_pruning_layer` removes the same
share of every layer.

Cost: one forward and one backward pass with weight gradients over `windows` windows, in float32. Only its
scores are taken: its sliced models cannot be saved and loaded. Own choices: gradients of the mean loss of
each batch, summed over batches; budgets, masks and slices are this project's. Of the hidden width it gives
no scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qaprune.gate.registry import GateTask, Scores

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


class TorchPruningGlobal:
    needs_model = True
    per_budget = False
    whole_layers = False
    package = "torch_pruning"
    scores_hidden = False
    version = 1

    def score(self, task: GateTask) -> Scores:
        """Scores are the importances."""
        return _importances(task)


class TorchPruningLayer(TorchPruningGlobal):
    def score(self, task: GateTask) -> Scores:
        """Scores are places inside a layer, from the last to the first, the same in all layers."""
        import numpy as np

        found = _importances(task)

        def places(layers: np.ndarray) -> np.ndarray:
            order = np.argsort(-layers, axis=-1, kind="stable")
            return -np.argsort(order, axis=-1).astype(np.float32)

        return Scores(places(found.heads), places(found.ff), passes=found.passes, tokens=found.tokens)


def _importances(task: GateTask) -> Scores:
    from copy import deepcopy

    import numpy as np

    from qaprune.train.losses import task_loss

    model = deepcopy(task.model).requires_grad_(True)
    # Its graph is built from the operations of a pass: fused attention would be one that it does not know.
    model.set_attn_implementation("eager")
    model.eval()
    windows = tokens = 0
    for batch in task.batches(task.settings["batch_tokens"], task.settings["windows"], task.seed):
        task_loss(model, batch).backward()
        windows += len(batch["input_ids"])
        tokens += int(batch["attention_mask"].sum())
    heads, ff = graph_importances(model)
    return Scores(np.stack(heads)[None], np.stack(ff)[None], passes=windows, tokens=tokens)


def graph_importances(model: nn.Module) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Importances of each layer's heads and units, from a model that has gradients."""
    import torch
    import torch_pruning as tp

    from qaprune.models.encoder import encoder_layers, ff_output, head_output, model_shape

    device = next(model.parameters()).device
    graph = tp.DependencyGraph().build_dependency(model, example_inputs(device))
    importance = tp.importance.GroupTaylorImportance()
    heads, ff = [], []

    def scored(dense: nn.Module) -> torch.Tensor:
        columns = list(range(dense.in_features))
        return importance(graph.get_pruning_group(dense, tp.prune_linear_in_channels, columns)).cpu()

    for layer, count in zip(encoder_layers(model), model_shape(model).heads, strict=True):
        heads.append(scored(head_output(layer)).view(count, -1).mean(1).numpy())
        ff.append(scored(ff_output(layer)).numpy())
    return heads, ff


def example_inputs(device: Any) -> dict[str, Any]:
    """What a pass is traced with."""
    import torch

    ids = torch.full((1, 8), 5, device=device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
