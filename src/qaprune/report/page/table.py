"""The static table: it stands without JavaScript; the script then sorts, filters and redraws it."""

from __future__ import annotations

from typing import Any

from qaprune.report.columns import COLUMNS, Row
from qaprune.report.page.numbers import SIGNED, digits, number
from qaprune.report.page.sections import text
from qaprune.report.rows import name_of

NAMING = ("model", "dataset", "seed", "device")
"""Columns with one value in all rows stand above the table instead."""
LABELS = {
    "model": "model",
    "dataset": "data set",
    "seed": "seed",
    "f1": "F1",
    "delta_f1": "delta F1",
    "margin_share": "loss/margin",
    "hasans_f1": "HasAns F1",
    "long_f1": "long F1",
    "speedup": "speedup",
    "speedup_published": "published",
    "latency_ms": "latency",
    "throughput_qps": "questions/s",
    "energy_j": "energy",
    "peak_memory_mb": "memory",
    "params": "params",
    "flops": "FLOPs",
    "heads_kept": "heads",
    "ff_kept": "ff units",
    "hidden_kept": "hidden",
    "device": "device",
}
"""Columns that the table has from the start, where rows fill them; a reader may add the others."""
UNITS = {"latency_ms": "ms", "energy_j": "J", "peak_memory_mb": "MiB", "throughput_qps": ""}
MAY_BE_MISSING = ("f1", "speedup", "latency_ms", "energy_j", "peak_memory_mb")
WITH_INTERVAL = ("f1", "delta_f1", "speedup")
_MEANINGS = {column.name: column for column in COLUMNS}


def shown_columns(rows: list[Row], data: dict[str, Any]) -> list[str]:
    """The columns of the table as it first stands."""
    filled = [column["name"] for column in data["columns"]]
    return [
        name
        for name in LABELS
        if name in filled
        and (name not in NAMING or len({row[name] for row in rows} - {None}) > 1)
        and (name != "hidden_kept" or len({row[name] for row in rows} - {None}) > 1)
    ]


def table(rows: list[Row], data: dict[str, Any]) -> str:
    """All headline rows; what the script must know of the columns goes into `data`."""
    names = shown_columns(rows, data)
    data["table"] = {
        "columns": names,
        "labels": LABELS,
        "units": UNITS,
        "intervals": [name for name in WITH_INTERVAL if name in names],
    }
    head = "".join(_header(name) for name in names)
    body = "".join(_row(place, row, names) for place, row in enumerate(rows))
    return (
        f'<p class="note" id="rows-caption">{_caption(rows, names)}</p>'
        '<div class="scroll" tabindex="0" role="region" aria-labelledby="table-title">'
        '<table id="rows" aria-labelledby="table-title" aria-describedby="rows-caption">'
        f'<thead><tr><th scope="col" data-column="row">row</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{_left_out(rows)}"
    )


def _caption(rows: list[Row], names: list[str]) -> str:
    """What all rows share."""
    shared = [
        f"{LABELS[name]} {values.pop()}"
        for name in NAMING
        if name not in names and len(values := {row[name] for row in rows} - {None}) == 1
    ]
    cell = '<span id="rows-cell">Speed at the config\'s headline batch and length.</span>'
    return f"{cell} {text(', '.join(shared))}"


def _left_out(rows: list[Row]) -> str:
    """Measured columns that no row fills, each with a reason that a row gives."""
    parts = [part for row in rows for part in str(row["not_measured"] or "").split("; ")]
    found = []
    for name in MAY_BE_MISSING:
        if all(row[name] is None for row in rows):
            reason = next((part for part in parts if part.startswith(f"{name}: ")), f"{name}: not measured")
            found.append(reason)
    if not found:
        return ""
    return f'<p class="note">Columns that no row fills: {text("; ".join(found))}.</p>'


def _header(name: str) -> str:
    column = _MEANINGS[name]
    unit = UNITS.get(name, column.unit)
    small = f" <small>{text(unit)}</small>" if unit else ""
    label = f"{text(LABELS[name])}{small}"
    return f'<th scope="col" data-column="{name}" title="{text(column.meaning)}">{label}</th>'


def _row(place: int, row: Row, names: list[str]) -> str:
    cells = "".join(_cell(row, name) for name in names)
    link = f'<a href="#from-{place}">{text(name_of(row))}</a>'
    return f'<tr><th scope="row">{link}</th>{cells}</tr>'


def _cell(row: Row, name: str) -> str:
    shown = text(number(name, row[name]))
    if name in WITH_INTERVAL and row[f"{name}_low"] is not None and row[name] is not None:
        low, high = (number(name, row[f"{name}_{end}"]) for end in ("low", "high"))
        shown += f" <small>{low} to {high}</small>"
    kind = "word" if digits(name) is None else "signed" if name in SIGNED else ""
    return f'<td class="{kind}">{shown}</td>' if kind else f"<td>{shown}</td>"
