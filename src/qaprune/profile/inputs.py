"""What the timed passes read: real windows of dev, or windows packed to the full length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qaprune.data.features import Features, batch_inputs
from qaprune.errors import InputError

if TYPE_CHECKING:
    import torch

    from qaprune.profile.timers import ForwardPass

BATCHES_A_CELL = 4


def pick_windows(windows: int, batch: int, seed: int) -> list[np.ndarray]:
    """Window indices of the timed batches: a seeded shuffle, used again from its start when it runs out."""
    if windows < 1:
        raise InputError("profile: the features file holds no windows")
    order = np.random.default_rng(seed).permutation(windows)
    batches = max(1, min(BATCHES_A_CELL, windows // batch))
    return [order[np.arange(number * batch, (number + 1) * batch) % windows] for number in range(batches)]


def timed_batches(
    windows: Features, batch: int, length: int, seed: int, device: str
) -> list[dict[str, torch.Tensor]]:
    """The batches of one cell, padded to its length, with the attention mask that evaluation passes."""
    return [
        batch_inputs(windows, rows, length, device) for rows in pick_windows(windows.windows, batch, seed)
    ]


def in_turn(forward: Callable[..., object], batches: list[dict[str, torch.Tensor]]) -> ForwardPass:
    """The pass of a round: all variants of a round read the same batch."""
    return lambda number: forward(**batches[number % len(batches)])


def pack_windows(features: Features, length: int) -> Features:
    """Windows of exactly `length` tokens without padding: each goes on with the contexts behind it.

    No question belongs to one of them any more: they serve timing alone. The last token is that of the
    last window's end ([SEP], </s>).
    """
    if not features.windows:
        raise InputError("profile: the features file holds no windows")
    lengths = features.lengths()
    rows = []
    for window in range(features.windows):
        first, size = features.row_ptr[window], lengths[window]
        row = [features.input_ids[first : first + size - 1]]
        filled, following = size - 1, window
        while filled < length - 1:
            following = (following + 1) % features.windows
            begin = features.row_ptr[following]
            context = slice(
                begin + features.context_start[following], begin + features.context_end[following]
            )
            row.append(features.input_ids[context])
            filled += len(row[-1])
            if following == window and filled == size - 1:
                raise InputError("profile: the features hold no context tokens to pack windows with")
        end = features.input_ids[first + size - 1]
        rows.append(np.concatenate([np.concatenate(row)[: length - 1], [end]]))
    tokens = np.concatenate(rows).astype(np.int32)
    nowhere = np.zeros(len(tokens), np.int32)
    return replace(
        features,
        input_ids=tokens,
        char_start=nowhere,
        char_end=nowhere,
        row_ptr=np.arange(features.windows + 1, dtype=np.int64) * length,
        context_end=np.full(features.windows, length - 1, np.int32),
    )
