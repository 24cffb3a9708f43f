"""Options of the command line that several commands have."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_config(
    parser: argparse.ArgumentParser, text: str = "YAML files, merged in this order", required: bool = True
) -> None:
    """`--config FILE...`, also several times, and `--data-root`: Snakemake's `--config data_root=`."""
    parser.add_argument(
        "--config", type=Path, nargs="+", action="extend", metavar="FILE", required=required, help=text
    )
    parser.add_argument(
        "--data-root", metavar="FOLDER", help="folder of the local files that the config names"
    )


def overrides(args: argparse.Namespace) -> dict[str, str]:
    """What the command line lays over the config."""
    return {"data_root": args.data_root} if args.data_root else {}
