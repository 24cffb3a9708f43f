"""Leave one out: how much the loss grows when one head, or one block of units, is closed.

Heads are closed one at a time, exactly (as Michel, Levy and Neubig 2019 do first). Units and hidden
dimensions are closed in blocks of `block`, neighbours by magnitude, so that useless ones fall into blocks
of their own; a gate's score is its block's growth of the loss, divided by the block's gates. Of heads and
units all below the closed part is computed once and kept: a pass starts at the projection behind them and
runs the layers above.

Cost: one forward pass over `windows` windows, for each head and block of units the part of one above it,
for each block of dimensions a whole one, in the device's mixed precision; a forward pass counts as a third
of a forward plus backward pass. Own choices: blocks by magnitude; inside a block magnitude decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qaprune.gate.registry import GateTask, Scores

if TYPE_CHECKING:
    import numpy as np


class LeaveOneOut:
    needs_model = True
    per_budget = False
    whole_layers = False
    additive = True
    version = 2

    def score(self, task: GateTask) -> Scores:
        """Mean growth of the loss over `settings["windows"]` windows; negative where closing helps."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        import numpy as np
        import torch

        from qaprune.gate.magnitude import Magnitude
        from qaprune.gate.without import Without

        model, shape, settings = task.model, task.shape, task.settings
        model.eval().requires_grad_(False)
        magnitude = Magnitude().score(task)
        order = np.argsort(magnitude.ff[0], axis=1, kind="stable")
        blocks = [_blocks(layer, settings["block"]) for layer in order]
        heads = np.zeros((shape.layers, shape.heads[0]))
        ff = np.zeros((shape.layers, shape.ff[0]))
        hidden = np.zeros(shape.hidden)
        hidden_order = np.argsort(magnitude.hidden[0], kind="stable") if task.hidden else hidden[:0]
        windows = 0
        tokens = work = 0.0
        with torch.inference_mode():
            for batch in task.batches(settings["batch_tokens"], settings["windows"], task.seed):
                size = len(batch["input_ids"])
                with task.autocast():
                    run = Without(model, batch)
                    base = run.loss()
                    for layer in range(shape.layers):
                        for head in range(shape.heads[layer]):
                            heads[layer, head] += size * (run.without_heads([head]) - base)
                        for block in blocks[layer]:
                            ff[layer, block] += size * (run.without_units(block) - base) / len(block)
                        run.climb()
                    for block in _blocks(hidden_order, settings["block"]):
                        hidden[block] += size * (run.without_hidden(block) - base) / len(block)
                windows += size
                work += size * run.layers_run / shape.layers
                tokens += int(batch["attention_mask"].sum()) * run.layers_run / shape.layers
        return Scores(
            (heads / windows).astype(np.float32)[None],
            _ordered(ff / windows, order)[None],
            passes=work / 3,
            tokens=round(tokens / 3),
            hidden=_ordered(hidden / windows, hidden_order)[None] if task.hidden else None,
        )


def _blocks(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[first : first + size] for first in range(0, len(order), size)]


def _ordered(scores: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Gates of a block share its score: their own magnitude orders them, by less than blocks differ."""
    import numpy as np

    ranks = np.argsort(order, axis=-1) / order.shape[-1]
    return (scores + 1e-6 * np.abs(scores).max() * ranks).astype(np.float32)
