"""What pruning itself costs, against its bars: slicing, scoring by gain and Fisher, leave one out.

    python -m benchmarks.pruning_core [slice gain fisher leave_one_out] [--rounds 5] [--threads 2]

- slice: half the heads and units cut out of bert-large, seconds and peak memory (the bars: 5 s, and twice
  the model's memory with the model counted; Linux alone tells the peak).
- gain, fisher: against plain forward and backward passes over the same batches (the bar: 1.5 times).
- leave_one_out: against running every mask from the embeddings up (the bar: 1.7 times faster).

Models have random weights: what is timed does not hang on them. Rounds interleave both sides, medians
count. Run it on an otherwise idle machine. Exit code 3: a bar was missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.workload import SEED, random_mask, untrained
from qaprune.budget import parse_budget
from qaprune.gate.registry import GateTask, load_criterion

if TYPE_CHECKING:
    from torch import nn

SLICE_SECONDS, SLICE_MEMORY = 5.0, 2.0
SCORING, PREFIX = 1.5, 1.7
WINDOWS, LENGTH, BATCH_TOKENS, BLOCK = 64, 128, 1024, 384
Line = tuple[str, bool]
"""What was found, and whether the bar holds."""


def slicing(rounds: int) -> Line:
    """Cut bert-large to half."""
    from qaprune.models.cost import parameters
    from qaprune.models.encoder import model_shape
    from qaprune.prune.slice import slice_model

    model = untrained("bert-24x1024")
    mask = random_mask(model_shape(model), "h50-f50")
    weights = 4 * parameters(model)
    seconds, peaks = [], []
    for _ in range(rounds):
        reset_peak()
        before, began = memory("VmRSS"), time.perf_counter()
        small = slice_model(model, mask)
        seconds.append(time.perf_counter() - began)
        peaks.append(memory("VmHWM") - before)
        del small
    took, share = statistics.median(seconds), 1 + max(peaks) / weights
    text = f"{took:.2f} s, at most {share:.2f} times the model's {weights / 2**20:,.0f} MiB"
    return text, took <= SLICE_SECONDS and share <= SLICE_MEMORY


def memory(what: str) -> int:
    """Bytes of this process now (VmRSS) or at their peak (VmHWM); Linux."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(what)).split()[1])


def reset_peak() -> None:
    """Let the peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def make_batches(model: nn.Module, windows: int) -> list[dict[str, Any]]:
    """Batches of full windows with random tokens and labels."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    size = BATCH_TOKENS // LENGTH

    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(5, high, shape, generator=generator)

    return [
        {
            "input_ids": draw(model.config.vocab_size, size, LENGTH),
            "attention_mask": torch.ones(size, LENGTH, dtype=torch.long),
            "start_position": draw(LENGTH, size),
            "end_position": draw(LENGTH, size),
        }
        for _ in range(windows // size)
    ]


def make_task(model: nn.Module, batches: list[dict[str, Any]], **settings: Any) -> GateTask:
    """A task over these batches, whatever is asked for."""
    from qaprune.models.encoder import model_shape
    from qaprune.prune.costs import flops_costs

    def given(_tokens: int, windows: int | None, _seed: int) -> Iterator[dict[str, Any]]:
        yield from batches[: None if windows is None else windows * LENGTH // BATCH_TOKENS]

    shape = model_shape(model)
    return GateTask(
        shape,
        {"windows": WINDOWS, "batch_tokens": BATCH_TOKENS} | settings,
        SEED,
        parse_budget("h50-f50"),
        model,
        given,
        costs=flops_costs(shape, LENGTH),
    )


def plain_passes(model: nn.Module, batches: list[dict[str, Any]]) -> None:
    """Forward and backward with the gradients of all weights, as training does it."""
    from qaprune.train.losses import task_loss

    model.requires_grad_(True)
    for batch in batches:
        task_loss(model, batch).backward()
        model.zero_grad(set_to_none=True)


def scoring(name: str, rounds: int) -> Line:
    """One criterion over the same batches as plain passes."""
    model = untrained("bert-6x384")
    batches = make_batches(model, WINDOWS)
    task = make_task(model, batches, tuning_windows=WINDOWS // 2, damping=0.01)
    ours, plain = alternate(
        lambda: load_criterion(name).score(task), lambda: plain_passes(model, batches), rounds
    )
    text = f"{ours / plain:.2f} times plain forward and backward ({ours:.2f} s against {plain:.2f} s)"
    return text, ours / plain <= SCORING


def leaving_out(rounds: int) -> Line:
    """Scores with the kept prefix against one whole pass a mask."""
    import torch

    from qaprune.gate.gates import masked
    from qaprune.prune.mask import Mask, full_mask
    from qaprune.train.losses import task_loss

    model = untrained("bert-6x384")
    batches = make_batches(model, 8)
    block = BLOCK
    task = make_task(model, batches, windows=8, block=block)
    full = full_mask(task.shape)

    def masks() -> Iterator[Mask]:
        yield full
        for layer, (heads, units) in enumerate(zip(full.heads, full.ff, strict=True)):
            for head in range(heads.size):
                yield Mask(_without(full.heads, layer, np.array([head])), full.ff)
            for first in range(0, units.size, block):
                yield Mask(full.heads, _without(full.ff, layer, np.arange(first, first + block)))

    def from_the_embeddings() -> None:
        with torch.inference_mode():
            for mask in masks():
                with masked(model, mask):
                    for batch in batches:
                        task_loss(model, batch)

    ours, whole = alternate(
        lambda: load_criterion("leave_one_out").score(task), from_the_embeddings, rounds
    )
    text = f"{whole / ours:.2f} times faster than every mask from the embeddings up ({ours:.2f} s)"
    return text, whole / ours >= PREFIX


def _without(layers: tuple[np.ndarray, ...], layer: int, closed: np.ndarray) -> tuple[np.ndarray, ...]:
    changed = layers[layer].copy()
    changed[closed] = 0
    return (*layers[:layer], changed, *layers[layer + 1 :])


def alternate(ours: Callable[[], object], other: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of both, after a round that does not count."""
    seconds: dict[Callable[[], object], list[float]] = {ours: [], other: []}
    for number in range(rounds + 1):
        for call in (ours, other):
            began = time.perf_counter()
            call()
            if number:
                seconds[call].append(time.perf_counter() - began)
    return statistics.median(seconds[ours]), statistics.median(seconds[other])


PARTS: dict[str, Callable[[int], Line]] = {
    "slice": slicing,
    "gain": lambda rounds: scoring("gain", rounds),
    "fisher": lambda rounds: scoring("fisher", rounds),
    "leave_one_out": leaving_out,
}


def main(argv: list[str] | None = None) -> int:
    """Print a line a part."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all if none is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    missed = False
    for name in args.parts or PARTS:
        text, held = PARTS[name](args.rounds)
        missed |= not held
        print(f"{name:<14} {text}{'' if held else ': beyond the bar'}", flush=True)
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
