"""The parts of a plot: one marker a point, arrows from pruned to recovered, the legend of fills."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qaprune.report.style import GREY

LEGEND_PLACES = tuple((side, height) for height in (0.45, 0.25, 0.65) for side in ("left", "right"))
"""Sides and heights (shares of the axes) to try, the best first."""

SIZES = {"pruned": 5.0, "retrained": 7.5, "distilled": 8.5}


class Point(NamedTuple):
    """One marker: `f1_span` and `speedup_span` are the ends of its bars."""

    criterion: str
    budget: str
    seed: object
    variant: str
    speedup: float
    f1: float
    speedup_span: tuple[float, float]
    f1_span: tuple[float, float]
    holdout_f1: float


def spans(point: Point) -> tuple[list[list[float]], list[list[float]]]:
    """Lengths of the error bars to the left and right, and below and above, as matplotlib wants them."""
    x, y = point.speedup_span, point.f1_span
    across = [[max(point.speedup - x[0], 0.0)], [max(x[1] - point.speedup, 0.0)]]
    along = [[max(point.f1 - y[0], 0.0)], [max(y[1] - point.f1, 0.0)]]
    return across, along


def draw_marker(axes: Any, point: Point, colour: str, marker: str) -> None:
    """Pruned: small and hollow. Retrained: half filled. Distilled: full."""
    size = SIZES.get(point.variant, 7.0)
    across, along = spans(point)
    axes.errorbar(
        point.speedup,
        point.f1,
        xerr=across,
        yerr=along,
        fmt="none",
        ecolor=colour,
        elinewidth=0.9,
        capsize=2,
        alpha=0.75,
        zorder=3,
    )
    fill = {"pruned": "none", "retrained": "left"}.get(point.variant, "full")
    if fill == "none":
        axes.plot(
            point.speedup,
            point.f1,
            marker=marker,
            ms=size,
            mfc="white",
            mec=colour,
            mew=1.3,
            ls="none",
            zorder=4,
        )
        return
    axes.plot(
        point.speedup,
        point.f1,
        marker=marker,
        ms=size,
        color=colour,
        mec=colour,
        mew=1.2,
        fillstyle=fill,
        markerfacecoloralt="white",
        ls="none",
        zorder=5,
    )


def draw_arrow(axes: Any, start: Point, end: Point, colour: str) -> None:
    axes.annotate(
        "",
        (end.speedup, end.f1),
        xytext=(start.speedup, start.f1),
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


def draw_legend(
    figure: Any, axes: Any, variants: set[str], published: bool, pixels: np.ndarray
) -> np.ndarray:
    """The only legend: what the fill of a marker means, where it covers the fewest of the `pixels`.

    Returns its rectangle in pixels (x0, y0, x1, y1).
    """
    from matplotlib.lines import Line2D

    common = {"marker": "o", "ls": "none", "color": GREY, "mec": GREY, "markerfacecoloralt": "white"}
    entries = {
        "pruned": Line2D([], [], **(common | {"mfc": "white"}), ms=5),
        "retrained": Line2D([], [], **common, ms=7, fillstyle="left"),
        "distilled": Line2D([], [], **common, ms=8),
    }
    shown = {name: handle for name, handle in entries.items() if name in variants}
    if published:
        shown["published (hardware not stated\nunless it is named)"] = Line2D(
            [], [], marker="p", ls="none", mfc="white", mec=GREY, ms=6
        )
    renderer = figure.canvas.get_renderer()

    def at(place: tuple[str, float]) -> Any:
        return axes.legend(
            shown.values(),
            shown.keys(),
            loc=f"center {place[0]}",
            bbox_to_anchor=(0.01 if place[0] == "left" else 0.99, place[1]),
            frameon=False,
            fontsize=8.5,
            handletextpad=0.3,
            labelspacing=0.3,
        )

    def covered(place: tuple[str, float]) -> int:
        x0, y0, x1, y1 = at(place).get_window_extent(renderer).extents
        inside = (pixels[:, 0] > x0) & (pixels[:, 0] < x1) & (pixels[:, 1] > y0) & (pixels[:, 1] < y1)
        return int(inside.sum())

    best = min(LEGEND_PLACES, key=covered)
    return at(best).get_window_extent(renderer).extents
