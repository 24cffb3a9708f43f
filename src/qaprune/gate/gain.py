"""Gain: first-order Taylor importance of each gate (Michel, Levy and Neubig 2019, equation 2).

Score of a gate g: the sum over examples x of |dL(x)/dg| at g = 1. The absolute value is taken for each
example, so every example has gates of its own. Cost: one forward and one backward pass over `windows`
training windows, in float32 (under bf16 the scores were 9 to 29 % off). Own choices: no normalisation by
layer, since heads and units are ranked over the whole model as they are; hidden dimensions are gates too.

Where a budget limits cost, heads and units are compared by rank: the scores added up as if they estimated
what closing many gates together loses, nearly all heads went at 2x (docs/results.md, recovery-cpu).
"""

from __future__ import annotations

from typing import Any

from qaprune.gate.registry import GateTask, Scores


class Gain:
    needs_model = True
    per_budget = False
    whole_layers = False
    version = 2

    def score(self, task: GateTask) -> Scores:
        """Accumulate |dL/dg| over `settings["windows"]` windows."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        from qaprune.gate.gradients import gate_gradients

        sums: dict[str, Any] = {}
        windows = tokens = 0
        for batch in gate_gradients(task):
            for kind, gradients in batch.by_kind.items():
                sums[kind] = sums.get(kind, 0) + gradients.abs().sum(0)
            windows += len(batch.by_kind["heads"])
            tokens += batch.tokens
        found = {kind: total.cpu().numpy()[None] for kind, total in sums.items()}
        return Scores(**found, passes=windows, tokens=tokens)
