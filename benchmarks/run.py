"""Run the benchmarks against this machine's own baseline: `make bench`, `make bench-save`.

    python -m benchmarks.run [--save] [--tolerance 25] [pytest arguments, such as -k decode]

Baselines lie under .benchmarks/<machine>/, one folder a fingerprint (device, cores, threads, versions):
pytest-benchmark's own folder name says nothing of the host, and times of two hosts cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.workload import THREADS
from qaprune.errors import InputError
from qaprune.jsonfile import field, read_json

ROOT = Path(__file__).parents[1]
STORAGE = ROOT / ".benchmarks"
TOLERANCE = 25
"""Per cent by which the quickest round may grow slower (docs/benchmarks.md says why so much)."""
POOLS = {f"{pool}_NUM_THREADS": str(THREADS) for pool in ("OMP", "OPENBLAS", "MKL", "RAYON")}
"""numpy and tokenizers start pools of their own, as many threads as cores unless told."""
REGRESSION = 3
"""The exit code of a slower benchmark, as of `qaprune compare`."""
MACHINE = "QAPRUNE_BENCHMARK_MACHINE"
"""Environment variable that hands `describe_machine()` to the plugin, which then needs no torch."""
NO_BASELINE = "no baseline for this machine yet: make bench-save"
SHOWN = (
    "cpu",
    "cores",
    "torch_threads",
    "platform",
    "python",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
)


def describe_machine() -> dict[str, Any]:
    """The fingerprint of this machine at the benchmarks' number of threads, and what is in it."""
    import torch

    from qaprune.profile.environment import capture, fingerprint

    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        environment = capture()
    finally:
        torch.set_num_threads(before)
    return {"fingerprint": fingerprint(environment)} | {key: environment.get(key) for key in SHOWN}


def machine_folder(machine: dict[str, Any], storage: Path) -> Path:
    """Where the baselines of a machine lie: readable, and one folder a fingerprint."""
    cpu = re.sub(r"[^a-z0-9]+", "-", str(machine["cpu"]).lower()).strip("-")
    return storage / f"{cpu}-{machine['cores']}-cores-{machine['fingerprint']}"


def newest_baseline(folder: Path) -> Path | None:
    """The last saved run: pytest-benchmark numbers the files, in a folder named after the interpreter."""
    return max(folder.glob("*/[0-9][0-9][0-9][0-9]_*.json"), key=lambda path: path.name, default=None)


def benchmark_names(path: Path) -> set[str]:
    """Names of all benchmarks of a saved run."""
    runs = field(read_json(path), "benchmarks", list, str(path))
    return {field(run, "fullname", str, f"{path}: benchmarks") for run in runs}


def pytest_options(folder: Path, baseline: Path | None, save: bool, tolerance: int) -> list[str]:
    """pytest-benchmark's options. A run that is saved is compared too, but may be slower."""
    options = ["--benchmark-only", f"--benchmark-storage=file://{folder}", "--benchmark-disable-gc"]
    options += [
        "--benchmark-columns=min,median,iqr,rounds",
        "--benchmark-sort=name",
        "--benchmark-max-time=2",
    ]
    if baseline:
        options.append(f"--benchmark-compare={baseline}")
        if not save:
            options.append(f"--benchmark-compare-fail=min:{tolerance}%")
    if save:
        options.append("--benchmark-save=baseline")
    return options


def run(
    machine: dict[str, Any],
    save: bool,
    tolerance: int,
    targets: Sequence[str] = ("benchmarks",),
    storage: Path = STORAGE,
) -> int:
    """Run pytest on `targets`, against the machine's newest baseline if there is one; its exit code."""
    folder = machine_folder(machine, storage)
    baseline = newest_baseline(folder)
    known = benchmark_names(baseline) if baseline else set()
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result.json"
        options = [*pytest_options(folder, baseline, save, tolerance), f"--benchmark-json={result}"]
        command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-p", "benchmarks.plugin"]
        command += [*options, *targets]
        # Called from a parallel test run: what is timed here runs alone.
        alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        environment = alone | POOLS | {MACHINE: json.dumps(machine)}
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        ran = benchmark_names(result) if result.exists() else set()
    if save:
        return _keep_or_drop(folder, baseline, code)
    if not baseline:
        print(NO_BASELINE)
        return code
    for name in sorted(ran - known):
        print(f"not in the baseline, not compared: {name}")
    if list(targets) == ["benchmarks"]:  # all were asked for
        for name in sorted(known - ran):
            print(f"in the baseline, not run any more: {name}")
            code = code or REGRESSION
    return code


def _keep_or_drop(folder: Path, before: Path | None, code: int) -> int:
    """A run with a failed benchmark is no baseline: what it lacks would never be compared."""
    saved = newest_baseline(folder)
    if saved == before or saved is None:
        print("nothing was saved")
        return code or 1
    if code:
        saved.unlink()
        print("not saved: not all benchmarks ran")
    else:
        print(f"saved as this machine's baseline: {saved.relative_to(folder.parent)}")
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and compare or save; exit code 3 where something was slower, else pytest's own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--save", action="store_true", help="keep this run as the machine's baseline")
    parser.add_argument("--tolerance", type=int, default=TOLERANCE, help="per cent, default %(default)s")
    args, more = parser.parse_known_args(argv)
    if args.save and more:
        parser.error(f"--save takes all benchmarks, got {' '.join(more)}")
    if args.tolerance < 0:
        parser.error(f"--tolerance: expected a per cent from 0 up, got {args.tolerance}")
    try:
        return run(describe_machine(), args.save, args.tolerance, ["benchmarks", *more])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
