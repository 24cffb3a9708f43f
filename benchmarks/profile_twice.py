"""Do two profiles of one finished run agree? Bars: 5 % in every speedup on a CPU, 1 % on a GPU.

Calls `qaprune profile` twice, in two processes, with spec and inputs of a run that was profiled before, and
compares the speedups of every variant and cell. The results folder stays as it is.

    python -m benchmarks.profile_twice results/embedded --run bert-squad2-s13

Run it by hand on an otherwise idle machine; it takes twice as long as the run's profile did. Exit codes:
0 they agree, 1 bad input, 3 a difference beyond `--within`, 4 nothing that counts could be compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qaprune.errors import InputError
from qaprune.plan import TEACHER
from qaprune.profile.settings import Setting, fastest
from qaprune.report.intervals import paired_ratios, speedup_interval
from qaprune.report.timings import Timings, read_timings
from qaprune.specs import VERSIONS
from qaprune.stage import digest, read_stage

WITHIN_CPU, WITHIN_GPU = 5.0, 1.0
"""Per cent that two speedups may differ by."""
COUNTED_BATCH = 8
"""Below it a pass is so short that starting it is what is timed: such cells are shown and do not count."""
OWN_FASTEST = "each at its own fastest"
RESAMPLES = 1  # the interval is not used: what is compared are the medians themselves
DISAGREE, NOT_COMPARABLE = 3, 4

Call = Callable[[list[str]], int]
Rounds = dict[int, float]


@dataclass(frozen=True, slots=True)
class Pair:
    """The speedup of one variant in one cell, as both profiles have it."""

    variant: str
    batch: int
    cell: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """Per cent more in the second."""
        return 100 * (self.second / self.first - 1)

    @property
    def counts(self) -> bool:
        return self.batch >= COUNTED_BATCH


def find_inputs(results: Path, record: dict[str, Any]) -> list[str]:
    """The `--variant` and other input options of a finished profile, found by their digests.

    So whatever a profile read is found again, and nothing else: an input that was made anew since then has
    another digest.
    """
    wanted: dict[str, str] = record["inputs"]
    found = {digest(path): path for path in _stage_folders(results)}
    files = (path for path in sorted((results / "data").glob("*/*")) if path.is_file())
    found |= {digest(path): path for path in files}
    options = []
    for name, value in sorted(wanted.items()):
        if value not in found:
            raise InputError(
                f"{results}: the input '{name}' is not there as it was profiled; run the DAG again first"
            )
        kind, _, key = name.partition(" ")
        options += [f"--{kind}", f"{key}={found[value]}" if key else str(found[value])]
    return options


def _stage_folders(results: Path) -> Iterable[Path]:
    """Folders of finished stages."""
    for path in sorted(results.rglob("stage.json")):
        if {"stage", "spec", "inputs"} <= read_stage(path.parent).keys():
            yield path.parent


def profile_command(results: Path, run: str) -> list[str]:
    """The command that profiles a run as it was profiled before, without `--out`."""
    folder = results / "profile" / run
    if not (folder / "stage.json").exists():
        known = sorted(path.parent.name for path in results.glob("profile/*/stage.json"))
        raise InputError(f"{folder}: no finished profile; profiled runs here: {', '.join(known) or 'none'}")
    record = read_stage(folder)
    version = record["spec"].get("version")
    if version != VERSIONS["profile"]:
        raise InputError(
            f"{folder}: made by version {version} of the stage, this is version {VERSIONS['profile']}; "
            "run the DAG again first"
        )
    command = [sys.executable, "-m", "qaprune", "profile", "--spec", json.dumps(record["spec"])]
    return command + find_inputs(results, record)


def profile_twice(results: Path, run: str, call: Call = subprocess.call) -> tuple[Timings, Timings]:
    """Both profiles of a run, each from a process of its own."""
    command = profile_command(results, run)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in ("first", "second"):
            out = Path(scratch) / number / run
            code = call([*command, "--out", str(out)])
            if code:
                raise InputError(f"{run}: the {number} profile ended with exit code {code}")
            found.append(read_timings(out))
    return found[0], found[1]


def compare(first: Timings, second: Timings) -> tuple[list[Pair], list[str]]:
    """All speedups, those that count last and by growing difference; and what only one profile has."""
    sides = [speedups(first), speedups(second)]
    pairs = [
        Pair(variant, batch, cell, sides[0][batch, cell, variant], sides[1][batch, cell, variant])
        for batch, cell, variant in sides[0].keys() & sides[1].keys()
    ]
    lone = sorted(f"{variant} at {cell}" for _, cell, variant in sides[0].keys() ^ sides[1].keys())
    pairs.sort(key=lambda pair: (pair.counts, abs(pair.difference), pair.variant, pair.cell))
    return pairs, lone


def speedups(timings: Timings) -> dict[tuple[int, str, str], float]:
    """(batch, cell, variant) -> speedup: at each setting, and of several, each side at its fastest."""
    found = {}
    for (setting, variant), rounds in timings.seconds.items():
        teacher = timings.seconds.get((setting, TEACHER))
        if variant != TEACHER and teacher is not None:
            found[setting[0], _named(setting), variant] = _speedup(teacher, rounds)
    variants = {variant for _, variant in timings.seconds}
    for batch, length in {setting[:2] for setting, _ in timings.seconds}:
        best = {
            variant: rounds[fastest(rounds)]
            for variant in variants
            if (rounds := timings.at(batch, length, variant))
        }
        settings = {setting for setting, _ in timings.seconds if setting[:2] == (batch, length)}
        if len(settings) > 1 and TEACHER in best:
            cell = f"{batch} x {length} {OWN_FASTEST}"
            for variant in best.keys() - {TEACHER}:
                found[batch, cell, variant] = _speedup(best[TEACHER], best[variant])
    return found


def _named(setting: Setting) -> str:
    """`8 x 128 float32 sdpa off`."""
    batch, length, *more = setting
    return f"{batch} x {length} {' '.join(map(str, more))}"


def _speedup(teacher: Rounds, variant: Rounds) -> float:
    return speedup_interval(paired_ratios(teacher, variant), RESAMPLES)[0]


def table(pairs: Sequence[Pair]) -> str:
    """A line a speedup; the largest difference that counts is the last one."""
    variants = max((len(pair.variant) for pair in pairs), default=0)
    cells = max((len(pair.cell) for pair in pairs), default=0)
    lines = [f"{'variant':{variants}}  {'cell':{cells}}   first  second  difference"]
    for pair in pairs:
        note = "" if pair.counts else f"  (not counted: batch below {COUNTED_BATCH})"
        lines.append(
            f"{pair.variant:{variants}}  {pair.cell:{cells}}  {pair.first:6.3f}  {pair.second:6.3f}  "
            f"{pair.difference:+8.2f} %{note}"
        )
    return "\n".join(lines)


def judge(pairs: Sequence[Pair], lone: Sequence[str], within: float) -> tuple[int, str]:
    """The exit code, and the line that says why."""
    counted = [pair for pair in pairs if pair.counts]
    largest = max(counted, key=lambda pair: abs(pair.difference), default=None)
    if largest is None:
        return NOT_COMPARABLE, f"no variant was timed beside the teacher at batch {COUNTED_BATCH} or more"
    text = f"largest difference {largest.difference:+.2f} % ({largest.variant}, {largest.cell})"
    if abs(largest.difference) > within:
        return DISAGREE, f"{text}: beyond {within:g} %"
    if lone:
        return NOT_COMPARABLE, f"{text}: within {within:g} %, but only one profile has {', '.join(lone)}"
    return 0, f"{text}: within {within:g} %"


def main(argv: Sequence[str] | None = None, call: Call = subprocess.call) -> int:
    """Profile twice, print all speedups and the verdict."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile_twice", description=__doc__.splitlines()[0]
    )
    parser.add_argument("results", type=Path, help="a results folder whose run was profiled")
    parser.add_argument("--run", required=True, help="model-dataset-seed, such as bert-squad2-s13")
    parser.add_argument(
        "--within",
        type=float,
        help=f"per cent; default {WITHIN_CPU:g} on a CPU, {WITHIN_GPU:g} on a GPU",
    )
    args = parser.parse_args(argv)
    if args.within is not None and not args.within >= 0:
        parser.error(f"--within: expected a per cent from 0 up, got {args.within}")
    try:
        first, second = profile_twice(args.results, args.run, call)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    pairs, lone = compare(first, second)
    within = args.within
    if within is None:
        within = WITHIN_GPU if first.environment.get("gpu") else WITHIN_CPU
    code, verdict = judge(pairs, lone, within)
    print(table(pairs))
    print(verdict)
    return code


if __name__ == "__main__":
    sys.exit(main())
