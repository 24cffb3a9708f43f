"""`qaprune bundle`: pack source, wheels, data and models of a config for a host without network."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

from qaprune.options import add_config, overrides

MB = 1_000_000
MACHINES = {"AMD64": "x86_64", "arm64": "aarch64"}
"""What other systems call the machines that Linux calls so."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    tag = f"manylinux_2_28_{MACHINES.get(platform.machine(), platform.machine())}"
    add_config(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the bundle goes")
    add("--without", default="", metavar="NAME,...", help="packages that the other host has")
    add("--part-mb", type=_bytes, default=60 * MB, metavar="MB", help="size of a part (default 60)")
    add("--python-version", default=python, metavar="X.Y", help=f"the other host's (default {python})")
    add("--platform", default=tag, metavar="TAG", help=f"its glibc and machine (default {tag})")


def _bytes(megabytes: str) -> int:
    try:
        count = int(float(megabytes) * MB)
    except (ValueError, OverflowError):
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number of megabytes, got {megabytes!r}")
    return count


def main(args: argparse.Namespace) -> int:
    """Write the bundle and say what is in it."""
    from qaprune.bundle.pack import pack
    from qaprune.bundle.wheels import Target

    target = Target.parse(args.python_version, args.platform)
    without = [name.strip() for name in args.without.split(",") if name.strip()]

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    for line in pack(args.config, overrides(args), args.out, without, target, args.part_mb, log):
        print(line)
    return 0
