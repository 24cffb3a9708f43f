"""Values for the survivors of a mask that bring each sub-layer's output back to the teacher's.

For one sub-layer let a_i(x) be what gate i adds to the residual stream when its value is 1. With the layers
below as pruned, and t(x) the residual stream behind the sub-layer in the teacher, the values m minimise
sum over tokens |x + sum_i m_i a_i(x) + bias - t(x)|^2 (mask tuning of Kwon et al. 2022), over the hidden
dimensions that stay. LayerNorm follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from qaprune.gate.gates import Gates, gated
from qaprune.gate.registry import GateTask
from qaprune.models import steps
from qaprune.models.encoder import encoder_layers, ff_output, head_output
from qaprune.prune.mask import Mask
from qaprune.train.losses import model_inputs

LARGEST = 10.0
"""A sub-layer whose values leave +-10 keeps 1: its tokens hardly determine them."""


@dataclass
class _Stream:
    """One batch on its way up: the same tokens in the pruned model and in the teacher."""

    start: steps.EncoderInput
    real: torch.Tensor
    pruned: torch.Tensor
    teacher: torch.Tensor


def tune_mask(task: GateTask, mask: Mask) -> tuple[Mask, int, int]:
    """The mask with tuned values of heads and units; windows and tokens read.

    Settings: `tuning_windows`, `batch_tokens`, `damping` (strength of the pull towards 1, as a share of the
    mean of the normal matrix's diagonal).
    """
    model, settings = task.model, task.settings
    windows = tokens = 0
    with torch.no_grad(), gated(model) as gates:
        tuner = _Tuner(gates, mask.hidden, settings["damping"])
        for batch in task.batches(settings["batch_tokens"], settings["tuning_windows"], task.seed):
            tuner.add(model, batch)
            windows += len(batch["input_ids"])
            tokens += int(batch["attention_mask"].sum())
        heads, ff = [], []
        for layer, head_mask, ff_mask in zip(encoder_layers(model), mask.heads, mask.ff, strict=True):
            heads.append(tuner.tune_heads(layer, head_mask))
            ff.append(tuner.tune_units(layer, ff_mask))
    return replace(mask, heads=tuple(heads), ff=tuple(ff)), windows, tokens


class _Tuner:
    """Climbs the layers with all batches, once as the teacher and once as pruned so far."""

    def __init__(self, gates: Gates, hidden: np.ndarray | None, damping: float):
        self.gates, self.damping = gates, damping
        self.hidden = None if hidden is None else torch.from_numpy(hidden)
        self.streams: list[_Stream] = []

    def add(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> None:
        """Take one more batch, at the embeddings."""
        start = steps.encoder_input(model, model_inputs(batch))
        pruned = start
        if self.hidden is not None:
            self.hidden = self.hidden.to(start.hidden)
            with self._narrowed():
                pruned = steps.encoder_input(model, model_inputs(batch))
        real = batch["attention_mask"].bool()
        self.streams.append(_Stream(start, real, pruned.hidden, start.hidden))

    @contextmanager
    def _narrowed(self) -> Iterator[None]:
        """Inside, the hidden dimensions are gated as in the pruned model."""
        self.gates.hidden = self.hidden
        yield
        self.gates.hidden = None

    def tune_heads(self, layer: nn.Module, mask: np.ndarray) -> np.ndarray:
        """Values of one layer's heads, and on to its feed-forward part."""
        repeat = head_output(layer).in_features // mask.size
        outputs = [
            (
                steps.head_outputs(layer, stream.pruned, stream.start),
                steps.head_outputs(layer, stream.teacher, stream.start),
            )
            for stream in self.streams
        ]
        return self._tune(layer, head_output(layer), steps.after_heads, outputs, mask, repeat)

    def tune_units(self, layer: nn.Module, mask: np.ndarray) -> np.ndarray:
        """Values of one layer's units, and on to the next layer."""
        outputs = [
            (steps.unit_outputs(layer, stream.pruned), steps.unit_outputs(layer, stream.teacher))
            for stream in self.streams
        ]
        return self._tune(layer, ff_output(layer), steps.after_units, outputs, mask, 1)

    def _tune(
        self,
        layer: nn.Module,
        dense: nn.Module,
        after: Callable[..., torch.Tensor],
        outputs: list[tuple[torch.Tensor, torch.Tensor]],
        mask: np.ndarray,
        repeat: int,
    ) -> np.ndarray:
        kept = np.flatnonzero(mask)
        columns = torch.from_numpy((kept[:, None] * repeat + np.arange(repeat)).ravel())
        rows = slice(None) if self.hidden is None else self.hidden.nonzero().flatten()
        values = _solve(dense, self.streams, outputs, mask, columns, rows, self.damping)
        scale = torch.from_numpy(values.repeat(repeat))
        for stream, (pruned, teacher) in zip(self.streams, outputs, strict=True):
            with self._narrowed():
                stream.pruned = after(layer, pruned * scale.to(pruned), stream.pruned)
            stream.teacher = after(layer, teacher, stream.teacher)
        return values


def _solve(
    dense: nn.Module,
    streams: list[_Stream],
    outputs: list[tuple[torch.Tensor, torch.Tensor]],
    mask: np.ndarray,
    columns: torch.Tensor,
    rows: torch.Tensor | slice,
    damping: float,
) -> np.ndarray:
    """Ridge regression towards 1 over the real tokens of all batches; `columns` of `dense` stay, and of
    what it puts out the dimensions `rows`.

    With z the survivors' outputs at a token and W their columns, gate i adds the sum of z_c W_c over its
    own columns c: the normal matrix is (z'z) * (W'W), summed over the columns of each pair of gates.
    """
    kept = int(np.count_nonzero(mask))
    if not kept or kept == mask.size:
        return mask.astype(np.float32)
    weight = dense.weight[rows][:, columns]
    width = len(columns)
    products = torch.zeros(width, width, dtype=torch.float64, device=weight.device)
    towards = torch.zeros(width, dtype=torch.float64, device=weight.device)
    for stream, (pruned, teacher) in zip(streams, outputs, strict=True):
        target = stream.teacher + dense(teacher) - stream.pruned - dense.bias
        taken = pruned[stream.real][:, columns]
        products += (taken.T @ taken).double()
        towards += ((target[stream.real][:, rows] @ weight) * taken).double().sum(0)
    normal = products * (weight.T @ weight).double()
    size = width // kept
    normal = normal.unflatten(0, (kept, size)).unflatten(2, (kept, size)).sum((1, 3))
    pull = damping * normal.diagonal().mean().clamp(min=1e-30)
    eye = torch.eye(kept, dtype=torch.float64, device=weight.device)
    solved = torch.linalg.solve(normal + pull * eye, towards.unflatten(0, (kept, size)).sum(1) + pull)
    values = mask.astype(np.float32)
    if solved.isfinite().all() and solved.abs().max() <= LARGEST:
        values[np.flatnonzero(mask)] = solved.float().cpu().numpy()
    return values
