"""The speedup matrix as a heat map: variants down, settings across, a cell that did not run hatched."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from qaprune.profile.settings import Setting
from qaprune.report.columns import Row
from qaprune.report.heat import draw_heat, draw_scale
from qaprune.report.rows import mixed_hardware, name_of
from qaprune.report.seeds import seeds_of
from qaprune.report.style import GREY, SMALL, drawing, room_for, write_head

ROW, LABELS = 0.2, 2.35
NUMBERED = 260
"""Cells up to which each has its number."""
REASONS = 3
"""How many reasons of cells that did not run are named below the map."""


def matrix_figure(rows: list[Row]) -> Any:
    """The rows of one pair of matrix.csv, at least one with a speedup; of several seeds the mean."""
    names = list(dict.fromkeys(name_of(row) for row in rows if not row["draw"]))
    settings = sorted(
        dict.fromkeys(_setting(row) for row in rows), key=lambda setting: (setting[0] * setting[1], setting)
    )
    values = np.full((len(names), len(settings)), np.nan)
    timed: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        if row["speedup"] is not None and not row["draw"]:
            cell = (names.index(name_of(row)), settings.index(_setting(row)))
            timed.setdefault(cell, []).append(float(row["speedup"]))  # type: ignore[arg-type]
    for cell, found in timed.items():
        values[cell] = statistics.fmean(found)
    varying = [axis for axis in Setting._fields[2:] if len({getattr(s, axis) for s in settings}) > 1]
    reasons = _reasons(rows, bool(np.isnan(values).any()))
    room = room_for(names, LABELS, 7.5)
    wide = min(0.55, max(0.2, 5.5 / len(settings)))
    labels = [" ".join(getattr(setting, axis) for axis in varying) for setting in settings]
    up = 0.12 + 0.06 * max(map(len, labels))
    width = max(room + wide * len(settings) + 0.6, 7.0)
    head, foot = 1.05 + up, 0.75 + 0.165 * len(reasons)
    height = head + ROW * len(names) + foot
    with drawing(width, height) as figure:
        write_head(
            figure, f"Speedup matrix: {rows[0]['model']} on {rows[0]['dataset']}", _lines(rows), 0.25
        )
        place = (room / width, foot / height, wide * len(settings) / width, ROW * len(names) / height)
        axes = figure.add_axes(place)
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        texts = [[f"{value:.1f}" if wide < 0.3 else f"{value:.2f}" for value in line] for line in values]
        image = draw_heat(
            axes, values, texts if values.size <= NUMBERED else None, low, max(high, low + 0.01)
        )
        axes.set_yticks(range(len(names)), _shortened(names), fontsize=7.5)
        axes.set_xticks(range(len(settings)), labels, rotation=90, fontsize=7.5)
        axes.xaxis.tick_top()
        _name_cells(axes, settings, up)
        bar = (
            room / width,
            (foot - 0.22) / height,
            min(2.4, width - room - 0.3) / width,
            0.09 / height,
        )
        scale = draw_scale(
            figure, image, bar, "speedup (x); the line is the teacher at its fastest setting"
        )
        scale.axvline(1.0, color="black", lw=1.2)
        for number, reason in enumerate(reasons):
            at = (foot - 0.68 - 0.165 * number) / height
            figure.text(0.25 / width, at, reason, fontsize=7.5, color=GREY)
    return figure


def _shortened(names: list[str]) -> list[str]:
    """Below the first variant of an operating point the others go by their last word."""
    points = [name.rpartition("/")[0] for name in names]
    return [
        name.rpartition("/")[2] if point and place and point == points[place - 1] else name
        for place, (name, point) in enumerate(zip(names, points, strict=True))
    ]


def _setting(row: Row) -> Setting:
    return Setting(*(row[name] for name in Setting._fields))  # type: ignore[arg-type]


def _lines(rows: list[Row]) -> list[str]:
    """What is the same in all cells, and what a cell is."""
    same: list[str] = []
    for name in ("device", "dtype", "backend", "compile"):
        values = {row[name] for row in rows}
        if len(values) == 1:
            same.append(f"compile {values.pop()}" if name == "compile" else str(values.pop()))
    seeds = seeds_of(rows)
    of = f"mean of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return [
        "; ".join([", ".join(same), of]),
        mixed_hardware(rows),
        "each cell: the teacher at its fastest setting of that batch x length / the variant at this one",
    ]


def _name_cells(axes: Any, settings: list[Setting], up: float) -> None:
    """Batch x length above its settings, `up` inches over the map, with a line between groups."""
    groups = list(dict.fromkeys(setting[:2] for setting in settings))
    for group in groups:
        places = [place for place, setting in enumerate(settings) if setting[:2] == group]
        axes.annotate(
            f"{group[0]} x {group[1]}",
            ((places[0] + places[-1]) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 72 * up),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL,
            annotation_clip=False,
        )
        if places[0]:
            axes.axvline(places[0] - 0.5, color=GREY, lw=1.2)


def _reasons(rows: list[Row], gaps: bool) -> list[str]:
    """Why cells did not run, the commonest reason first."""
    counts: dict[str, int] = {}
    for row in rows:
        if row["speedup"] is None:
            reason = str(row["not_measured"] or "no reason was kept")
            counts[reason] = counts.get(reason, 0) + 1
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    lines = [f"hatched, did not run ({count} cells): {reason}"[:120] for reason, count in ordered[:REASONS]]
    if len(ordered) > REASONS:
        lines.append(f"and {len(ordered) - REASONS} more reasons, see tables/matrix.csv")
    return lines or (["hatched: not asked for"] if gaps else [])
