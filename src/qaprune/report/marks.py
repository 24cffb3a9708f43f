"""The parts of a plot: one marker a point, arrows from pruned to recovered, the legend of fills."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qaprune.report.style import GREY, PALE, SMALL

LEGEND_PLACES = tuple(
    (side, height)
    for height in sorted((step / 20 for step in range(3, 18)), key=lambda height: abs(height - 0.45))
    for side in ("left", "right")
)
"""Sides and heights (shares of the axes) to try, the best first."""

FRONT = {"color": PALE, "lw": 5, "alpha": 0.6, "solid_capstyle": "round"}
"""The broad band along a Pareto front."""
SIZES = {"pruned": 5.0, "retrained": 7.5, "distilled": 8.5}


class Point(NamedTuple):
    """One marker: x and F1, and the ends of their bars (equal where there is no interval)."""

    criterion: str
    budget: str
    variant: str
    x: float
    f1: float
    x_span: tuple[float, float]
    f1_span: tuple[float, float]
    holdout_f1: float | None


def spans(point: Point) -> tuple[list[list[float]] | None, list[list[float]]]:
    """Lengths of the error bars to the left and right (None: no bar), and below and above."""
    left, right = point.x_span
    across = [[max(point.x - left, 0.0)], [max(right - point.x, 0.0)]] if left < right else None
    low, high = point.f1_span
    return across, [[max(point.f1 - low, 0.0)], [max(high - point.f1, 0.0)]]


def draw_marker(axes: Any, point: Point, colour: str, marker: str) -> None:
    """Pruned: small and hollow. Retrained: half filled. Distilled: full."""
    across, along = spans(point)
    bars = {"fmt": "none", "ecolor": colour, "elinewidth": 0.9, "capsize": 2, "alpha": 0.75}
    axes.errorbar(point.x, point.f1, xerr=across, yerr=along, zorder=3, **bars)
    style = marker_style(point.variant, colour, marker)
    axes.plot(point.x, point.f1, **style, zorder=4 if point.variant == "pruned" else 5)


def marker_style(variant: str, colour: str, marker: str) -> dict[str, Any]:
    """How a variant's marker is filled, as options of `plot`."""
    style = {"marker": marker, "ls": "none", "ms": SIZES.get(variant, 7.0), "mec": colour, "mew": 1.2}
    if variant == "pruned":
        return style | {"mfc": "white"}
    return style | {
        "color": colour,
        "fillstyle": "left" if variant == "retrained" else "full",
        "markerfacecoloralt": "white",
    }


def draw_arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """A thin arrow between two markers, in data units."""
    axes.annotate(
        "",
        end,
        xytext=start,
        zorder=2,
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "lw": 0.9,
            "alpha": 0.55,
            "shrinkA": 5,
            "shrinkB": 7,
            "mutation_scale": 8,
        },
    )


def draw_fills(where: Any, variants: set[str], **place: Any) -> None:
    """A legend of what the fill of a marker means; `where` is a figure or axes, `place` options of its
    `legend`."""
    shown = _fills(variants)
    where.legend(
        shown.values(),
        shown.keys(),
        frameon=False,
        fontsize=SMALL,
        handletextpad=0.3,
        columnspacing=1,
        **place,
    )


def _fills(variants: set[str]) -> dict[str, Any]:
    from matplotlib.lines import Line2D

    return {name: Line2D([], [], **marker_style(name, GREY, "o")) for name in SIZES if name in variants}


def draw_legend(
    figure: Any, axes: Any, variants: set[str], published: bool, front: bool, pixels: np.ndarray
) -> np.ndarray:
    """The only legend: fills, hollow grey, the band. It stands where it covers the fewest of the `pixels`.

    Returns its rectangle in pixels (x0, y0, x1, y1).
    """
    from matplotlib.lines import Line2D

    shown = _fills(variants)
    if published:
        shown["published (hardware not stated\nunless it is named)"] = Line2D(
            [], [], marker="p", ls="none", mfc="white", mec=GREY, ms=6
        )
    if front:
        shown["Pareto front, chosen\non the hold-out"] = Line2D(
            [], [], **FRONT | {"solid_capstyle": "butt"}
        )
    renderer = figure.canvas.get_renderer()

    def at(place: tuple[str, float]) -> Any:
        return axes.legend(
            shown.values(),
            shown.keys(),
            loc=f"center {place[0]}",
            bbox_to_anchor=(0.01 if place[0] == "left" else 0.99, place[1]),
            frameon=False,
            fontsize=SMALL,
            handletextpad=0.3,
            labelspacing=0.3,
        )

    def covered(place: tuple[str, float]) -> int:
        x0, y0, x1, y1 = at(place).get_window_extent(renderer).extents
        inside = (pixels[:, 0] > x0) & (pixels[:, 0] < x1) & (pixels[:, 1] > y0) & (pixels[:, 1] < y1)
        return int(inside.sum())

    best = min(LEGEND_PLACES, key=covered)
    return at(best).get_window_extent(renderer).extents
