"""Binary gates in the forward pass whose gradient reaches their scores unchanged (straight-through)."""

from __future__ import annotations

import torch

from qaprune.gate.gates import Gates
from qaprune.gate.learnt import LearntGates
from qaprune.gate.registry import KINDS, GateTask, Scores, gate_shapes, shares_of


class StraightThroughGates(LearntGates):
    """Scores S of every gate, from zero; the highest are open, over all layers of a kind."""

    def __init__(self, task: GateTask):
        settings = task.settings
        device = next(task.model.parameters()).device
        self.parameters = [
            torch.zeros(gates, device=device, requires_grad=True) for gates in gate_shapes(task)
        ]
        self.wanted = [share / 100 for share in shares_of(task)]
        self.first, self.last = settings["warmup"], 1 - settings["cooldown"]

    def before(self, gates: Gates, progress: float, seed: int) -> None:
        """Put the binary gates of this moment in place."""
        left = 1 - min(1.0, max(0.0, (progress - self.first) / max(1e-9, self.last - self.first)))
        opened = []
        for scores, share in zip(self.parameters, self.wanted, strict=True):
            mask = highest(scores, share + (1 - share) * left**3)
            opened.append(mask + (scores - scores.detach()))
        gates.set(*opened)

    def describe(self) -> str:
        """How far scores have moved, for the log."""
        return f"scores up to {max(float(s.detach().abs().max()) for s in self.parameters):.2g}"

    def scores(self, windows: int, tokens: int) -> Scores:
        """S as scores; survivors count fully."""
        found = (scores.detach().cpu().numpy()[None] for scores in self.parameters)
        return Scores(**dict(zip(KINDS, found, strict=False)), passes=windows, tokens=tokens)


def highest(scores: torch.Tensor, share: float) -> torch.Tensor:
    """1 for the `share` (0 to 1) of gates with the highest scores over all layers, at least one, 0 for the
    others; of equal scores the earlier gate."""
    flat = scores.detach().flatten()
    mask = torch.zeros_like(flat)
    mask[flat.argsort(descending=True, stable=True)[: max(1, int(share * flat.numel() + 0.5))]] = 1
    return mask.view_as(scores)
