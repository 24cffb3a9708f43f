"""L0 gates with the weights training along (Xia, Zhong and Chen 2022, CoFi).

Gates and Lagrangian as in `l0.py`; the weights are trained in the same steps, with distillation from the
teacher's logits if `distil` is set. The target falls linearly to the budget over the first `warmup` share.
Survivors keep their deterministic values.

Cost: forward and backward passes with weight gradients; they come out of recovery's budget (`share` of its
epochs). Own choices: no gates on whole sub-layers, on the hidden width only where the budget cuts it; no
layer-wise distillation.
"""

from __future__ import annotations

from qaprune.gate.registry import GateTask, Scores


class L0Joint:
    needs_model = True
    per_budget = True
    whole_layers = False
    trains_weights = True
    version = 2

    def score(self, task: GateTask) -> Scores:
        """Train; scores are log_alpha. The task's model holds the trained weights afterwards."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        from qaprune.gate.l0_gates import L0Gates
        from qaprune.gate.learning import learn_jointly

        return learn_jointly(task, L0Gates(task))
