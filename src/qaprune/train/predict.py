"""Logits of a model over all windows of a features file."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from qaprune.data.features import Features, batch_inputs
from qaprune.train.batches import padded_length, plan_batches
from qaprune.train.compute import Compute


def predict_logits(
    model: nn.Module,
    features: Features,
    compute: Compute,
    windows: np.ndarray | None = None,
    tokens: int = 16_384,
) -> np.ndarray:
    """Start and end logits [T, 2] float32 along the features' flat tokens; NaN in windows left out.

    The batching is fixed by the features alone, so the same model gives the same bytes.
    """
    chosen = np.arange(features.windows) if windows is None else windows
    lengths = features.lengths()
    flat = np.full((len(features.input_ids), 2), np.nan, np.float32)
    model.to(compute.device).eval()
    with torch.inference_mode():
        for part in plan_batches(lengths[chosen], tokens, None):
            indices = chosen[part]
            length = padded_length(int(lengths[indices].max()))
            batch = batch_inputs(features, indices, length, compute.device)
            with compute.autocast():
                output = model(**batch)
            logits = torch.stack([output.start_logits, output.end_logits], -1).float().cpu().numpy()
            mask = np.arange(length) < lengths[indices][:, None]
            target = features.row_ptr[indices][:, None] + np.arange(length)
            flat[target[mask]] = logits[mask]
    return flat
