"""`qaprune compare A B`: the gate between two results folders. Needs neither torch nor a GPU."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from pathlib import Path

from qaprune.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("baseline", type=Path, metavar="A", help="results folder of the baseline")
    parser.add_argument("new", type=Path, metavar="B", help="results folder to be judged")
    parser.add_argument(
        "--max-f1-drop", type=points, default=0.3, metavar="POINTS", help="F1 points (default 0.3)"
    )
    for option, what in (("--max-slowdown", "more time"), ("--max-energy", "more energy")):
        parser.add_argument(
            option,
            type=_per_cent,
            metavar="N%",
            help=f"{what}, in per cent (default 10%% on a CPU, 5%% on a GPU)",
        )
    for option, what in (
        ("--markdown", "also write the printed text here"),
        ("--json", "write all figures here"),
        ("--junit", "write JUnit XML here, a test case a figure"),
    ):
        parser.add_argument(option, type=Path, metavar="FILE", help=what)


def main(args: argparse.Namespace) -> int:
    """Print the comparison and write the asked files; 0 fine, 3 regression, 4 not comparable."""
    from qaprune.report import compare_text
    from qaprune.report.compare import compare_results
    from qaprune.report.findings import Tolerances
    from qaprune.report.results import read_results

    tolerances = Tolerances(args.max_f1_drop, args.max_slowdown, args.max_energy)
    found = compare_results(read_results(args.baseline), read_results(args.new), tolerances)
    names = (str(args.baseline), str(args.new))
    text = compare_text.markdown(found, names, tolerances)
    outputs = (
        (args.markdown, text),
        (args.json, compare_text.json_text(found, names, tolerances)),
        (args.junit, compare_text.junit(found)),
    )
    write_files([(path, content) for path, content in outputs if path is not None])
    print(text, end="")
    return found.exit_code


def write_files(outputs: list[tuple[Path, str]]) -> None:
    """Write all files beside their places, then rename: one that cannot be written leaves none behind."""
    drafts: list[tuple[Path, Path]] = []
    for path, _ in outputs:
        if path.is_dir() or [other for other, _ in outputs].count(path) > 1:
            raise InputError(f"{path}: expected a file, and another one for each output")
    try:
        for path, text in outputs:
            drafts.append((path.with_name(f".{path.name}.{os.getpid()}.tmp"), path))
            drafts[-1][0].write_text(text, encoding="utf-8")
        for draft, path in drafts:
            draft.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        for draft, _ in drafts:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)


def points(text: str) -> float:
    """An option in points of F1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected F1 points such as 0.3, got {text!r}")
    return value


def _per_cent(text: str) -> float:
    """The sign is asked for, because 0.05 could mean either."""
    if text.endswith("%"):
        with contextlib.suppress(argparse.ArgumentTypeError):
            return points(text[:-1])
    raise argparse.ArgumentTypeError(f"expected per cent such as 5%, got {text!r}")
