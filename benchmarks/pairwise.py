"""Which rows of a run differ in F1 by more than their interval, beyond the differences to the teacher.

    python -m benchmarks.pairwise RESULTS --run RUN [--variant distilled [teacher ...]]

Prints, for each pair of rows of those variants, the difference of F1 on dev and its 95 % interval over
resampled paragraphs, one resampling for all; `*` marks those whose interval leaves out 0. With many pairs
one in twenty does so by chance. Training noise is not in the intervals.
"""

from __future__ import annotations

import argparse
import sys
from itertools import combinations
from pathlib import Path

from qaprune.errors import InputError
from qaprune.report.collect import read_run
from qaprune.report.intervals import bootstrap_f1, percentile_interval


def main(argv: list[str] | None = None) -> int:
    """Print a line a pair, the better row first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--run", required=True)
    parser.add_argument("--variant", nargs="+", default=["distilled"])
    args = parser.parse_args(argv)
    try:
        run = read_run(args.results / "evaluate" / args.run, None)
        known = list(dict.fromkeys(str(scores["variant"]) for scores in run.variants.values()))
        if unknown := [name for name in args.variant if name not in known]:
            raise InputError(
                f"--variant: {args.run} has no row {unknown[0]!r}; there are {', '.join(known)}"
            )
        names = [key for key, scores in run.variants.items() if scores["variant"] in args.variant]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    samples = dict(zip(run.sums.variants, bootstrap_f1(run.sums), strict=True))
    print("F1 of the first less that of the second, and its 95 % interval; * where that leaves out 0")
    names.sort(key=lambda key: -run.variants[key]["f1"])
    width = max(map(len, names))
    for better, worse in combinations(names, 2):
        low, high = percentile_interval(samples[better] - samples[worse])
        difference = run.variants[better]["f1"] - run.variants[worse]["f1"]
        mark = "*" if low > 0 or high < 0 else " "
        print(f"{mark} {better:<{width}} {worse:<{width}} {difference:+5.1f}  [{low:+.1f}, {high:+.1f}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
