"""How much of its FLOP ratio does a cut model reach? Reads the tables of a finished results folder.

For each variant and each batch and length of tables/matrix.csv, at its fastest setting: the speedup, the
ratio of the teacher's FLOPs to the variant's (at the headline's length), and the first as a share of the
second.

    python -m benchmarks.flop_ratio results/speed --budget h50-f50

The bar on a GPU: half the heads and half the feed-forward units at batch 32 x 384 in bfloat16 reach at
least 0.9.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from qaprune.errors import InputError


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of one CSV table."""
    if not path.is_file():
        raise InputError(f"{path}: no such table; expected a finished results folder")
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def shares(results: Path, budget: str | None = None) -> list[tuple[str, str, float, float]]:
    """(run and variant, cell, speedup, FLOP ratio) of every cut variant at its fastest setting."""
    points = read_table(results / "tables" / "points.csv")
    names = ("model", "dataset", "seed", "criterion", "budget", "draw", "variant")
    flops = {tuple(row[name] for name in names): float(row["flops"] or 0) for row in points}
    teachers = {key[:3]: value for key, value in flops.items() if key[-1] == "teacher"}
    found = []
    for row in read_table(results / "tables" / "matrix.csv"):
        key = tuple(row[name] for name in names)
        wanted = row["criterion"] and row["fastest"] == "yes" and row["speedup"]
        if wanted and flops.get(key) and budget in (None, row["budget"]):
            name = f"{row['model']}-{row['dataset']} {row['criterion']}-{row['budget']}/{row['variant']}"
            cell = f"{row['batch']} x {row['length']}, {row['dtype']}, {row['backend']}, {row['compile']}"
            found.append((name, cell, float(row["speedup"]), teachers[key[:3]] / flops[key]))
    return found


def main(argv: list[str] | None = None) -> int:
    """Print a line a variant and cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--budget", help="this budget alone, like h50-f50")
    args = parser.parse_args(argv)
    try:
        found = shares(args.results, args.budget)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, cell, speedup, ratio in found:
        print(f"{name:<40} {cell:<34} {speedup:5.2f}x of {ratio:5.2f}x: {speedup / ratio:.2f}")
    if not found:
        print("error: no cut variant with FLOPs and a speedup here", file=sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
