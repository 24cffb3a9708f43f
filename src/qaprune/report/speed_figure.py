"""Measured speedups beside published ones, for models that were timed without quality."""

from __future__ import annotations

from typing import Any

from qaprune.report.columns import Row
from qaprune.report.rows import timed_at
from qaprune.report.style import COLOURS, GREY, drawing, write_head

MEASURED, PUBLISHED = "measured here", "published, bert-large (hardware not stated)"


def speed_figure(rows: list[Row]) -> Any:
    """One line a cut: the measured speedup with its interval, the paper's as a hollow marker."""
    shown = [row for row in rows if row["criterion"]]
    with drawing(8.2, 2.1 + 0.42 * len(shown)) as figure:
        lines = (
            timed_at(rows),
            "per cents kept, spread evenly over the layers; packed windows; bars: 95 % bootstrap intervals",
        )
        taken = write_head(figure, f"{rows[0]['model']}, untrained: speed alone", lines, left=0.25)
        height = figure.get_size_inches()[1]
        axes = figure.add_axes((0.15, 0.62 / height, 0.80, 1 - (0.72 + taken) / height))
        for place, row in enumerate(shown):
            _draw_row(axes, len(shown) - 1 - place, row)
        axes.set_yticks(range(len(shown)), [_name(row) for row in reversed(shown)])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.axvline(1.0, color=GREY, lw=0.8)
        axes.set_xlim(left=min(0.95, axes.get_xlim()[0]))
        axes.set_xlabel("speedup over the teacher (x)")
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper right", frameon=False, fontsize=8.5)
    return figure


def _name(row: Row) -> str:
    return str(row["budget"])


def _draw_row(axes: Any, place: int, row: Row) -> None:
    named = axes.get_legend_handles_labels()[1]
    published = row["speedup_published"]
    if published is not None:
        axes.plot(
            float(published),  # type: ignore[arg-type]
            place,
            marker="D",
            ms=8,
            mfc="none",
            mec=GREY,
            ls="none",
            label=PUBLISHED if PUBLISHED not in named else None,
        )
    if row["speedup"] is None:
        axes.text(1.02, place, "not measured", va="center", fontsize=8.5, color=GREY)
        return
    speedup, low, high = (float(row[name]) for name in ("speedup", "speedup_low", "speedup_high"))  # type: ignore[arg-type]
    axes.errorbar(
        speedup,
        place,
        xerr=[[speedup - low], [high - speedup]],
        marker="o",
        ms=6,
        color=COLOURS[0],
        capsize=3,
        label=MEASURED if MEASURED not in named else None,
    )
    axes.annotate(
        f"{speedup:.2f}x",
        (speedup, place),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=8.5,
        color=COLOURS[0],
    )
