"""F1 against speedup: rows of one pair -> a matplotlib Figure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from qaprune.report.columns import Row
from qaprune.report.labels import Label, place_labels
from qaprune.report.marks import Point, draw_arrow, draw_legend, draw_marker
from qaprune.report.published import DATASET, PUBLISHED, published_label, published_series
from qaprune.report.rows import draws_of, mean_and_spread, point_key, timed_at
from qaprune.report.style import GREY, PARAMETERS, looks

RECOVERED = ("retrained", "distilled")


def f1_speedup_figure(rows: list[Row], published: bool = False) -> Any:
    """The plot of one model and data set. Without timings it says so instead of guessing an axis."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(PARAMETERS):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.2, 5.2), layout=None)
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.085, 0.115, 0.775, 0.745))
        _titles(figure, axes, rows)
        points = plotted_points(rows)
        if not points:
            _say_missing(axes, rows)
            return figure
        _draw(figure, axes, rows, points, published and rows[0]["dataset"] == DATASET)
    return figure


def plotted_points(rows: list[Row]) -> list[Point]:
    """The timed points; random masks of a point become one marker at their mean, its bar the range."""
    draws = draws_of(rows)
    points = []
    for row in rows:
        if not row["criterion"] or row["speedup"] is None:
            continue
        f1, low, high = (float(row[name]) for name in ("f1", "f1_low", "f1_high"))  # type: ignore[arg-type]
        group = draws.get(point_key(row))
        if group and row["variant"] == "pruned":
            f1, _ = mean_and_spread(group)
            values = [float(other["f1"]) for other in group]  # type: ignore[arg-type]
            low, high = min(values), max(values)
        speed, speed_low, speed_high = (
            float(row[name])  # type: ignore[arg-type]
            for name in ("speedup", "speedup_low", "speedup_high")
        )
        points.append(
            Point(
                str(row["criterion"]),
                str(row["budget"] or ""),
                row["seed"],
                str(row["variant"]),
                speed,
                f1,
                (speed_low, speed_high),
                (low, high),
                float(row["holdout_f1"] or 0.0),  # type: ignore[arg-type]
            )
        )
    return points


def _titles(figure: Any, axes: Any, rows: list[Row]) -> None:
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(row["seed"] for row in rows))
    figure.text(0.085, 0.945, f"{rows[0]['model']} on {rows[0]['dataset']}", fontsize=13, weight="bold")
    figure.text(0.085, 0.905, timed_at(rows), fontsize=8.5, color=GREY)
    bars = f"seed {seeds}; bars: 95 % bootstrap intervals, training noise not in them"
    if draws_of(rows):
        bars += "; random pruned: mean and range of its masks"
    figure.text(0.085, 0.875, bars, fontsize=8.5, color=GREY)
    axes.set_xlabel("speedup over the teacher (x)")
    axes.set_ylabel("F1 on dev")


def _say_missing(axes: Any, rows: list[Row]) -> None:
    reason = next((str(row["not_measured"]) for row in rows if row["not_measured"]), "no variant was timed")
    axes.text(
        0.5, 0.5, f"not measured\n{reason}", ha="center", va="center", transform=axes.transAxes, color=GREY
    )
    axes.set_xticks([])
    axes.set_yticks([])


def _draw(figure: Any, axes: Any, rows: list[Row], points: list[Point], published: bool) -> None:
    look = looks([point.criterion for point in points])
    obstacles: list[tuple[float, float]] = []
    others = [(entry.speedup, entry.f1) for entry in PUBLISHED] if published else []
    _limits(axes, rows, points, others)
    _levels(axes, rows)
    axes.plot(1.0, _level(rows, "teacher"), marker="*", ms=13, color="black", ls="none", zorder=5)
    obstacles += [(1.0, _level(rows, "teacher"))] * 5
    for point in points:
        draw_marker(axes, point, *look[point.criterion])
        obstacles += [(point.speedup, point.f1)] * 4
        obstacles += _between((point.speedup, point.f1_span[0]), (point.speedup, point.f1_span[1]))
        obstacles += _between((point.speedup_span[0], point.f1), (point.speedup_span[1], point.f1))
    for start, end in _arrows(points):
        colour = look[start.criterion][0]
        draw_arrow(axes, start, end, colour)
        obstacles += _between((start.speedup, start.f1), (end.speedup, end.f1))
    for level in ("teacher", "teacher+", "no-answer"):
        if _has(rows, level):
            height = _level(rows, level)
            obstacles += _between((axes.get_xlim()[0], height), (axes.get_xlim()[1], height), 80)
    labels = [
        Label(
            f"{_words(point.criterion)} {point.budget}".strip(),
            point.speedup,
            point.f1,
            look[point.criterion][0],
        )
        for point in _labelled(points)
    ]
    if published:
        labels += _published(axes, obstacles)
    pixels = axes.transData.transform(obstacles)
    legend = draw_legend(figure, axes, {point.variant for point in points}, published, pixels)
    place_labels(axes, labels, pixels, [legend])


def _published(axes: Any, obstacles: list[tuple[float, float]]) -> list[Label]:
    """Published points, hollow and grey, one thin line and one label a work and model."""
    labels = []
    for series in published_series():
        at = [(entry.speedup, entry.f1) for entry in series]
        axes.plot(
            *zip(*at, strict=True), marker="p", ms=6, mfc="white", mec=GREY, color=GREY, lw=0.6, zorder=2
        )
        obstacles += [spot for spot in at for _ in range(3)]
        for start, end in pairwise(at):
            obstacles += _between(start, end)
        entry = series[-1]
        labels.append(Label(published_label(entry), *at[-1], GREY, 7.0))
    return labels


def _limits(axes: Any, rows: list[Row], points: list[Point], others: list[tuple[float, float]]) -> None:
    levels = [float(row["f1"]) for row in rows if not row["criterion"]]  # type: ignore[arg-type]
    heights = [value for point in points for value in (*point.f1_span, point.f1)] + levels
    heights += [f1 for _, f1 in others]
    speeds = [value for point in points for value in (*point.speedup_span, point.speedup)] + [1.0]
    speeds += [speed for speed, _ in others]
    tall = max(max(heights) - min(heights), 1.0)
    wide = max(max(speeds) - min(speeds), 0.2)
    axes.set_ylim(min(heights) - 0.09 * tall, min(max(heights) + 0.10 * tall, 103))
    axes.set_xlim(min(speeds) - 0.07 * wide, max(speeds) + 0.13 * wide)


def _levels(axes: Any, rows: list[Row]) -> None:
    """Horizontal lines for teacher, teacher+ and no-answer, named in the right margin."""
    shown = [
        (name, _level(rows, name)) for name in ("no-answer", "teacher", "teacher+") if _has(rows, name)
    ]
    low, high = axes.get_ylim()
    gap = (high - low) * 0.042
    at = -np.inf
    for name, height in sorted(shown, key=lambda entry: entry[1]):
        style = {"teacher": "-", "teacher+": (0, (4, 2)), "no-answer": ":"}[name]
        axes.axhline(height, color=GREY, lw=1.0, ls=style, zorder=1)
        at = max(at + gap, height)
        axes.annotate(
            f"{name}  {height:.1f}",
            (1.0, at),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=GREY,
            annotation_clip=False,
        )


def _arrows(points: list[Point]) -> list[tuple[Point, Point]]:
    """Pairs (pruned, best recovered by the hold-out) of the same operating point and seed."""
    found = []
    for start in points:
        same = [point for point in points if point[:3] == start[:3] and point.variant in RECOVERED]
        if start.variant == "pruned" and same:
            found.append((start, max(same, key=lambda point: point.holdout_f1)))
    return found


def _labelled(points: list[Point]) -> list[Point]:
    """One point an operating point carries its name: the best recovered one, else `pruned`."""
    best: dict[tuple[str, str], Point] = {}
    for point in points:
        known = best.get(point[:2])
        if known is None or (known.seed == point.seed and _rank(point) > _rank(known)):
            best[point[:2]] = point
    return sorted(best.values(), key=lambda point: (-point.f1, point.speedup))


def _rank(point: Point) -> tuple[bool, float]:
    return (point.variant in RECOVERED, point.holdout_f1)


def _between(
    start: tuple[float, float], end: tuple[float, float], steps: int = 12
) -> list[tuple[float, float]]:
    """Points along a segment, for the labels to keep clear of."""
    return [
        (start[0] + (end[0] - start[0]) * step, start[1] + (end[1] - start[1]) * step)
        for step in np.linspace(0, 1, steps)
    ]


def _has(rows: list[Row], variant: str) -> bool:
    return any(row["variant"] == variant for row in rows)


def _level(rows: list[Row], variant: str) -> float:
    """Mean F1 of a fixed variant over the seeds."""
    return float(np.mean([row["f1"] for row in rows if row["variant"] == variant]))  # type: ignore[arg-type]


def _words(criterion: str) -> str:
    return criterion.replace("_", " ")
