"""Leave one out: how much the loss grows when one head, or one block of units, is closed.

Heads are closed one at a time, exactly (as Michel, Levy and Neubig 2019 do first). Units are closed in
blocks of `block`, neighbours by magnitude, so that useless units fall into blocks of their own; a unit's
score is its block's growth of the loss by unit. All below the closed part is computed once and kept: a pass
starts at the projection behind the heads or units and runs the layers above.

Cost: one forward pass over `windows` windows, and for each head and block the part of one above it, in the
device's mixed precision; a forward pass counts as a third of a forward plus backward pass. Own choices:
blocks by magnitude; inside a block the order by magnitude decides.
"""

from __future__ import annotations

from qaprune.gate.registry import GateTask, Scores


class LeaveOneOut:
    needs_model = True
    per_budget = False
    whole_layers = False
    additive = True
    version = 1

    def score(self, task: GateTask) -> Scores:
        """Mean growth of the loss over `settings["windows"]` windows; negative where closing helps."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        import numpy as np
        import torch

        from qaprune.gate.magnitude import Magnitude
        from qaprune.gate.without import Without

        model, shape, settings = task.model, task.shape, task.settings
        model.eval().requires_grad_(False)
        order = np.argsort(Magnitude().score(task).ff[0], axis=1, kind="stable")
        blocks = [
            [layer[first : first + settings["block"]] for first in range(0, len(layer), settings["block"])]
            for layer in order
        ]
        heads = np.zeros((shape.layers, shape.heads[0]))
        ff = np.zeros((shape.layers, shape.ff[0]))
        windows = tokens = work = 0
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
                windows += size
                tokens += int(batch["attention_mask"].sum())
                work += size * run.layers_run / shape.layers
        heads, ff = heads / windows, ff / windows
        # Units of a block share its score: their own magnitude orders them, by less than blocks differ.
        ranks = np.argsort(order, axis=1) / shape.ff[0]
        ff += 1e-6 * np.abs(ff).max() * ranks
        return Scores(
            heads.astype(np.float32)[None], ff.astype(np.float32)[None], passes=work / 3, tokens=tokens
        )
