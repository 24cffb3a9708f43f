"""points.csv and matrix.csv read back into the rows that they were written from."""

from __future__ import annotations

import math
from pathlib import Path

from qaprune.errors import InputError
from qaprune.report.columns import SCHEMA_VERSION, Row
from qaprune.report.csvfile import read_columns

IDENTITY = ("model", "dataset", "seed", "criterion", "budget", "draw", "variant")
"""What tells the rows of a table apart."""
WORDS = frozenset(
    (
        *("model", "dataset", "criterion", "budget", "variant", "reference"),
        *("dtype", "backend", "compile", "teacher_dtype", "teacher_backend", "teacher_compile"),
        *("fastest", "device", "fingerprint", "not_measured"),
    )
)
"""Columns of text; all others are numbers."""


def tables_folder(results: Path) -> Path | None:
    """Where a results folder has its tables; a folder of tables alone, as committed ones are, is it."""
    return next((f for f in (results / "tables", results) if (f / "points.csv").is_file()), None)


def require_tables(results: Path) -> Path:
    """The same; raises InputError where there are none."""
    if (folder := tables_folder(results)) is None:
        why = "expected the results folder of a report" if results.is_dir() else "no such folder"
        raise InputError(f"{results}: no tables/points.csv here; {why}")
    return folder


def read_rows(path: Path, names: tuple[str, ...]) -> list[Row]:
    """The rows of a table, each with the columns `names`; None where a cell is empty or the column missing.

    Raises InputError for another schema version, a missing column of IDENTITY, or a number that is none.
    """
    columns = read_columns(path)
    check_schema(path, columns)
    missing = [name for name in IDENTITY if name not in columns]
    if missing:
        raise InputError(f"{path}: expected the columns {', '.join(missing)}")
    rows = []
    for index in range(len(columns["model"])):
        row: Row = dict.fromkeys(names)
        for name in names:
            if text := columns.get(name, {index: ""})[index]:
                row[name] = text if name in WORDS else cell_number(text, f"{path}:{index + 2}: {name}")
        rows.append(row)
    return rows


def check_schema(path: Path, columns: dict[str, list[str]]) -> None:
    """Refuse a table of another schema version, or one put together from several."""
    versions = sorted(set(columns.get("schema_version", [])))
    if not versions:
        raise InputError(f"{path}: expected rows with a schema_version")
    if versions != [str(SCHEMA_VERSION)]:
        found = " and ".join(version or "none" for version in versions)
        raise InputError(
            f"{path}: schema version {found}; this qaprune reads version {SCHEMA_VERSION}, so write the "
            "tables again with it"
        )


def cell_number(text: str, where: str) -> int | float | None:
    """A cell as a number; None where it is empty."""
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: expected a number, found {text!r}")
    return value
