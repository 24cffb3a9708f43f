"""`qaprune bundle`: pack source, wheels, data and models of a config for a host without network."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

MB = 1_000_000
MACHINES = {"AMD64": "x86_64", "arm64": "aarch64"}
"""What other systems call the machines that Linux calls so."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    tag = f"manylinux_2_28_{MACHINES.get(platform.machine(), platform.machine())}"
    add = parser.add_argument
    add("--config", type=Path, nargs="+", required=True, help="YAML files, merged in this order")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the bundle goes")
    add("--data-root", metavar="FOLDER", help="folder of the local files that the config names")
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

    for line in pack(args.config, args.data_root, args.out, without, target, args.part_mb, log):
        print(line)
    return 0
