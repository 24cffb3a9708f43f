"""Whether a run of config/recovery.yaml meets its bars, by the rules that keep numbers fair.

    python -m benchmarks.recovery_bars RESULTS [--run RUN] [--budget x2.0] [--loss 1.5] [--margin 10]

- The teacher is `--margin` F1 above `no-answer`.
- The best method at the budget, chosen on the train hold-out among the recovered rows of criteria that look
  at the task, loses at most `--loss` F1 on dev to the better of teacher and teacher+ (chosen there too).
- It is above the random masks, the small baselines (whole layers) and Torch-Pruning's Taylor selection,
  each with the same recovery, by more than the interval of the difference (paragraphs resampled).
- On the average over the points that have both, distilled is at least retrained, retrained at least pruned.

A line a bar. Exit code 3: one was missed or could not be read. No interval has training noise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qaprune.errors import InputError
from qaprune.gate.registry import base_name
from qaprune.report.collect import Run, read_run
from qaprune.report.intervals import bootstrap_f1, percentile_interval

RIVALS = ("random", "first_layers", "alternate_layers", "torch_pruning_global")
BLIND = (*RIVALS, "torch_pruning_layer", "uniform")
"""What cannot be the best method: rivals and their kin, and what does not look at the task."""
Line = tuple[str, bool | None]
"""What was found, and whether the bar holds; None: this run does not tell."""


def best_teacher(rows: dict[str, Any]) -> str:
    """The better of teacher and teacher+ on the hold-out."""
    found = [name for name in ("teacher", "teacher+") if name in rows]
    return max(found, key=lambda name: rows[name]["holdout_f1"])


def recovered(run: Run, budget: str, kind: str) -> dict[str, str]:
    """criterion -> key of the row of that budget and variant; the first mask of several."""
    return {
        scores["criterion"]: key
        for key, scores in run.variants.items()
        if (scores.get("budget"), scores.get("variant")) == (budget, kind) and not scores.get("draw")
    }


def bars(run: Run, budget: str, loss: float, margin: float) -> Iterator[Line]:
    """All bars of one run."""
    rows = run.variants
    above = rows["teacher"]["f1"] - rows["no-answer"]["f1"]
    yield f"teacher {above:+.1f} F1 to no-answer (bar {margin:g})", above >= margin
    found = recovered(run, budget, "distilled")
    methods = {name: key for name, key in found.items() if base_name(name) not in BLIND}
    if not methods:
        yield f"no distilled row at {budget} of a criterion that looks at the task", None
        return
    samples = dict(zip(run.sums.variants, bootstrap_f1(run.sums), strict=True))
    best = max(methods.values(), key=lambda key: rows[key]["holdout_f1"])
    reference = best_teacher(rows)
    lost = rows[reference]["f1"] - rows[best]["f1"]
    yield f"{best}, best on the hold-out: {lost:.1f} F1 lost to {reference} (bar {loss:g})", lost <= loss
    for rival in RIVALS:
        if rival not in found:
            yield f"{rival}: no distilled row at {budget}", None
            continue
        low, high = percentile_interval(samples[best] - samples[found[rival]])
        lead = rows[best]["f1"] - rows[found[rival]]["f1"]
        yield f"{lead:+.1f} F1 [{low:+.1f}, {high:+.1f}] to {rival}", low > 0
    yield from steps(run)


def steps(run: Run) -> Iterator[Line]:
    """Mean gains of retraining over pruning, and of distillation over retraining."""
    by_point: dict[tuple[Any, Any], dict[str, float]] = {}
    for scores in run.variants.values():
        if scores.get("criterion") and not scores.get("draw"):
            point = by_point.setdefault((scores["criterion"], scores["budget"]), {})
            point[scores["variant"]] = scores["f1"]
    for after, before in (("distilled", "retrained"), ("retrained", "pruned")):
        gains = [row[after] - row[before] for row in by_point.values() if {after, before} <= row.keys()]
        if gains:
            mean = float(np.mean(gains))
            yield f"{after} {mean:+.1f} F1 to {before}, mean of {len(gains)} point(s)", mean >= 0
        else:
            yield f"no point is both {before} and {after}", None


def main(argv: list[str] | None = None) -> int:
    """Print a line a bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--run", default="minilm-squad2-s13")
    parser.add_argument("--budget", default="x2.0")
    parser.add_argument("--loss", type=float, default=1.5)
    parser.add_argument("--margin", type=float, default=10.0)
    args = parser.parse_args(argv)
    try:
        run = read_run(args.results / "evaluate" / args.run, None)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    lines = list(bars(run, args.budget, args.loss, args.margin))
    for text, held in lines:
        print(f"{'not measured' if held is None else 'holds' if held else 'MISSED':<12} {text}")
    return 0 if all(held for _, held in lines) else 3


if __name__ == "__main__":
    sys.exit(main())
