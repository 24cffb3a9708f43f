"""What the report costs, against its bars: intervals of the full dev set, and a whole report of many rows.

    python -m benchmarks.report_cost [intervals table] [--questions 11873]

- intervals: per-question scores of 50 variants on 11,873 questions, read from their file, 2,000 resamples,
  an interval of each row and difference (the bars: 10 s and 2 GB).
- table: all files of a report of 500 rows, ten runs of two pairs on as many questions, two settings timed
  (the bars: 20 s and 2 GB).

The folders are synthetic; making them is not timed. Exit code 3: a bar was missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.pruning_core import Line, memory, reset_peak
from qaprune.report.collect import collect
from qaprune.report.rows import build_rows
from qaprune.report.stage import build_report
from tests.unit.report_data import write_evaluate, write_profile

SQUAD_DEV = 11_873
SECONDS, GIGABYTES = {"intervals": 10.0, "table": 20.0}, 2.0
VARIANTS, SEEDS = 50, (13, 14, 15, 16, 17)
SETTINGS = (("eager", 1.5), ("sdpa", 1.0))


def grid() -> dict[tuple[str, str], tuple[float, float, float, float]]:
    """Operating points for 50 rows: three fixed ones, and 16 points of three variants less one."""
    criteria, kept = ("l0", "gain", "fisher", "movement"), (75, 50, 40, 25)
    return {
        (criterion, f"h{share}-f{share}"): (0.8 - 0.1 * worse, 0.86, 0.87, 1 + (100 - share) / 50)
        for worse, criterion in enumerate(criteria)
        for share in kept
    }


def intervals(folder: Path, questions: int) -> tuple[float, int]:
    """One run: read, resample, take the intervals. Returns seconds and rows."""
    run = write_evaluate(folder, "bert", "squad2", questions=questions, shares=grid())
    began = time.perf_counter()
    rows = build_rows(collect([run], []))
    return time.perf_counter() - began, len(rows)


def table(folder: Path, questions: int) -> tuple[float, int]:
    """The whole stage on ten runs."""
    evaluate = [
        write_evaluate(folder, "bert", dataset, seed, questions, grid())
        for dataset in ("squad2", "nq")
        for seed in SEEDS
    ]
    profile = [write_profile(folder, run.name, settings=SETTINGS, shares=grid()) for run in evaluate]
    began = time.perf_counter()
    build_report({}, evaluate, profile, folder / "report")
    seconds = time.perf_counter() - began
    rows = (folder / "report" / "tables" / "points.csv").read_text(encoding="utf-8").count("\n") - 1
    return seconds, rows


PARTS: dict[str, Callable[[Path, int], tuple[float, int]]] = {"intervals": intervals, "table": table}


def measured(name: str, questions: int) -> Line:
    """One part against its bars. The peak is the process's, with what it held before."""
    with tempfile.TemporaryDirectory() as folder:
        reset_peak()
        seconds, rows = PARTS[name](Path(folder), questions)
        peak = memory("VmHWM") / 1e9
    text = f"{rows} rows of {questions:,} questions: {seconds:.1f} s, peak {peak:.2f} GB"
    return text, seconds <= SECONDS[name] and peak <= GIGABYTES


def main(argv: list[str] | None = None) -> int:
    """Print a line a part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="both if none is named")
    parser.add_argument("--questions", type=int, default=SQUAD_DEV)
    args = parser.parse_args(argv)
    missed = False
    for name in args.parts or PARTS:
        text, held = measured(name, args.questions)
        missed |= not held
        print(f"{name:<10} {text}{'' if held else ': beyond the bar'}", flush=True)
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
