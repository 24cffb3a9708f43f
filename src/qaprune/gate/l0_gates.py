"""Hard-concrete gates of all kinds, and the Lagrangian that drives them to a budget."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from qaprune.gate.gates import Gates
from qaprune.gate.hard_concrete import (
    CLAMP,
    gate_value,
    open_probability,
    sample_gates,
    sparsity_penalty,
)
from qaprune.gate.learnt import LearntGates
from qaprune.gate.registry import KINDS, VALUES, GateTask, Scores, gate_shapes, shares_of
from qaprune.train.optimizers import optimizer_tensors, restore_optimizer

HIDDEN_START = 4.0
"""log_alpha of hidden dimensions at first: one sampled shut is missing in every layer at once."""


class L0Gates(LearntGates):
    """log_alpha of every gate, and the multipliers, which climb while everything else descends.

    `parameters` are the log_alphas [layers, heads], [layers, units] and, where the task asks for them,
    [hidden width]; their optimizer is the caller's.
    """

    def __init__(self, task: GateTask):
        settings = task.settings
        device = next(task.model.parameters()).device
        starts = (settings["init_heads"], settings["init_ff"], settings.get("init_hidden", HIDDEN_START))
        self.parameters = [
            torch.full(gates, float(start), device=device, requires_grad=True)
            for gates, start in zip(gate_shapes(task), starts, strict=False)
        ]
        self.warmup = settings["warmup"]
        self.budget = torch.tensor(shares_of(task), device=device) / 100
        self.multipliers = torch.zeros(2, len(self.parameters), device=device, requires_grad=True)
        self.ascent = torch.optim.Adam([self.multipliers], lr=settings["lr"], maximize=True)
        self.shares = torch.ones(len(self.parameters))

    def before(self, gates: Gates, progress: float, seed: int) -> None:
        """Put one sample of every gate in place."""
        generator = torch.Generator().manual_seed(seed)
        gates.set(*(sample_gates(kind, generator) for kind in self.parameters))

    def penalty(self, progress: float) -> torch.Tensor:
        """The Lagrangian: the target falls from 1 to the budget over the first `warmup` of the training."""
        target = 1 - min(1.0, progress / max(1e-9, self.warmup)) * (1 - self.budget)
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
        kinds = "heads, units and dimensions" if len(self.parameters) > 2 else "heads and units"
        return f"open {kinds} " + " ".join(f"{share:.0%}" for share in self.shares.tolist())

    def extra(self) -> dict[str, torch.Tensor]:
        """The multipliers and the state of their climb."""
        climb = {f"ascent.{name}": value for name, value in optimizer_tensors(self.ascent).items()}
        return {"multipliers": self.multipliers} | climb

    def restore_extra(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `extra` gave."""
        with torch.no_grad():
            self.multipliers.copy_(tensors["multipliers"])
        prefix = "ascent."
        found = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
        restore_optimizer(self.ascent, found)

    def scores(self, windows: int, tokens: int) -> Scores:
        """log_alpha as scores, deterministic gates as values."""
        found = [kind.detach() for kind in self.parameters]
        arrays = {name: kind.cpu().numpy()[None] for name, kind in zip(KINDS, found, strict=False)}
        values = {
            name: gate_value(kind).cpu().numpy()[None] for name, kind in zip(VALUES, found, strict=False)
        }
        return Scores(**arrays, **values, passes=windows, tokens=tokens)
