"""Hard-concrete gates (Louizos, Welling and Kingma 2018, equations 10 to 13) and their Lagrangian."""

from __future__ import annotations

import math

import torch

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
CLAMP = 4.6


def sample_gates(log_alpha: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One hard-concrete sample for each gate, differentiable in `log_alpha`; same shape, in [0, 1]."""
    noise = torch.rand(log_alpha.shape, generator=generator).clamp(1e-6, 1 - 1e-6).to(log_alpha)
    concrete = torch.sigmoid((torch.logit(noise) + log_alpha) / BETA)
    return (concrete * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def open_probability(log_alpha: torch.Tensor) -> torch.Tensor:
    """P(gate > 0)."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


def gate_value(log_alpha: torch.Tensor) -> torch.Tensor:
    """The deterministic gate used after training (their equation 13)."""
    return (torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def sparsity_penalty(shares: torch.Tensor, target: torch.Tensor, multipliers: torch.Tensor) -> torch.Tensor:
    """Lagrangian terms of the open shares [kinds] against their targets; multipliers [2, kinds]."""
    gap = shares - target
    return (multipliers[0] * gap + multipliers[1] * gap**2).sum()
