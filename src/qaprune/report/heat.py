"""A heat map whose cells can be read: numbers where they fit, hatching where there is nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from qaprune.report.style import GREY

DARK = 0.55
"""From this share of the colour scale on, numbers are white."""


def draw_heat(axes: Any, values: np.ndarray, texts: list[list[str]] | None, low: float, high: float) -> Any:
    """Draw `values` [rows, columns], NaN hatched, from pale (`low`) to dark (`high`).

    `texts` are written into the cells. Each costs about half a kilobyte of SVG: large maps go without.
    Returns the image, for a colour bar.
    """
    from matplotlib.patches import Rectangle

    rows, columns = values.shape
    image = axes.imshow(
        np.ma.masked_invalid(values),
        cmap="YlGnBu",
        vmin=low,
        vmax=high,
        aspect="auto",
        interpolation="nearest",
    )
    for column in range(columns):
        for first, count in _runs(np.isnan(values[:, column])):
            where = (column - 0.5, first - 0.5)
            axes.add_patch(Rectangle(where, 1, count, fill=False, hatch="/////", ec=GREY, lw=0, alpha=0.5))
    axes.hlines(np.arange(rows - 1) + 0.5, -0.5, columns - 0.5, color="white", lw=0.8)
    axes.vlines(np.arange(columns - 1) + 0.5, -0.5, rows - 0.5, color="white", lw=0.8)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if texts is not None:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                dark = (value - low) / max(high - low, 1e-9) > DARK
                axes.text(
                    column,
                    row,
                    texts[row][column],
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if dark else "black",
                )
    return image


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(first place, length) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return [(int(start), int(end - start)) for start, end in edges.reshape(-1, 2)]


def draw_scale(figure: Any, image: Any, place: tuple[float, float, float, float], label: str) -> Any:
    """A thin horizontal colour bar at `place` (left, bottom, width, height; shares of the figure)."""
    axes = figure.add_axes(place)
    bar = figure.colorbar(image, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    axes.tick_params(length=2, labelsize=7.5)
    axes.set_xlabel(label, fontsize=8, labelpad=2)
    return axes
