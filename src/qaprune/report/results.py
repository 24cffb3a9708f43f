"""A finished results folder as `compare` reads it: the rows of points.csv and the raw files behind them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qaprune.errors import InputError
from qaprune.report.columns import Row
from qaprune.report.csvfile import read_columns
from qaprune.report.intervals import GroupSums
from qaprune.report.rows import name_of
from qaprune.report.scores import Questions, read_questions
from qaprune.report.table_files import cell_number, check_schema
from qaprune.report.timings import Timings, read_timings

IDENTITY = ("model", "dataset", "seed", "criterion", "budget", "variant")
EXACT = ("params", "flops", "heads_kept", "ff_kept", "hidden_kept", "windows_per_question")
"""Columns that the same config fills with the same number on every machine."""
SCORES = ("f1", "questions")
"""A run of trained models has them in all rows, a run for speed alone in none."""
NUMBERS = (*SCORES, *EXACT)


@dataclass(frozen=True, slots=True)
class Results:
    """One results folder, run by run."""

    folder: Path
    rows: dict[str, dict[str, Row]]
    """run -> variant -> its row, in the table's order; of the row only IDENTITY, `draw` and NUMBERS."""
    questions: dict[str, Questions]
    """run -> its per-question scores, summed by paragraph; runs without them are missing."""
    timings: dict[str, Timings]
    """run -> raw timings; runs that were not profiled are missing."""

    def scored(self, run: str) -> bool:
        """Whether the run has scores; one of untrained models, for speed alone, has none."""
        return next(iter(self.rows[run].values()))["f1"] is not None


def read_results(folder: Path) -> Results:
    """Read tables/points.csv and, for its runs, what `evaluate` and `profile` left.

    Raises InputError where the table is missing, of another schema version, or not that of these scores.
    """
    path = folder / "tables" / "points.csv"
    if not path.is_file():
        why = "expected the results folder of a report"
        if (folder / "points.csv").is_file():
            why = "its points.csv is to be read alone; a baseline has what docs/regression.md lists"
        raise InputError(f"{folder}: no tables/points.csv here; {why}")
    rows = _read_rows(path)
    questions, timings = {}, {}
    for run in rows:
        evaluate, profile = folder / "evaluate" / run, folder / "profile" / run
        if evaluate.is_dir():
            questions[run] = read_questions(evaluate / "questions.csv.gz")
            _check_same_scores(path, run, rows[run], questions[run].sums)
        if profile.is_dir():
            timings[run] = read_timings(profile)
    return Results(folder, rows, questions, timings)


def _read_rows(path: Path) -> dict[str, dict[str, Row]]:
    columns = read_columns(path)
    check_schema(path, columns)
    missing = [name for name in (*IDENTITY, "draw", *NUMBERS) if name not in columns]
    if missing:
        raise InputError(f"{path}: expected the columns {', '.join(missing)}")
    rows: dict[str, dict[str, Row]] = {}
    for index in range(len(columns["model"])):
        where = f"{path}:{index + 2}"
        row: Row = {name: columns[name][index] for name in IDENTITY}
        row |= {name: cell_number(columns[name][index], f"{where}: {name}") for name in NUMBERS}
        row["draw"] = int(cell_number(columns["draw"][index], f"{where}: draw") or 0)
        run, variant = f"{row['model']}-{row['dataset']}-s{row['seed']}", name_of(row)
        if variant in rows.setdefault(run, {}):
            raise InputError(f"{where}: a second row of {variant} in {run}")
        rows[run][variant] = row
        first = next(iter(rows[run].values()))
        for name in SCORES:
            if (row[name] is None) != (first["f1"] is None):
                found = "nothing" if row[name] is None else f"{row[name]:g}"
                raise InputError(f"{where}: {name}: found {found}; a run has scores in all rows or in none")
    return rows


def _check_same_scores(path: Path, run: str, rows: dict[str, Row], sums: GroupSums) -> None:
    """A table that is older or newer than its scores would be compared with an interval of other models."""
    recomputed = dict(zip(sums.variants, sums.f1(), strict=True))
    for variant, row in rows.items():
        f1 = row["f1"]
        if f1 is None or variant not in recomputed or not abs(float(f1) - recomputed[variant]) <= 0.01:  # type: ignore[arg-type]
            raise InputError(
                f"{path}: f1 of {variant} in {run} is not that of evaluate/{run}; run the report again"
            )
