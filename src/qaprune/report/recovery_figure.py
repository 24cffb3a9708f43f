"""Recovery: for each operating point, arrows from F1 when pruned to F1 when retrained or distilled."""

from __future__ import annotations

from typing import Any

from qaprune.report.columns import Row
from qaprune.report.figures import LEVELS, Across, f1_name, plotted_points, what_bars_are
from qaprune.report.marks import Point, draw_arrow, draw_fills, marker_style
from qaprune.report.style import GREY, SMALL, drawing, ink, looks, room_for, words_of, write_head

QUALITY = Across("f1", "", True)
"""F1 alone: recovery is shown whether or not anything was timed."""
SHELVES = {"pruned": 0.0, "retrained": -0.2, "distilled": 0.2}
"""How far below the middle of its line a variant stands, so that bars do not cover each other."""


def recovered_points(rows: list[Row]) -> dict[tuple[str, str], dict[str, Point]]:
    """(criterion, budget) -> variant -> its F1, of the points that have `pruned` and a recovery."""
    lines: dict[tuple[str, str], dict[str, Point]] = {}
    for point in plotted_points(rows, QUALITY):
        lines.setdefault(point[:2], {})[point.variant] = point
    return {key: found for key, found in lines.items() if "pruned" in found and len(found) > 1}


def recovery_figure(rows: list[Row]) -> Any:
    """One line an operating point of one pair that was recovered; there must be one."""
    lines = recovered_points(rows)
    look = looks([criterion for criterion, _ in lines])
    names = [f"{words_of(criterion)} {budget}".strip() for criterion, budget in lines]
    left = room_for(names, 1.97)
    kinds = {variant for found in lines.values() for variant in found}
    recovered = [kind for kind in SHELVES if kind in kinds - {"pruned"}]
    starts = " and ".join(recovered) + (" both start" if len(recovered) > 1 else " starts")
    height = 1.55 + (0.44 if len(lines) <= 12 else 0.36) * len(lines)
    with drawing(8.2, height) as figure:
        bars = what_bars_are(rows)
        taken = write_head(
            figure,
            f"Recovery: {rows[0]['model']} on {rows[0]['dataset']}",
            [f"{bars}; {starts} from pruned"],
            left=0.25,
        )
        place = (left / 8.2, 0.5 / height, (7.87 - left) / 8.2, 1 - (0.5 + taken + 0.28) / height)
        axes = figure.add_axes(place)
        for place, ((criterion, _), found) in enumerate(lines.items()):
            _draw_line(axes, place, found, *look[criterion])
        axes.set_yticks(range(len(lines)), names, fontsize=SMALL)
        for text, (criterion, _) in zip(axes.get_yticklabels(), lines, strict=True):
            text.set_color(ink(look[criterion][0]))
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlabel(f1_name(rows))
        axes.grid(visible=False, axis="y")
        _levels(axes, rows)
        draw_fills(figure, kinds, ncols=3, loc="lower left", bbox_to_anchor=(0.02, 0))
    return figure


def _draw_line(axes: Any, place: int, found: dict[str, Point], colour: str, marker: str) -> None:
    start = found["pruned"]
    for variant, point in found.items():
        at = place + SHELVES.get(variant, 0.0)
        low, high = point.f1_span
        axes.plot([low, high], [at, at], color=colour, lw=1.0, alpha=0.6, zorder=3)
        axes.plot(point.f1, at, **marker_style(variant, colour, marker), zorder=4)
        if point is not start:
            draw_arrow(axes, (start.f1, place), (point.f1, at), colour)


def _levels(axes: Any, rows: list[Row]) -> None:
    """Vertical lines for teacher, teacher+ and no-answer, named above; none of them is the frame's edge."""
    (low, high), levels = axes.get_xlim(), []
    for name, style in LEVELS.items():
        found = [float(row["f1"]) for row in rows if row["variant"] == name]  # type: ignore[arg-type]
        if not found:
            continue
        f1 = sum(found) / len(found)
        axes.axvline(f1, color=GREY, lw=1.0, ls=style, zorder=1)
        levels.append(f1)
        axes.annotate(
            f"{name} {f1:.1f}",
            (f1, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3 + (10 if name == "teacher+" else 0)),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=GREY,
            annotation_clip=False,
        )
    room = 0.03 * (high - low)
    if levels:
        axes.set_xlim(min(low, min(levels) - room), max(high, max(levels) + room))
