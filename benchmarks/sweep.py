"""Which settings of each criterion win a sweep, by the train hold-out.

    python -m benchmarks.sweep RESULTS [--run RUN]

Reads the recovered rows of a results folder of config/sweep.yaml, prints them as a Markdown table: trials
of one criterion, budget and kind of recovery together below the teacher of all, what differs among their
settings, the tokens that gate and recovery read, F1 on the hold-out; the best of each marked. Dev takes no
part.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.of_run import gate_folder, print_of_run
from qaprune.errors import InputError
from qaprune.gate.registry import base_name
from qaprune.report.tables import markdown_table
from qaprune.stage import read_stage

Group = tuple[str, str, str]
"""Trials that compare: criterion, budget and kind of recovery."""


def trials(results: Path, run: str) -> dict[Group, list[dict[str, Any]]]:
    """The recovered rows: `name`, `kind`, `settings`, `tokens`, `f1`."""
    found: dict[Group, list[dict[str, Any]]] = {}
    for path in sorted((results / "recover" / run).glob("*/*/stage.json")):
        record, kind, point = read_stage(path.parent), path.parent.name, path.parent.parent.name
        row = record["result"]
        gate = gate_folder(results, run, row["criterion"], point)
        settings = read_stage(gate)["spec"].get("settings", {}) if gate else {}
        settings = {f"gate {key}": value for key, value in settings.items()} | record["spec"]["training"]
        trial = {"name": point, "kind": kind, "settings": settings}
        trial |= {"tokens": row["train_tokens"], "f1": row["holdout_f1"]}
        group = base_name(row["criterion"]), point.removeprefix(f"{row['criterion']}-"), kind
        found.setdefault(group, []).append(trial)
    if not found:
        raise InputError(f"{results}: no recovered rows of run {run!r}; expected recover/{run}/")
    return found


def differing(rows: list[dict[str, Any]]) -> list[str]:
    """Names of the settings that are not the same in all rows."""
    names = dict.fromkeys(name for row in rows for name in row["settings"])
    return [name for name in names if len({str(row["settings"].get(name)) for row in rows}) > 1]


def teacher(results: Path, run: str) -> dict[str, Any]:
    """What the trials' one teacher recorded of itself: tokens it read, F1 on the hold-out."""
    return read_stage(results / "teacher" / run)["result"]


def table(found: dict[Group, list[dict[str, Any]]], teacher: dict[str, Any]) -> str:
    """All trials as Markdown, below the teacher that they started from."""
    body = [["teacher", "", f"{teacher['teacher_tokens']:,}", f"{teacher['holdout_f1']:.2f}"]]
    for rows in found.values():
        names, best = differing(rows), max(row["f1"] for row in rows)
        for row in rows:
            settings = ", ".join(f"{name} {row['settings'].get(name)}" for name in names)
            mark = " *" if row["f1"] == best else ""
            tokens = f"{row['tokens']:,}"
            body.append([f"{row['name']}/{row['kind']}", settings, tokens, f"{row['f1']:.2f}{mark}"])
    return markdown_table(["trial", "what differs", "tokens", "hold-out F1"], body)


def main(argv: list[str] | None = None) -> int:
    """Print the table."""

    def lines(results: Path, run: str) -> list[str]:
        return table(trials(results, run), teacher(results, run)).splitlines()

    return print_of_run(__doc__, lines, argv)


if __name__ == "__main__":
    sys.exit(main())
