"""Batches by token budget: windows of like length together, few distinct shapes, no label left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from qaprune.data.features import Features, FlatLogits, batch_inputs

LENGTH_STEP = 16
"""Padded lengths are multiples of this: a few shapes instead of hundreds."""

_POOL = 50
"""Batches that are sorted by length together; larger pools pad less and shuffle less."""


def padded_length(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def plan_batches(
    lengths: np.ndarray, tokens: int, generator: np.random.Generator | None
) -> list[np.ndarray]:
    """Cut windows into batches of at most `tokens` padded tokens (at least one window each).

    With a generator: shuffled, sorted by length inside pools, batches shuffled again. Without: all sorted
    by length, which pads least (for prediction).
    """
    order = np.arange(len(lengths)) if generator is None else generator.permutation(len(lengths))
    mean = max(1.0, float(np.mean(lengths))) if len(lengths) else 1.0
    pool = len(order) if generator is None else max(1, int(_POOL * tokens / mean))
    batches: list[np.ndarray] = []
    for first in range(0, len(order), max(1, pool)):
        part = order[first : first + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        begin = 0
        for end in range(1, len(part) + 1):
            full = end == len(part) or (end + 1 - begin) * padded_length(lengths[part[end]]) > tokens
            if full:
                batches.append(part[begin:end])
                begin = end
    if generator is not None:
        generator.shuffle(batches)
    return batches


def labelled_batch(
    features: Features, windows: np.ndarray, device: Any, teacher: FlatLogits | None = None
) -> dict[str, torch.Tensor]:
    """Inputs and gold of the windows: positions, and answer types where the features have them.

    Where the teacher's logits are given: `teacher_spans` [2, batch, length], `teacher_types` [batch,
    types].
    """
    length = padded_length(int(features.lengths()[windows].max()))
    batch = batch_inputs(features, windows, length, device)
    names = ["start_position", "end_position"] + ["answer_type"] * (len(features.answer_type) > 0)
    for name in names:
        values = getattr(features, name)[windows].astype(np.int64)
        batch[name] = torch.from_numpy(values).to(device)
    if teacher is not None:
        column = np.arange(length)
        size = features.lengths()[windows]
        mask = column < size[:, None]
        source = np.where(mask, features.row_ptr[windows][:, None] + column, 0)
        logits = np.where(mask[..., None], teacher.spans[source], -np.inf).astype(np.float32)
        batch["teacher_spans"] = torch.from_numpy(np.moveaxis(logits, -1, 0)).to(device)
        if teacher.types is not None:
            batch["teacher_types"] = torch.from_numpy(teacher.types[windows]).to(device)
    return batch


def train_batches(
    features: Features,
    tokens: int,
    seed: int,
    device: Any,
    windows: int | None = None,
    teacher: FlatLogits | None = None,
) -> Iterator[dict[str, torch.Tensor]]:
    """Endless shuffled batches; with `windows`, one pass over that many windows drawn by seed."""
    lengths = features.lengths()
    if windows is not None:
        chosen = np.sort(np.random.default_rng([seed, 0]).permutation(features.windows)[:windows])
        for part in plan_batches(lengths[chosen], tokens, np.random.default_rng([seed, 1])):
            yield labelled_batch(features, chosen[part], device, teacher)
        return
    epoch = 0
    while True:
        for part in plan_batches(lengths, tokens, np.random.default_rng([seed, epoch, 2])):
            yield labelled_batch(features, part, device, teacher)
        epoch += 1
