"""How far the no-answer threshold of a checkpoint wanders with the hold-out that chooses it.

    python -m benchmarks.threshold_noise RESULTS --run RUN [--checkpoints FOLDER ...]

For each checkpoint (those of the run that are kept, where none is named) the paragraphs of the SQuAD
2.0 hold-out are halved `--splits` times. One half chooses the threshold, as the single best and bagged;
the other half says what F1 it gives there, and what its own best would have given. Prints a line a
checkpoint: mean F1 of the other half and, in brackets, the standard deviation of the threshold in
logits; at last the means. Dev takes no part. Exit code 3: bagged is not at least as good on average, or
wanders more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from qaprune.errors import InputError
from qaprune.evaluate.holdout import Holdout, Outcomes, squad2_outcomes
from qaprune.evaluate.threshold import bagged
from qaprune.models.encoder import load_model
from qaprune.stage import read_stage

WAYS = ("single", "bagged", "own best")


def part(outcomes: Outcomes, chosen: np.ndarray) -> Outcomes:
    """The questions where `chosen` (bool [questions]) holds."""
    groups = tuple(np.asarray(outcomes.groups)[chosen])
    return Outcomes(*(values[chosen] for values in outcomes[:4]), groups)


def halves(outcomes: Outcomes, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """F1 of the other half, and the threshold, float [splits, ways]."""
    rng = np.random.default_rng(0)
    groups = np.asarray(outcomes.groups)
    names = np.unique(groups)
    f1, thresholds = np.empty((2, splits, len(WAYS)))
    for split in range(splits):
        first = np.isin(groups, rng.permutation(names)[: len(names) // 2])
        chooses, judges = part(outcomes, first), part(outcomes, ~first)
        thresholds[split] = (
            chooses.choose(np.ones(first.sum())),
            bagged(chooses.groups, chooses.choose),
            judges.choose(np.ones((~first).sum())),
        )
        f1[split] = [judges.f1_at(threshold) for threshold in thresholds[split]]
    return f1, thresholds


def line(name: str, f1: np.ndarray, spread: np.ndarray) -> str:
    """One row of text."""
    return f"{name:<42}" + "".join(
        f"  {way} {value:.2f} [{sd:.2f}]" for way, value, sd in zip(WAYS, f1, spread, strict=True)
    )


def kept(results: Path, run: str) -> list[Path]:
    """Folders of a run's checkpoints whose weights are still there."""
    places = [results / stage / run for stage in ("teacher", "prune", "recover")]
    return sorted(path.parent for place in places for path in place.rglob("model.safetensors"))


def main(argv: list[str] | None = None) -> int:
    """Print a line a checkpoint and the means."""
    from qaprune.train.compute import start

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--checkpoints", type=Path, nargs="+", default=[])
    parser.add_argument("--run", default="minilm-squad2-s13")
    parser.add_argument("--splits", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    settings: dict[str, Any] = {"device": "auto", "dtype": "auto", "attention": "auto"}
    try:
        compute = start(settings | {"threads": args.threads}, 0)
        pair = args.run.rsplit("-", 1)[0]
        dataset = next((p.name for p in args.results.glob("data/*") if pair.endswith(f"-{p.name}")), "")
        spec = read_stage(args.results / "teacher" / args.run)["spec"]
        if spec["task"] != "squad2":
            raise InputError(f"{args.run}: task {spec['task']}; expected a run of SQuAD 2.0's layout")
        holdout = Holdout(
            args.results / "features" / pair / "holdout.safetensors",
            args.results / "data" / dataset / "holdout.jsonl.gz",
            "squad2",
            spec["max_answer_tokens"],
        )
        rows = []
        for folder in args.checkpoints or kept(args.results, args.run):
            spans = holdout.spans(load_model(folder, compute.attention), compute)
            outcomes = squad2_outcomes(holdout.examples, spans, holdout.features.meta["answerable"])
            f1, thresholds = halves(outcomes, args.splits)
            rows.append((f1.mean(axis=0), thresholds.std(axis=0)))
            print(line("/".join(folder.parts[-2:]), *rows[-1]), flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if not rows:
        print("error: no checkpoint is kept; name some", file=sys.stderr)
        return 1
    f1, spread = np.mean(rows, axis=0)
    print(line(f"mean of {len(rows)}", f1, spread))
    return 0 if f1[1] >= f1[0] and spread[1] <= spread[0] else 3


if __name__ == "__main__":
    sys.exit(main())
