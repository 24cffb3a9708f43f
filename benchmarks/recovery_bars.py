"""Whether a run of config/recovery.yaml meets its bars, by the rules that keep numbers fair.

    python -m benchmarks.recovery_bars RESULTS [--run RUN ...] [--budget x2.0] [--loss 1.5] [--margin 10]

- The teacher is `--margin` F1 above `no-answer`.
- The best method at the budget, chosen on the train hold-out among the distilled rows of criteria that look
  at the task, loses at most `--loss` F1 on dev to the better of teacher and teacher+ (chosen there too).
  Like the teacher's bar it is judged by the figure itself, not by its interval.
- It is above the random masks, the small baselines (whole layers) and Torch-Pruning's Taylor selection,
  each with the same recovery, by more than the interval of the difference (paragraphs resampled).
- On the average over the points that have both, distilled is at least retrained, retrained at least pruned.

Several runs must be the seeds of one pair, asked the same questions: bars are of the means, over the rows
that all of them have. A line a bar. Exit code 3: one was missed or could not be read; 4: the runs do not
compare. Noise of training and threshold is in no interval.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qaprune.errors import InputError, NotComparable
from qaprune.gate.registry import base_name
from qaprune.report.collect import Run, read_run
from qaprune.report.intervals import bootstrap_f1, percentile_interval

RIVALS = ("random", "first_layers", "alternate_layers", "torch_pruning_global")
BLIND = (*RIVALS, "torch_pruning_layer", "uniform", "magnitude")
"""What cannot be the best method: rivals and their kin, and what does not look at the task."""
Line = tuple[str, bool | None]
"""What was found, and whether the bar holds; None: this run does not tell."""


def mean(runs: list[Run], key: str, column: str = "f1") -> float:
    """Of a row over the runs."""
    return float(np.mean([run.variants[key][column] for run in runs]))


def best_of(runs: list[Run], keys: Iterable[str]) -> str:
    """The row with the highest hold-out F1, on the mean over the runs."""
    return max(keys, key=lambda key: mean(runs, key, "holdout_f1"))


def shared(runs: list[Run]) -> list[str]:
    """Keys of the rows that all runs have."""
    return [key for key in runs[0].variants if all(key in run.variants for run in runs)]


def recovered(runs: list[Run], budget: str, kind: str) -> dict[str, str]:
    """criterion -> key of the row of that budget and variant; the first mask of several."""
    rows = {key: runs[0].variants[key] for key in shared(runs)}
    return {
        scores["criterion"]: key
        for key, scores in rows.items()
        if (scores.get("budget"), scores.get("variant")) == (budget, kind) and not scores.get("draw")
    }


def interval(samples: list[dict[str, np.ndarray]], one: str, other: str) -> tuple[float, float]:
    """Of the difference of two rows, on the mean over the runs."""
    return percentile_interval(np.mean([f1[one] - f1[other] for f1 in samples], axis=0))


def bars(runs: list[Run], budget: str, loss: float, margin: float) -> Iterator[Line]:
    """All bars of one run, or of the means of several seeds."""
    above = mean(runs, "teacher") - mean(runs, "no-answer")
    yield f"teacher {above:+.1f} F1 to no-answer (bar {margin:g})", above >= margin
    found = recovered(runs, budget, "distilled")
    methods = {name: key for name, key in found.items() if base_name(name) not in BLIND}
    if not methods:
        yield f"no distilled row at {budget} of a criterion that looks at the task", None
        return
    # Seeds share dev and so the paragraphs of each resample: differences stay paired within them.
    samples = [dict(zip(run.sums.variants, bootstrap_f1(run.sums), strict=True)) for run in runs]
    best = best_of(runs, methods.values())
    reference = best_of(runs, (name for name in ("teacher", "teacher+") if name in shared(runs)))
    lost = mean(runs, reference) - mean(runs, best)
    low, high = interval(samples, reference, best)
    text = f"{best}, best on the hold-out: {lost:.1f} F1 [{low:.1f}, {high:.1f}] lost to {reference}"
    yield f"{text} (bar {loss:g})", lost <= loss
    for rival in RIVALS:
        # Under its own name, or where it has another one at this budget (`l0@ends`) the best of those.
        own = [key for name, key in found.items() if base_name(name) == rival]
        if not own:
            yield f"{rival}: no distilled row at {budget}", None
            continue
        key = found.get(rival) or best_of(runs, own)
        low, high = interval(samples, best, key)
        lead = mean(runs, best) - mean(runs, key)
        yield f"{lead:+.1f} F1 [{low:+.1f}, {high:+.1f}] to {rival}", low > 0
    yield from steps(runs)


def steps(runs: list[Run]) -> Iterator[Line]:
    """Mean gains of retraining over pruning, and of distillation over retraining."""
    by_point: dict[tuple[Any, Any], dict[str, float]] = {}
    for key in shared(runs):
        scores = runs[0].variants[key]
        if scores.get("criterion") and not scores.get("draw"):
            point = by_point.setdefault((scores["criterion"], scores["budget"]), {})
            point[scores["variant"]] = mean(runs, key)
    for after, before in (("distilled", "retrained"), ("retrained", "pruned")):
        gains = [row[after] - row[before] for row in by_point.values() if {after, before} <= row.keys()]
        if gains:
            gain = float(np.mean(gains))
            yield f"{after} {gain:+.1f} F1 to {before}, mean of {len(gains)} point(s)", gain >= 0
        else:
            yield f"no point is both {before} and {after}", None


def check_seeds(runs: list[Run]) -> None:
    """Raise NotComparable unless the runs are seeds of one pair that were asked the same questions."""
    first = runs[0]
    if len({run.name for run in runs}) < len(runs) or len({(run.model, run.dataset) for run in runs}) > 1:
        raise NotComparable(
            f"{', '.join(run.name for run in runs)}: expected other seeds of one model and data set"
        )
    for run in runs[1:]:
        if (run.sums.groups, run.questions) != (first.sums.groups, first.questions):
            raise NotComparable(f"{first.name} and {run.name}: scored on other questions")


def main(argv: list[str] | None = None) -> int:
    """Print a line a bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--run", nargs="+", default=["minilm-squad2-s13"])
    parser.add_argument("--budget", default="x2.0")
    parser.add_argument("--loss", type=float, default=1.5)
    parser.add_argument("--margin", type=float, default=10.0)
    args = parser.parse_args(argv)
    try:
        runs = [read_run(args.results / "evaluate" / run, None) for run in args.run]
        check_seeds(runs)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    lines = list(bars(runs, args.budget, args.loss, args.margin))
    for text, held in lines:
        print(f"{'not measured' if held is None else 'holds' if held else 'MISSED':<12} {text}")
    return 0 if all(held for _, held in lines) else 3


if __name__ == "__main__":
    sys.exit(main())
