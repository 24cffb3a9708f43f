"""How many gates of a run share the lowest score of their kind, and how many of those a mask keeps.

    python -m benchmarks.tied_gates RESULTS [--run RUN]

L0 ends with many gates at its lower bound. Which of them stay is no choice of the criterion's: they stay
where fewer gates are above the bound than a budget keeps. A line for each point and kind with such gates:
what each layer keeps of them. Of several masks the first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from qaprune.errors import InputError
from qaprune.gate.stage import load_scores
from qaprune.prune.mask import load_mask
from qaprune.stage import read_stage

KINDS = ("heads", "ff")


def tied(scores: np.ndarray, mask: tuple[np.ndarray, ...]) -> tuple[int, list[int]]:
    """Gates of `scores` [layers, gates] at the lowest score, and how many of them each layer keeps."""
    lowest = scores == scores.min()
    kept = [int((row & (layer != 0)).sum()) for row, layer in zip(lowest, mask, strict=True)]
    return int(lowest.sum()), kept


def points(results: Path, run: str) -> dict[str, dict[str, tuple[int, int, list[int]]]]:
    """point -> kind -> gates at the lowest score, all gates, kept ones of the former by layer."""
    paths = sorted((results / "prune" / run).glob("*/masks/0.safetensors"))
    if not paths:
        raise InputError(f"{results}: no masks of run {run!r}; expected prune/{run}/")
    found = {}
    for path in paths:
        point = path.parents[1]
        criterion = read_stage(point)["spec"]["criterion"]
        # A criterion's scores, of all budgets or of each.
        places = [results / "gate" / run / name / "scores.safetensors" for name in (point.name, criterion)]
        scores = load_scores(next((place for place in places if place.exists()), places[-1]))
        if scores.decided:  # the mask itself
            continue
        mask = load_mask(path)
        row = {}
        for kind in KINDS:
            array = getattr(scores, kind)[0]
            row[kind] = (array.size, *tied(array, getattr(mask, kind)))
        found[point.name] = row
    return found


def main(argv: list[str] | None = None) -> int:
    """Print a line a point and kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--run", default="minilm-squad2-s13")
    args = parser.parse_args(argv)
    try:
        rows = points(args.results, args.run)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for point, kinds in rows.items():
        for kind, (gates, lowest, kept) in kinds.items():
            if lowest > 1:
                text = f"{lowest:,} of {gates:,} at the lowest score, kept by layer: "
                print(f"{point:<32} {kind:<5} {text}{' '.join(map(str, kept))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
