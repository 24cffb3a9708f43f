"""Diagonal Fisher information, rearranged and tuned (Kwon et al. 2022, arXiv 2204.09656).

With the empirical Fisher information I = sum over examples of g g', g = dL/dm at m = 1, removing gates
costs about (1 - m)' I (1 - m).
1. Mask search: the diagonal of I ranks heads, and units, over the whole model (here under a count of each
   kind, in the paper under FLOPs or latency).
2. Mask rearrangement: layer by layer, with the number of removed gates fixed, gates are exchanged greedily
   against the layer's block of I, which sees how gates stand in for each other.
3. Mask tuning: layer by layer from the embeddings up, survivors get real values that bring the sub-layer's
   output back to the teacher's in the least-squares sense (`tuning.py`).

Own choices: gradients of single examples, as the formula says, not of mini-batches; a gate without any
information is removed for good; ridge regression towards 1 of strength `damping` in place of damped LSMR;
hidden dimensions are searched and rearranged alike (all in one block) and not tuned.
Cost: one forward and one backward pass over `windows` windows, and two forward passes over
`tuning_windows`, which count as two thirds of such a pass. It runs once for each budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qaprune.gate.registry import GateTask, Scores

if TYPE_CHECKING:
    import numpy as np


class Fisher:
    needs_model = True
    per_budget = True
    whole_layers = False
    additive = True
    version = 2

    def score(self, task: GateTask) -> Scores:
        """Scores are the diagonal; the values are the mask: tuned survivors, 0 for the others."""
        # Not at the top: the plan asks a criterion for its facts while the DAG is parsed.
        import numpy as np
        import torch

        from qaprune.gate.gradients import gate_gradients
        from qaprune.gate.tuning import tune_mask
        from qaprune.prune.mask import Mask
        from qaprune.prune.select import select

        found: dict[str, list] = {}
        windows = tokens = 0
        for batch in gate_gradients(task):
            for kind, parts in batch.by_kind.items():
                found.setdefault(kind, []).append(parts.cpu())
            windows += len(batch.by_kind["heads"])
            tokens += batch.tokens
        gradients = {kind: torch.cat(parts).double().numpy() for kind, parts in found.items()}
        scores = Scores(**{kind: np.square(examples).sum(0)[None] for kind, examples in gradients.items()})
        mask = select(scores, 0, task.asked or task.budget, task.shape, "fisher", task.costs, task.round_to)
        layers = {
            kind: tuple(
                rearrange(gradients[kind][:, number], int(np.count_nonzero(layer)))
                for number, layer in enumerate(getattr(mask, kind))
            )
            for kind in ("heads", "ff")
        }
        hidden = None
        if mask.hidden is not None:
            hidden = rearrange(gradients["hidden"], int(np.count_nonzero(mask.hidden)))
        tuned, tuning_windows, tuning_tokens = tune_mask(task, Mask(**layers, hidden=hidden))
        return Scores(
            scores.heads.astype(np.float32),
            scores.ff.astype(np.float32),
            *(np.stack(kind)[None] for kind in (tuned.heads, tuned.ff)),
            passes=windows + 2 * tuning_windows / 3,
            tokens=tokens + round(2 * tuning_tokens / 3),
            decided=True,
            hidden=None if hidden is None else scores.hidden.astype(np.float32),
            hidden_values=None if hidden is None else hidden[None],
        )


def rearrange(gradients: np.ndarray, kept: int) -> np.ndarray:
    """One layer's mask [gates] that keeps `kept` gates at a small |sum of removed gates' gradients|^2.

    `gradients` [examples, gates]. The gates of least information are removed at first. Then every survivor,
    in rising order of its own, is offered a place among them; the one whose return then helps most returns.
    """
    import numpy as np

    gates = gradients.shape[1]
    removed = gates - kept
    if removed in (0, gates):
        return np.full(gates, bool(kept), np.float32)
    information = np.square(gradients).sum(0)
    order = np.argsort(information, kind="stable")
    members = order[:removed].copy()
    total = gradients[:, members].sum(1)
    for gate in order[removed:]:
        candidates = np.append(members, gate)
        with_gate = total + gradients[:, gate]
        # |s - g_j|^2 without the part that all share.
        cost = information[candidates] - 2 * (with_gate @ gradients[:, candidates])
        cost[information[candidates] == 0] = np.inf
        leaving = int(np.argmin(cost))
        if candidates[leaving] != gate:
            total = with_gate - gradients[:, candidates[leaving]]
            members[leaving] = gate
    result = np.ones(gates, np.float32)
    result[members] = 0
    return result
