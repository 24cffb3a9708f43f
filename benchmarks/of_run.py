"""What benchmarks that read one run of a results folder share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from qaprune.errors import InputError


def gate_folder(results: Path, run: str, criterion: str, point: str) -> Path | None:
    """Where the scores behind a point lie: those of all its criterion's budgets, or its own."""
    folders = (results / "gate" / run / name for name in (criterion, point))
    return next((folder for folder in folders if (folder / "stage.json").exists()), None)


def print_of_run(
    description: str, lines: Callable[[Path, str], Iterable[str]], argv: list[str] | None
) -> int:
    """The command `RESULTS [--run RUN]`: print `lines(results, run)`; bad input is one line and code 1."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--run", default="minilm-squad2-s13")
    args = parser.parse_args(argv)
    try:
        for line in lines(args.results, args.run):
            print(line)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
