"""Gates that learn: what `learning.py` asks of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch

from qaprune.gate.gates import Gates
from qaprune.gate.registry import KINDS, GateTask, Scores, gate_shapes


class LearntGates(ABC):
    """Gates with parameters. `parameters` get an Adam of their own at the criterion's `lr`.

    `progress` is the share of the steps that is done when the step is; `seed` is the step's own, the same
    in all processes.
    """

    parameters: list[torch.Tensor]

    @abstractmethod
    def before(self, gates: Gates, progress: float, seed: int) -> None:
        """Put this step's values in place."""

    @abstractmethod
    def scores(self, windows: int, tokens: int) -> Scores:
        """The scores after the training, with what it read."""

    def penalty(self, progress: float) -> torch.Tensor | None:
        """A term of the loss that hangs on no batch."""

    def after(self) -> None:
        """Follows each step of the optimizer."""

    def describe(self) -> str:
        """A few words for the log."""
        return ""

    def extra(self) -> dict[str, torch.Tensor]:
        """What a checkpoint needs beside `parameters`."""
        return {}

    def restore_extra(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `extra` gave."""


class OpenGates(LearntGates):
    """Every gate open and nothing to learn: weights train alone."""

    def __init__(self, task: GateTask):
        self.parameters = []
        device = next(task.model.parameters()).device
        self._open = [torch.ones(shape, device=device) for shape in gate_shapes(task)]

    def before(self, gates: Gates, progress: float, seed: int) -> None:
        gates.set(*self._open)

    def scores(self, windows: int, tokens: int) -> Scores:
        """All alike."""
        found = (gates.cpu().numpy()[None] for gates in self._open)
        return Scores(**dict(zip(KINDS, found, strict=False)), passes=windows, tokens=tokens)
