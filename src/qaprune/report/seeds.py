"""Several seeds of one operating point: a mean and a spread a variant."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from qaprune.report.columns import Row
from qaprune.report.rows import draws_of, point_key

FOLDED = ("f1", "delta_f1", "holdout_f1", "long_f1")
"""Columns that every random mask of a point has: of several masks their mean counts for a seed."""


class OverSeeds(NamedTuple):
    """One variant of a pair: a row a seed, in the order of the table.

    Several random masks of a seed are one row, that of the first mask with the means of `FOLDED`; `masks`
    is how many there were.
    """

    rows: tuple[Row, ...]
    masks: int

    @property
    def first(self) -> Row:
        """The first seed's row: criterion, budget and variant hold for all."""
        return self.rows[0]

    def values(self, column: str) -> list[float]:
        """The column's values, a seed each; seeds without it are left out."""
        return [float(row[column]) for row in self.rows if row[column] is not None]  # type: ignore[arg-type]

    def mean(self, column: str) -> float | None:
        """Mean over the seeds."""
        values = self.values(column)
        return statistics.fmean(values) if values else None

    def spread(self, column: str) -> float | None:
        """Standard deviation (n - 1) over the seeds; None for fewer than two."""
        values = self.values(column)
        return statistics.stdev(values) if len(values) > 1 else None


def over_seeds(group: list[Row]) -> list[OverSeeds]:
    """The variants of one pair's rows, in the order of the table."""
    draws = draws_of(group)
    found: dict[tuple[object, ...], list[Row]] = {}
    masks: dict[tuple[object, ...], int] = {}
    for row in group:
        if row["draw"]:
            continue
        key = (row["criterion"], row["budget"], row["variant"])
        of_point = draws.get(point_key(row), []) if row["variant"] == "pruned" else []
        means = {
            name: statistics.fmean(float(other[name]) for other in of_point)  # type: ignore[arg-type]
            for name in FOLDED
            if of_point and all(other[name] is not None for other in of_point)
        }
        found.setdefault(key, []).append(row | means)
        masks[key] = max(masks.get(key, 1), len(of_point))
    return [OverSeeds(tuple(rows), masks[key]) for key, rows in found.items()]


def seeds_of(group: list[Row]) -> list[object]:
    """The seeds of a pair's rows, in their order."""
    return list(dict.fromkeys(row["seed"] for row in group))
