"""`qaprune show RESULTS`: table and plot in a terminal, of a finished folder or of what is there so far."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from qaprune.errors import InputError

if TYPE_CHECKING:
    from qaprune.plan import Plan

WIDTH = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("results", type=Path, help="a results folder, or a folder of its tables alone")
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="the config of an unfinished folder, to say what is planned (default: config/NAME.yaml)",
    )


def main(args: argparse.Namespace) -> int:
    """Print the tables, or the rows that an unfinished run has by now and what it lacks."""
    from qaprune.report.columns import NAMES
    from qaprune.report.table_files import read_rows, tables_folder
    from qaprune.report.terminal import print_terminal

    tables = tables_folder(args.results)
    if tables is None:
        return _unfinished(args.results, args.config)
    print_terminal(read_rows(tables / "points.csv", NAMES), sys.stdout)
    print(f"\ntables: {tables}")
    if (args.results / "plots").is_dir():
        print(f"plots:  {args.results / 'plots'}")
    return 0


def _unfinished(results: Path, config: list[Path] | None) -> int:
    from qaprune.report import unfinished
    from qaprune.report.terminal import print_terminal

    done = unfinished.done_folders(results)
    unfinished.require_some(results, done)
    plan = _plan(results, config)
    _say(f"{results}: not finished")
    _say(unfinished.progress_line(done, plan), "  ")
    if rows := unfinished.rows_so_far(done, plan):
        print()
        print_terminal(rows, sys.stdout)
    print("\nmissing:")
    for line in unfinished.missing_lines(results, done, plan):
        _say(line, "  ")
    return 0


def _plan(results: Path, config: list[Path] | None) -> Plan | None:
    """The plan that the folder belongs to: of the config that was named, else of the one of its name."""
    from qaprune.config import ROOT, load_config
    from qaprune.plan import make_plan

    name = results.resolve().name
    if config is not None:
        plan = make_plan(load_config(config))
        if plan.config["name"] != name:
            raise InputError(f"--config: is that of {plan.config['name']!r}, but the folder is {name!r}")
        return plan
    try:
        return make_plan(load_config([ROOT / "config" / f"{name}.yaml"]))
    except InputError:
        return None  # an overlay of the user's own, or data that is not on this machine


def _say(line: str, indent: str = "") -> None:
    print(
        textwrap.fill(
            line, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
        )
    )
