"""Which measured point meets a need: chosen on the hold-out and by its times, and only then read on dev."""

from __future__ import annotations

import difflib
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qaprune.errors import InputError, NotComparable
from qaprune.report.choice import ROUNDING, fastest_first
from qaprune.report.columns import MATRIX_NAMES, NAMES, Row
from qaprune.report.rows import better_teacher, name_of, untrained
from qaprune.report.table_files import IDENTITY, read_rows, require_tables

RULE = (
    "Of the timed points that lose at most --max-f1-drop on the hold-out, against the better of teacher "
    "and teacher+ there, and whose speedup is at least --min-speedup even at the lower end of its 95 % "
    "interval, the fastest. Of one point's variants, which are of the same size, the best on the hold-out. "
    "Dev is read after the choice."
)
DROP, SPEED = "--max-f1-drop", "--min-speedup"
SPEED_COLUMNS = tuple(name for name in MATRIX_NAMES if name not in (*IDENTITY, "fastest", "schema_version"))
"""What a cell of matrix.csv says of a row instead of its headline cell."""


@dataclass(frozen=True, slots=True)
class Need:
    """What is asked for; `batch` and `length` None: the headline cell of the table."""

    dataset: str
    max_f1_drop: float
    min_speedup: float | None = None
    model: str | None = None
    batch: int | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One timed row, what it loses on the hold-out (points of F1, less is better) and against whom."""

    row: Row
    results: Path
    drop: float
    reference: Row


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant of an operating point: a row a seed, the best on the hold-out first."""

    seeds: tuple[Measured, ...]

    @property
    def point(self) -> tuple[object, object]:
        """Criterion and budget."""
        row = self.seeds[0].row
        return row["criterion"], row["budget"]

    @property
    def name(self) -> str:
        return name_of(self.seeds[0].row)

    @property
    def drop(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(seed.drop for seed in self.seeds)

    @property
    def speedup(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(_float(seed.row["speedup"]) for seed in self.seeds)

    def mean(self, column: str) -> float | None:
        """Of a column over the seeds; None where one has no figure."""
        values = [seed.row[column] for seed in self.seeds]
        return None if None in values else statistics.fmean(map(_float, values))

    @property
    def speedup_low(self) -> float:
        """The lowest lower end of any seed."""
        return min(_float(seed.row["speedup_low"]) for seed in self.seeds)


@dataclass(frozen=True, slots=True)
class Miss:
    """A point that breaks one limit alone (or, where none does, both), and how far it is off, in shares of
    the limit."""

    limit: str
    candidate: Candidate
    share: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The points that meet the need, the recommended first; else the closest misses, the nearest first."""

    model: str
    points: tuple[Candidate, ...]
    misses: tuple[Miss, ...]
    left_out: tuple[str, ...] = ()
    """Points that were timed at some of the seeds alone: no mean of theirs compares with the others'."""


def recommend(folders: Iterable[Path], need: Need) -> list[Answer]:
    """One answer a model, since a speedup is one over a model's own teacher.

    Raises InputError where a table lacks what is asked for, NotComparable where a model's rows were timed
    on different machines.
    """
    tables = [(folder, require_tables(folder)) for folder in folders]
    rows = [(row, folder) for folder, path in tables for row in read_rows(path / "points.csv", NAMES)]
    _check_unique(rows)
    rows = _named(rows, "dataset", need.dataset)
    if need.model is not None:
        rows = _named(rows, "model", need.model)
    by_model: dict[str, list[tuple[Row, Path]]] = {}
    for row, folder in rows:
        by_model.setdefault(str(row["model"]), []).append((row, folder))
    if need.batch is not None or need.length is not None:
        cells = [cell for _, path in tables for cell in read_rows(path / "matrix.csv", MATRIX_NAMES)]
        by_model = {model: _at_shape(model, group, cells, need) for model, group in by_model.items()}
    return [_answer(model, group, need) for model, group in by_model.items()]


def _answer(model: str, rows: list[tuple[Row, Path]], need: Need) -> Answer:
    found = _candidates(f"{model} on {need.dataset}", rows)
    most = max(len(each.seeds) for each in found)
    # Of a point's variants the best stands for it before any limit is looked at: their times differ by
    # noise alone, which must not choose among them.
    candidates = fastest_first(each for each in found if len(each.seeds) == most)
    left_out = tuple(each.name for each in found if len(each.seeds) < most)
    good = [each for each in candidates if _drop_excess(each, need) <= 0 and _speed_lack(each, need) <= 0]
    misses = () if good else tuple(_misses(candidates, need))
    return Answer(model, tuple(good), misses, left_out)


def _candidates(what: str, rows: list[tuple[Row, Path]]) -> list[Candidate]:
    if untrained([row for row, _ in rows]):
        raise InputError(
            f"{what}: untrained models, timed for speed alone; there is no F1 to choose a point by"
        )
    timed = [(row, folder) for row, folder in rows if row["criterion"] and row["speedup"] is not None]
    if not timed:
        reasons = [row["not_measured"] for row, _ in rows if row["not_measured"]]
        raise InputError(f"{what}: no point was timed" + (f" ({reasons[0]})" if reasons else ""))
    _check_one_machine(what, timed)
    teachers: dict[object, dict[str, Row]] = {}
    for row, _ in rows:
        if not row["criterion"]:
            teachers.setdefault(row["seed"], {})[str(row["variant"])] = row
    seeds: dict[tuple[object, ...], list[Measured]] = {}
    for row, folder in timed:
        found = teachers.get(row["seed"], {})
        if "teacher" not in found:
            raise InputError(f"{what}, seed {row['seed']}: expected a row 'teacher'")
        reference = found[better_teacher(found)]
        for each in (reference, row):
            if each["holdout_f1"] is None:
                raise InputError(
                    f"{what}, seed {row['seed']}: {name_of(each)} has no holdout_f1 to choose by"
                )
        drop = _float(reference["holdout_f1"]) - _float(row["holdout_f1"])
        key = (row["criterion"], row["budget"], row["variant"])
        seeds.setdefault(key, []).append(Measured(row, folder, drop, reference))
    return [Candidate(tuple(sorted(group, key=lambda seed: seed.drop))) for group in seeds.values()]


def _drop_excess(candidate: Candidate, need: Need) -> float:
    """F1 points lost on the hold-out beyond what is allowed; zero or less where it is met."""
    excess = candidate.drop - need.max_f1_drop
    return 0.0 if abs(excess) <= ROUNDING else excess


def _speed_lack(candidate: Candidate, need: Need) -> float:
    """What the lower end of the speedup lacks; zero or less where it is met."""
    if need.min_speedup is None:
        return 0.0
    lack = need.min_speedup - candidate.speedup_low
    return 0.0 if abs(lack) <= ROUNDING else lack


def _misses(candidates: list[Candidate], need: Need) -> list[Miss]:
    def off(each: Candidate) -> tuple[float, float]:
        return (
            _share(_drop_excess(each, need), need.max_f1_drop),
            _share(_speed_lack(each, need), need.min_speedup or 0.0),
        )

    found = []
    for limit, this, other in ((DROP, 0, 1), (SPEED, 1, 0)):
        alone = [each for each in candidates if off(each)[other] == 0]
        if alone:
            nearest = min(alone, key=lambda each: (off(each)[this], each.drop))
            found.append(Miss(limit, nearest, off(nearest)[this]))
    if not found:
        nearest = min(candidates, key=lambda each: (sum(off(each)), each.drop))
        found.append(Miss(f"{DROP} and {SPEED}", nearest, sum(off(nearest))))
    return sorted(found, key=lambda miss: miss.share)


def _share(excess: float, limit: float) -> float:
    if excess <= 0:
        return 0.0
    return excess / limit if limit else math.inf


def _named(rows: list[tuple[Row, Path]], column: str, name: str) -> list[tuple[Row, Path]]:
    """The rows of that data set or model."""
    known = list(dict.fromkeys(str(row[column]) for row, _ in rows))
    if name in known:
        return [(row, folder) for row, folder in rows if row[column] == name]
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
    raise InputError(f"--{column}: no rows of {name!r}{hint}")


def _at_shape(
    model: str, rows: list[tuple[Row, Path]], cells: list[Row], need: Need
) -> list[tuple[Row, Path]]:
    """A model's rows with the speed of another batch and length, each side at its fastest setting there."""
    mine = [
        cell
        for cell in cells
        if (cell["model"], cell["dataset"]) == (model, need.dataset) and cell["latency_ms"] is not None
    ]
    shapes = list(dict.fromkeys((cell["batch"], cell["length"]) for cell in mine))
    asked = [
        shape for shape in shapes if need.batch in (None, shape[0]) and need.length in (None, shape[1])
    ]
    timed = f"there are (batch x length) {', '.join(f'{batch} x {length}' for batch, length in shapes)}"
    if not shapes:
        raise InputError(f"{model} on {need.dataset}: nothing was timed")
    if not asked:
        raise InputError(f"--batch, --length: {model} was not timed at that shape; {timed}")
    if len(asked) > 1:
        raise InputError(f"--batch, --length: name both; {timed}")
    chosen = {
        tuple(cell[name] for name in IDENTITY): {name: cell[name] for name in SPEED_COLUMNS}
        for cell in mine
        if (cell["batch"], cell["length"]) == asked[0] and cell["fastest"] == "yes"
    }
    nothing: Row = dict.fromkeys(SPEED_COLUMNS)
    return [
        (row | chosen.get(tuple(row[name] for name in IDENTITY), nothing), folder) for row, folder in rows
    ]


def _check_unique(rows: list[tuple[Row, Path]]) -> None:
    seen: dict[tuple[object, ...], Path] = {}
    for row, folder in rows:
        key = tuple(row[name] for name in IDENTITY)
        if key in seen:
            where = f"{seen[key]} and {folder}" if seen[key] != folder else f"{folder} twice"
            raise InputError(
                f"{where}: {name_of(row)} of {row['model']}-{row['dataset']}-s{row['seed']}; expected each "
                "row once"
            )
        seen[key] = folder


def _check_one_machine(what: str, timed: list[tuple[Row, Path]]) -> None:
    machines = {row["fingerprint"]: row["device"] for row, _ in timed}
    if len(machines) > 1:
        named = ", ".join(f"{device} ({fingerprint})" for fingerprint, device in machines.items())
        raise NotComparable(
            f"{what}: timed on {len(machines)} machines, {named}; their speeds do not compare"
        )


def _float(value: object) -> float:
    return float(value)  # type: ignore[arg-type]
