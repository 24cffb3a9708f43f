"""Logits of a model over all windows of a features file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from qaprune.data.features import Features, FlatLogits, batch_inputs
from qaprune.train.batches import plan_prediction, to_device
from qaprune.train.compute import Compute


def predict_logits(
    model: nn.Module, features: Features, compute: Compute, tokens: int = 16_384
) -> FlatLogits:
    """The logits of a model over all windows.

    The batching is fixed by the features alone, so the same model gives the same bytes.
    """
    lengths = features.lengths()
    spans = np.empty((len(features.input_ids), 2), np.float32)
    count = getattr(model.config, "answer_types", 0)
    types = np.empty((features.windows, count), np.float32) if count else None
    model.to(compute.device).eval()
    with torch.inference_mode():
        for indices, length in plan_prediction(lengths, tokens):
            batch = to_device(batch_inputs(features, indices, length), compute.device)
            with compute.autocast():
                output = model(**batch)
            logits = torch.stack([output.start_logits, output.end_logits], -1).float().cpu().numpy()
            mask = np.arange(length) < lengths[indices][:, None]
            target = features.row_ptr[indices][:, None] + np.arange(length)
            spans[target[mask]] = logits[mask]
            if types is not None:
                types[indices] = output.answer_type_logits.float().cpu().numpy()
    return FlatLogits(spans, types)


def save_logits(path: Path, logits: FlatLogits) -> None:
    """As safetensors."""
    save_file({name: array for name, array in logits._asdict().items() if array is not None}, path)


def load_logits(path: Path) -> FlatLogits:
    """As `save_logits` wrote them."""
    return FlatLogits(**load_file(path))
