"""Hard-concrete gates on all heads and units, and the Lagrangian that drives them to a budget."""

from __future__ import annotations

import torch

from qaprune.gate.gates import Gates
from qaprune.gate.hard_concrete import (
    CLAMP,
    gate_value,
    open_probability,
    sample_gates,
    sparsity_penalty,
)
from qaprune.gate.registry import GateTask, Scores


class L0Gates:
    """log_alpha of every gate, and the multipliers, which climb while everything else descends.

    `parameters` are the log_alphas [layers, heads] and [layers, units]; their optimizer is the caller's.
    """

    def __init__(self, task: GateTask):
        shape, settings = task.shape, task.settings
        device = next(task.model.parameters()).device
        self.parameters = [
            torch.full((shape.layers, width), start, device=device, requires_grad=True)
            for width, start in (
                (shape.heads[0], settings["init_heads"]),
                (shape.ff[0], settings["init_ff"]),
            )
        ]
        self.warmup = settings["warmup"]
        self.budget = torch.tensor([task.budget.heads, task.budget.ff], device=device) / 100
        self.multipliers = torch.zeros(2, 2, device=device, requires_grad=True)
        self.ascent = torch.optim.Adam([self.multipliers], lr=settings["lr"], maximize=True)
        self.generator = torch.Generator().manual_seed(task.seed)
        self.shares = torch.ones(2)

    def before(self, gates: Gates, progress: float = 0.0) -> None:
        """Put one sample of every gate in place."""
        gates.set(*(sample_gates(layers, self.generator) for layers in self.parameters))

    def penalty(self, progress: float) -> torch.Tensor:
        """The Lagrangian when `progress` of the training is done: the target falls over `warmup` of it."""
        return self.penalty_at(min(1.0, progress / max(1e-9, self.warmup)))

    def penalty_at(self, fallen: float) -> torch.Tensor:
        """The Lagrangian when the target has done `fallen` of its way from 1 to the budget."""
        target = 1 - fallen * (1 - self.budget)
        self.shares = torch.stack([open_probability(layers).mean() for layers in self.parameters])
        return sparsity_penalty(self.shares, target, self.multipliers)

    def after(self) -> None:
        """Let the multipliers climb, and keep log_alpha where gates still answer."""
        self.ascent.step()
        self.ascent.zero_grad()
        with torch.no_grad():
            for layers in self.parameters:
                layers.clamp_(-CLAMP, CLAMP)

    def describe(self) -> str:
        """The expected shares, for the log."""
        return "open heads and units " + " ".join(f"{share:.0%}" for share in self.shares.tolist())

    def scores(self, windows: int, tokens: int) -> Scores:
        """log_alpha as scores, deterministic gates as values."""
        found = [layers.detach() for layers in self.parameters]
        arrays = [layers.cpu().numpy()[None] for layers in found]
        values = [gate_value(layers).cpu().numpy()[None] for layers in found]
        return Scores(*arrays, *values, passes=windows, tokens=tokens)
