"""How many gates of a run share the lowest score of their kind, and how many of those a mask keeps.

    python -m benchmarks.tied_gates RESULTS [--run RUN]

L0 ends with many gates at its lower bound. Which of them stay is no choice of the criterion's: they stay
where fewer gates are above the bound than a budget keeps. A line for each point and kind with such gates:
what each layer keeps of them. Of several masks the first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.of_run import gate_folder, print_of_run
from qaprune.errors import InputError
from qaprune.gate.registry import KINDS
from qaprune.gate.stage import load_scores
from qaprune.prune.mask import load_mask
from qaprune.stage import read_stage


def tied(scores: np.ndarray, mask: tuple[np.ndarray, ...]) -> tuple[int, list[int]]:
    """Gates of `scores` [layers, gates] at the lowest score, and how many of them each layer keeps."""
    lowest = scores == scores.min()
    kept = [int((row & (layer != 0)).sum()) for row, layer in zip(lowest, mask, strict=True)]
    return int(lowest.sum()), kept


def lines(results: Path, run: str) -> Iterator[str]:
    """A line for each point of a run and kind of gate with several at the lowest score."""
    paths = sorted((results / "prune" / run).glob("*/masks/0.safetensors"))
    if not paths:
        raise InputError(f"{results}: no masks of run {run!r}; expected prune/{run}/")
    for path in paths:
        point = path.parents[1]
        gate = gate_folder(results, run, read_stage(point)["spec"]["criterion"], point.name)
        if gate is None:
            continue  # a mask that was given
        scores, mask = load_scores(gate / "scores.safetensors"), load_mask(path)
        for kind in () if scores.decided else KINDS[:2]:  # decided: the scores are the mask itself
            gates = getattr(scores, kind)[0]
            lowest, kept = tied(gates, getattr(mask, kind))
            if lowest > 1:
                text = f"{lowest:,} of {gates.size:,} at the lowest score, kept by layer:"
                yield f"{point.name:<32} {kind:<5} {text} {' '.join(map(str, kept))}"


def main(argv: list[str] | None = None) -> int:
    """Print them."""
    return print_of_run(__doc__, lines, argv)


if __name__ == "__main__":
    sys.exit(main())
