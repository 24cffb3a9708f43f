"""Rows -> the one JSON block of the page: tidy columns, speed at every batch and length, looks, origins."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from qaprune.report.columns import COLUMNS, MATRIX_NAMES, Row
from qaprune.report.page.numbers import SIGNED, digits
from qaprune.report.provenance import Origin
from qaprune.report.published import DATASET, PUBLISHED, published_label
from qaprune.report.rows import draws_of, mean_and_spread, name_of, pairs
from qaprune.report.style import looks

KEY = ("model", "dataset", "seed", "criterion", "budget", "draw", "variant")
UNSEEN = ("schema_version",)
MEASURED = tuple(name for name in MATRIX_NAMES if name not in (*KEY, *UNSEEN, "fastest"))
"""What another batch and length changes in a row."""


def page_data(
    rows: list[Row], matrix: list[Row], origins: Iterable[Origin], published: bool
) -> dict[str, Any]:
    """What the script draws from. Columns that no row fills are left out."""
    names = [
        column for column in COLUMNS if column.name not in UNSEEN and _filled(column.name, rows, matrix)
    ]
    return {
        "columns": [
            {
                "name": column.name,
                "unit": column.unit,
                "meaning": column.meaning,
                "digits": digits(column.name),
                "signed": column.name in SIGNED,
            }
            for column in names
        ],
        "rows": [[row[column.name] for column in names] for row in rows],
        "names": [name_of(row) for row in rows],
        "draws": _draws(rows),
        "cells": _cells(rows, matrix, {column.name for column in names}),
        "looks": looks([str(row["criterion"]) for row in rows if row["criterion"]]),
        "origins": [origin._asdict() for origin in origins],
        "published": _published(rows) if published else [],
    }


def json_block(value: object) -> str:
    """JSON for a script element: nothing in it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _filled(name: str, rows: list[Row], matrix: list[Row]) -> bool:
    return any(row[name] is not None for row in rows) or (
        name in MEASURED and any(row[name] is not None for row in matrix)
    )


def _draws(rows: list[Row]) -> dict[str, dict[str, object]]:
    """Row number of the first random mask of a point -> number, mean, spread and range of all its masks."""
    found = {}
    place = {id(row): number for number, row in enumerate(rows)}
    for group in pairs(rows).values():
        for masks in draws_of(group).values():
            values = [float(row["f1"]) for row in masks if row["f1"] is not None]  # type: ignore[arg-type]
            if len(values) < len(masks):
                continue
            mean, spread = mean_and_spread(masks)
            summary = {"mean": mean, "sd": spread, "low": min(values), "high": max(values)}
            found[str(place[id(masks[0])])] = {"count": len(masks), **summary}
    return found


def _cells(rows: list[Row], matrix: list[Row], shown: set[str]) -> list[dict[str, Any]]:
    """Every batch and length of the matrix: row number -> what it measures at its fastest setting there."""
    place = {_key(row): number for number, row in enumerate(rows)}
    names = [name for name in MEASURED if name in shown]
    found: dict[tuple[Any, Any], dict[str, list[object]]] = {}
    for row in matrix:
        number = place.get(_key(row))
        if number is None:
            continue
        values = found.setdefault((row["batch"], row["length"]), {})
        if row["fastest"] == "yes" or str(number) not in values:
            values[str(number)] = [row[name] for name in names]
    return [
        {"batch": batch, "length": length, "columns": names, "rows": values}
        for (batch, length), values in found.items()
    ]


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in KEY)


def _published(rows: list[Row]) -> list[dict[str, object]]:
    """Published points, where their data set is among the rows."""
    if not any(row["dataset"] == DATASET for row in rows):
        return []
    return [
        {
            "label": published_label(point),
            "dataset": DATASET,
            "point": point.point,
            "f1": point.f1,
            "speedup": point.speedup,
            "source": point.source,
            "hardware": point.hardware,
        }
        for point in PUBLISHED
    ]
