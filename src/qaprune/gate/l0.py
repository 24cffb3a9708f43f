"""L0 gates by the hard-concrete distribution (Louizos, Welling and Kingma 2018), weights frozen.

A gate is z = min(1, max(0, s (zeta - gamma) + gamma)), s = sigmoid((log u - log(1 - u) + log_alpha) / beta)
with u uniform (their equations 10 and 11; beta 2/3, gamma -0.1, zeta 1.1). Its probability of being open is
sigmoid(log_alpha - beta log(-gamma / zeta)) (equation 12).

The task loss is minimised over log_alpha alone under a Lagrangian that drives the expected share of open
heads, and of open units, to the budget: lambda1 (s - t) + lambda2 (s - t)^2 for each kind, multipliers by
gradient ascent (Wang, Wohlwend and Lei 2020; as Xia et al. 2022 use it). It trains once for each budget.
Cost: one forward and backward pass a step, without weight gradients.

Own choices: one gate sample a batch; the target share falls linearly from 1 to the budget over the first
`warmup` share of the steps; Adam at `lr` for log_alpha and multipliers; log_alpha clamped to +-4.6. Gates
are ranked by log_alpha; a survivor keeps its deterministic value (their equation 13).
"""

from __future__ import annotations

from qaprune.gate.registry import GateTask, Scores


class L0:
    needs_model = True
    per_budget = True
    whole_layers = False
    version = 2

    def score(self, task: GateTask) -> Scores:
        """Train log_alpha for `steps` steps; scores are log_alpha, values the deterministic gates."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        from qaprune.gate.l0_gates import L0Gates
        from qaprune.gate.learning import learn_gates

        return learn_gates(
            task, L0Gates(task), {key: task.settings[key] for key in ("steps", "batch_tokens")}
        )
