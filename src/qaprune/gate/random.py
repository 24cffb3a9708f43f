"""Random scores: the baseline that every informed criterion has to beat."""

from __future__ import annotations

import numpy as np

from qaprune.gate.registry import GateTask, Scores


class Random:
    """Uniform scores, `draws` masks of them. Costs nothing; reads neither weights nor data."""

    needs_model = False
    per_budget = False
    whole_layers = False
    version = 1

    def score(self, task: GateTask) -> Scores:
        """Draw `d` is seeded by (seed, d) alone: more draws leave the earlier ones as they were."""
        shape = task.shape
        heads, ff, hidden = [], [], []
        for draw in range(task.settings["draws"]):
            generator = np.random.default_rng([task.seed, draw])
            heads.append(generator.random((shape.layers, shape.heads[0]), dtype=np.float32))
            ff.append(generator.random((shape.layers, shape.ff[0]), dtype=np.float32))
            hidden.append(generator.random(shape.hidden, dtype=np.float32))
        return Scores(np.stack(heads), np.stack(ff), hidden=np.stack(hidden) if task.hidden else None)
