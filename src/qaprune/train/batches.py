"""Batches by token budget, in a small fixed set of shapes: little padding, no label left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from qaprune.data.features import Features, FlatLogits, batch_inputs

LENGTH_STEP = 16
"""Padded lengths are multiples of this."""
SHAPES = 12
"""Padded lengths that training has, at the most: what is compiled or captured once an input shape stays a
handful, and each kernel meets the same sizes again and again."""

Item = TypeVar("Item")
Made = TypeVar("Made")


class Planned(NamedTuple):
    """One batch to come: windows by number, and the tokens that each is padded to."""

    windows: np.ndarray
    length: int


def padded_length(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP


def shape_lengths(lengths: np.ndarray, shapes: int = SHAPES) -> list[int]:
    """At most `shapes` padded lengths, rising, that cover all windows with the least padding.

    Exact, by dynamic programming over the multiples of `LENGTH_STEP` that occur.
    """
    found, counts = np.unique(-(-np.asarray(lengths) // LENGTH_STEP) * LENGTH_STEP, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    # least[i]: padded tokens of the windows in the first i lengths, in as many shapes as rounds were done.
    least, choices = np.where(below > 0, np.inf, 0.0), []
    for _ in range(min(shapes, len(found))):
        # cost[i, j]: the first j lengths as they were, those from j up to i padded to length i.
        added = (below[1:, None] - below[None, :-1]) * found[:, None]
        cost = np.where(np.tri(len(found), dtype=bool), least[:-1] + added, np.inf)
        choices.append(cost.argmin(1))
        least = np.concatenate([[0.0], cost.min(1)])
    cut, end = [], len(found)
    for choice in reversed(choices):
        if end:
            cut.append(int(found[end - 1]))
            end = int(choice[end - 1])
    return cut[::-1]


def plan_epoch(lengths: np.ndarray, tokens: int, generator: np.random.Generator) -> list[Planned]:
    """All windows once, shuffled, in batches of at most `tokens` padded tokens (at least one window each).

    A batch holds windows that share a padded length. What is left over of one length fills up the batches
    of the next longer one, so that only the last batch of the longest is smaller than its shape.
    """
    order = generator.permutation(len(lengths))
    batches: list[Planned] = []
    left = order[:0]
    shorter = 0
    for length in shape_lengths(lengths):
        own = order[(lengths[order] > shorter) & (lengths[order] <= length)]
        ready, size = np.concatenate([left, own]), max(1, tokens // length)
        full = len(ready) // size * size
        batches += [Planned(part, length) for part in ready[:full].reshape(-1, size)]
        left, shorter = ready[full:], length
    if len(left):
        batches.append(Planned(left, shorter))
    return [batches[at] for at in generator.permutation(len(batches))]


def plan_prediction(lengths: np.ndarray, tokens: int) -> list[Planned]:
    """All windows once, sorted by length, which pads least; at most `tokens` padded tokens a batch."""
    order = np.argsort(lengths, kind="stable")
    batches, begin = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - begin) * padded_length(lengths[order[end]]) > tokens:
            batches.append(Planned(order[begin:end], padded_length(int(lengths[order[end - 1]]))))
            begin = end
    return batches


def labelled_batch(
    features: Features,
    windows: np.ndarray,
    device: Any,
    teacher: FlatLogits | None = None,
    length: int | None = None,
) -> dict[str, torch.Tensor]:
    """Inputs and gold of the windows: positions, and answer types where the features have them.

    Padded to `length` tokens, or to the least that holds them. Where the teacher's logits are given:
    `teacher_spans` [2, batch, length], `teacher_types` [batch, types].
    """
    length = length or padded_length(int(features.lengths()[windows].max()))
    batch = batch_inputs(features, windows, length)
    names = ["start_position", "end_position"] + ["answer_type"] * (len(features.answer_type) > 0)
    for name in names:
        batch[name] = torch.from_numpy(getattr(features, name)[windows].astype(np.int64))
    if teacher is not None:
        column = np.arange(length)
        size = features.lengths()[windows]
        mask = column < size[:, None]
        source = np.where(mask, features.row_ptr[windows][:, None] + column, 0)
        logits = np.where(mask[..., None], teacher.spans[source], -np.inf).astype(np.float32)
        batch["teacher_spans"] = torch.from_numpy(np.ascontiguousarray(np.moveaxis(logits, -1, 0)))
        if teacher.types is not None:
            batch["teacher_types"] = torch.from_numpy(teacher.types[windows])
    return to_device(batch, device)


def to_device(batch: dict[str, torch.Tensor], device: Any) -> dict[str, torch.Tensor]:
    """The batch on a device; copies to a GPU run beside what the GPU does meanwhile."""
    if torch.device(device).type != "cuda":
        return batch
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}


def ahead(items: Iterable[Item], make: Callable[[Item], Made], thread: bool) -> Iterator[tuple[Item, Made]]:
    """Each item with what is made of it; with `thread` the next is made in one while the last is used.

    That pays where another device computes. On a CPU it would take turns with the passes.
    """
    if not thread:
        for item in items:
            yield item, make(item)
        return
    with ThreadPoolExecutor(1, "batches") as pool:
        waiting = None
        for item in items:
            coming = (item, pool.submit(make, item))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def train_batches(
    features: Features,
    tokens: int,
    seed: int,
    device: Any,
    windows: int | None = None,
    teacher: FlatLogits | None = None,
) -> Iterator[dict[str, torch.Tensor]]:
    """Endless shuffled batches; with `windows`, one pass over that many windows drawn by seed."""
    chosen = np.arange(features.windows)
    if windows is not None:
        chosen = np.sort(np.random.default_rng([seed, 0]).permutation(features.windows)[:windows])
    lengths, epoch = features.lengths()[chosen], 0
    while True:
        for planned in plan_epoch(lengths, tokens, np.random.default_rng([seed, epoch, 1])):
            yield labelled_batch(features, chosen[planned.windows], device, teacher, planned.length)
        epoch += 1
        if windows is not None:
            return
