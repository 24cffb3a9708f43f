"""The same share of every layer (uniform pruning): no criterion at all, for speed alone.

Time hangs on widths, not on which heads and units stay. Published per cents say nothing of the layers they
were cut from; spreading them evenly is the project's own choice, and rows of this criterion say so.
"""

from __future__ import annotations

import numpy as np

from qaprune.gate.registry import GateTask, Scores


class Uniform:
    """Keep the first heads and units of each layer, and the first hidden dimensions."""

    needs_model = False
    per_budget = False
    whole_layers = False
    version = 1

    def score(self, task: GateTask) -> Scores:
        """Scores fall with the place inside the layer, so that a global ranking takes all layers alike."""
        heads, ff = (
            np.stack([-np.arange(width, dtype=np.float32) for width in widths])[None]
            for widths in (task.shape.heads, task.shape.ff)
        )
        hidden = -np.arange(task.shape.hidden, dtype=np.float32)[None] if task.hidden else None
        return Scores(heads, ff, hidden=hidden)
