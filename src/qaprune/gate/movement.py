"""Structured movement pruning (Sanh, Wolf and Rush 2020; by head and unit as Lagunas et al. 2021).

Each gate has a score S that starts at zero. In the forward pass the gates with the highest scores are open,
over the whole model; backwards the gate passes its gradient on to S as it is (straight-through), so that S
gathers -dL/dgate: it rises where growing weights lower the loss, and falls where they shrink. Weights train
along. The open share falls from 1 to the budget by a cubic schedule between `warmup` and `1 - cooldown` of
the training (Zhu and Gupta 2017, as both papers do).

Cost: forward and backward passes with weight gradients; they come out of recovery's budget (`share` of its
epochs). Own choices: one score for a whole head instead of blocks of its matrices; Adam at `lr` for scores.
"""

from __future__ import annotations

from qaprune.gate.registry import GateTask, Scores


class Movement:
    needs_model = True
    per_budget = True
    whole_layers = False
    trains_weights = True
    version = 2

    def score(self, task: GateTask) -> Scores:
        """Train; scores are S. The task's model holds the trained weights afterwards."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        from qaprune.gate.learning import learn_jointly
        from qaprune.gate.straight_through import StraightThroughGates

        return learn_jointly(task, StraightThroughGates(task))
