"""F1 against speedup, or against energy: rows of one pair -> a matplotlib Figure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from qaprune.report.columns import Row
from qaprune.report.labels import Label, place_labels
from qaprune.report.marks import FRONT, Point, draw_arrow, draw_legend, draw_marker
from qaprune.report.published import DATASET, PUBLISHED, published_label, published_series
from qaprune.report.rows import draws_of, timed_at
from qaprune.report.seeds import OverSeeds, over_seeds, seeds_of
from qaprune.report.style import GREY, SMALL, drawing, ink, looks, words_of, write_head

RECOVERED = ("retrained", "distilled")
LEVELS = {"no-answer": ":", "teacher": "-", "teacher+": (0, (4, 2))}
"""Rows that are drawn as a line across, and how it is broken."""
CROWDED = 12
"""From more operating points on, each shows its chosen recovery alone, and criteria carry the names."""


class Across(NamedTuple):
    """What F1 is plotted against: a column, its axis, and whether more of it is better."""

    column: str
    label: str
    more_is_better: bool


SPEEDUP = Across("speedup", "speedup over the teacher (x)", True)
ENERGY = Across("energy_j", "energy a question (J)", False)


def f1_speedup_figure(rows: list[Row], published: bool = False) -> Any:
    """The plot of one model and data set. Without timings it says so instead of guessing an axis."""
    points = plotted_points(rows, SPEEDUP)
    with drawing(8.2, 5.2) as figure:
        axes = _frame(figure, rows, points, SPEEDUP)
        if points:
            _draw(figure, axes, rows, points, SPEEDUP, published and rows[0]["dataset"] == DATASET)
        else:
            _say_missing(axes, rows)
    return figure


def f1_energy_figure(rows: list[Row]) -> Any:
    """The same against energy a question, which at least one operating point must have."""
    points = plotted_points(rows, ENERGY)
    with drawing(8.2, 5.2) as figure:
        axes = _frame(figure, rows, points, ENERGY)
        _draw(figure, axes, rows, points, ENERGY, published=False)
    return figure


def plotted_points(rows: list[Row], across: Across = SPEEDUP) -> list[Point]:
    """The measured points, one a variant of an operating point.

    Of several seeds (or random masks) the mean, its bars from the lowest to the highest; else with its
    bootstrap intervals.
    """
    masks = {key[1:]: [float(row["f1"]) for row in group] for key, group in draws_of(rows).items()}
    points = []
    for variant in over_seeds(rows):
        row = variant.first
        if not row["criterion"] or not variant.values(across.column):
            continue
        f1_span = _span(variant, "f1")
        if row["variant"] == "pruned" and len(variant.rows) == 1:
            values = masks.get((row["criterion"], row["budget"]))
            f1_span = (min(values), max(values)) if values else f1_span
        points.append(
            Point(
                str(row["criterion"]),
                str(row["budget"] or ""),
                str(row["variant"]),
                variant.mean(across.column) or 0.0,
                variant.mean("f1") or 0.0,
                _span(variant, across.column),
                f1_span,
                variant.mean("holdout_f1"),
            )
        )
    return points


def _span(variant: OverSeeds, column: str) -> tuple[float, float]:
    """Lowest and highest of several seeds; of one its interval, or the value twice where it has none."""
    values = variant.values(column)
    ends = [variant.first.get(f"{column}_{end}") for end in ("low", "high")]
    if len(values) > 1 or None in ends:
        return min(values), max(values)
    return float(ends[0]), float(ends[1])  # type: ignore[arg-type]


def front(points: list[Point], more_is_better: bool = True) -> list[Point]:
    """The points that no other one beats, in the order of x.

    A point is beaten by one of higher F1 on the hold-out, where every choice is made, that is as good on
    the other axis: better there, or its bar reaches the other's; and by one of equal F1 whose bar lies
    wholly on the better side. Points without hold-out F1 are on none.
    """
    known = [point for point in points if point.holdout_f1 is not None]

    def beaten(point: Point, other: Point) -> bool:
        upper, lower = (other, point) if more_is_better else (point, other)
        ahead = (other.holdout_f1 or 0.0) - (point.holdout_f1 or 0.0)
        return upper.x_span[1] >= lower.x_span[0] if ahead > 0 else ahead == 0 and _apart(lower, upper)

    return sorted(
        (point for point in known if not any(beaten(point, other) for other in known)),
        key=lambda point: point.x,
    )


def _apart(lower: Point, upper: Point) -> bool:
    return lower.x_span[1] < upper.x_span[0]


def chosen(points: list[Point]) -> dict[tuple[str, str], Point]:
    """Operating point -> its recovery with the higher F1 on the hold-out, else `pruned`."""
    best: dict[tuple[str, str], Point] = {}
    for point in points:
        known = best.get(point[:2])
        if known is None or _rank(point) > _rank(known):
            best[point[:2]] = point
    return best


def crowded(points: list[Point]) -> bool:
    """Whether the chosen recoveries alone are drawn."""
    return len(chosen(points)) > CROWDED


def draws_pruned(points: list[Point]) -> bool:
    """Whether any point is drawn as it was cut."""
    shown = chosen(points).values() if crowded(points) else points
    return any(point.variant == "pruned" for point in shown)


def _rank(point: Point) -> tuple[bool, float]:
    return (point.variant in RECOVERED, point.holdout_f1 or 0.0)


def what_bars_are(rows: list[Row], across: Across = SPEEDUP, pruned: bool = True) -> str:
    """The line below a plot's title, and part of its caption. `pruned`: whether such points are drawn."""
    seeds = seeds_of(rows)
    named = ", ".join(str(seed) for seed in seeds)
    if len(seeds) > 1:
        bars = f"mean of seeds {named}; bars: lowest to highest seed"
        # Such a point stands beside a teacher that is a mean: its own difference is in the table.
        alone = any(len(item.rows) == 1 for item in over_seeds(rows))
        return f"{bars}, of a point with one seed its 95 % interval" if alone else bars
    bars = f"seed {named}; bars: 95 % bootstrap intervals without noise of training and threshold"
    if pruned and draws_of(rows):
        bars += "; random pruned: mean and range of its masks"
    return bars if across is SPEEDUP else f"{bars}; energy has no interval"


def _frame(figure: Any, rows: list[Row], points: list[Point], across: Across) -> Any:
    lines = [timed_at(rows), what_bars_are(rows, across, draws_pruned(points))]
    if crowded(points):
        lines.append("of each point the recovery with the higher hold-out F1")
    budgets = {point.budget for point in points} - {""}
    if len(budgets) == 1:
        lines.append(f"budget of all points: {budgets.pop()}")
    taken = write_head(figure, f"{rows[0]['model']} on {rows[0]['dataset']}", lines)
    axes = figure.add_axes((0.085, 0.115, 0.775, 0.885 - (taken + 0.1) / figure.get_figheight()))
    axes.set_xlabel(across.label)
    axes.set_ylabel(f1_name(rows))
    return axes


def f1_name(rows: list[Row]) -> str:
    """What an axis of F1 is called."""
    return ("short-answer " if any(row["long_f1"] is not None for row in rows) else "") + "F1 on dev"


def _say_missing(axes: Any, rows: list[Row]) -> None:
    reason = next((str(row["not_measured"]) for row in rows if row["not_measured"]), "no variant was timed")
    axes.text(
        0.5, 0.5, f"not measured\n{reason}", ha="center", va="center", transform=axes.transAxes, color=GREY
    )
    axes.set_xticks([])
    axes.set_yticks([])


def _draw(
    figure: Any, axes: Any, rows: list[Row], points: list[Point], across: Across, published: bool
) -> None:
    look = looks([point.criterion for point in points])
    best = chosen(points)
    many = crowded(points)
    drawn = list(best.values()) if many else points
    teachers = _teacher(rows, across)
    others = [(entry.speedup, entry.f1) for entry in PUBLISHED] if published else []
    levels = [name for name in LEVELS if _has(rows, name) and not (many and name == "no-answer")]
    others += [point[3:5] for point in teachers]
    _limits(axes, drawn, others, [_level(rows, name) for name in levels])
    _levels(axes, rows)
    obstacles: list[tuple[float, float]] = []
    for teacher in teachers:
        axes.plot(teacher.x, teacher.f1, marker="*", ms=13, color="black", ls="none", zorder=5)
        obstacles += [(teacher.x, teacher.f1)] * 5
    for point in drawn:
        draw_marker(axes, point, *look[point.criterion])
        obstacles += [(point.x, point.f1)] * 4
        obstacles += _between((point.x, point.f1_span[0]), (point.x, point.f1_span[1]))
        obstacles += _between((point.x_span[0], point.f1), (point.x_span[1], point.f1))
    for start, end in () if many else _arrows(points, best):
        draw_arrow(axes, start[3:5], end[3:5], look[start.criterion][0])
        obstacles += _between(start[3:5], end[3:5])
    for level in levels:
        height = _level(rows, level)
        obstacles += _between((axes.get_xlim()[0], height), (axes.get_xlim()[1], height), 80)
    ahead = front([*teachers, *best.values()], across.more_is_better)
    if len(ahead) > 1:
        axes.plot(*zip(*(point[3:5] for point in ahead), strict=True), **FRONT, zorder=1)
    if many:
        _draw_series(axes, best, look, obstacles)
    labels = [
        Label(words, *point[3:5], ink(look[point.criterion][0]), 7.0 if many else SMALL)
        for point, words in _names(list(best.values()), ahead, many)
    ]
    if published:
        labels += _published(axes, obstacles)
    pixels = axes.transData.transform(obstacles)
    kinds = {point.variant for point in drawn}
    legend = draw_legend(figure, axes, kinds, published, len(ahead) > 1, pixels)
    place_labels(axes, labels, pixels, [legend])


def _teacher(rows: list[Row], across: Across) -> list[Point]:
    """The teacher as a point; none where its x was not measured."""
    variant = next(entry for entry in over_seeds(rows) if entry.first["variant"] == "teacher")
    x, f1 = variant.mean(across.column), _level(rows, "teacher")
    if x is None:
        return []
    return [Point("", "", "teacher", x, f1, (x, x), (f1, f1), variant.mean("holdout_f1"))]


def _names(best: list[Point], ahead: list[Point], many: bool) -> list[tuple[Point, str]]:
    """What is written beside which points, the highest first.

    Where they crowd, a criterion is named at its last point alone, a budget at points of the front.
    """
    one_budget = len({point.budget for point in best}) == 1
    last = {point.criterion: point for point in sorted(best, key=lambda point: point.x)}
    named = []
    for point in sorted(best, key=lambda point: (-point.f1, point.x)):
        criterion = not many or point is last[point.criterion]
        budget = point in ahead if many else not one_budget
        words = [words_of(point.criterion)] * criterion + [point.budget] * budget
        if words:
            named.append((point, " ".join(words).strip()))
    return named


def _draw_series(axes: Any, best: dict, look: dict, obstacles: list[tuple[float, float]]) -> None:
    """A thin line through the points of each criterion."""
    for criterion, (colour, _) in look.items():
        at = sorted(point[3:5] for point in best.values() if point.criterion == criterion)
        axes.plot(*zip(*at, strict=True), color=colour, lw=0.9, alpha=0.7, zorder=2)
        for start, end in pairwise(at):
            obstacles += _between(start, end)


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


def _limits(axes: Any, points: list[Point], others: list[tuple[float, float]], levels: list[float]) -> None:
    heights = [value for point in points for value in (*point.f1_span, point.f1)] + levels
    heights += [f1 for _, f1 in others]
    across = [value for point in points for value in (*point.x_span, point.x)] + [x for x, _ in others]
    tall = max(max(heights) - min(heights), 1.0)
    wide = max(max(across) - min(across), 0.1 * max(across))
    axes.set_ylim(min(heights) - 0.09 * tall, min(max(heights) + 0.10 * tall, 103))
    axes.set_xlim(min(across) - 0.07 * wide, max(across) + 0.13 * wide)


def _levels(axes: Any, rows: list[Row]) -> None:
    """Horizontal lines for teacher, teacher+ and no-answer, named in the right margin; one that lies below
    the plot is named alone."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.042
    at = -np.inf
    for height, name in sorted((_level(rows, name), name) for name in LEVELS if _has(rows, name)):
        words = f"{name}  {height:.1f}"
        if height < low:
            height, words = low, f"{words}\n(below this plot)"
        else:
            axes.axhline(height, color=GREY, lw=1.0, ls=LEVELS[name], zorder=1)
        at = max(at + gap, height)
        axes.annotate(
            words,
            (1.0, at),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=GREY,
            annotation_clip=False,
        )


def _arrows(points: list[Point], best: dict[tuple[str, str], Point]) -> list[tuple[Point, Point]]:
    """Pairs (pruned, its chosen recovery)."""
    return [
        (start, best[start[:2]])
        for start in points
        if start.variant == "pruned" and best[start[:2]].variant in RECOVERED
    ]


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
