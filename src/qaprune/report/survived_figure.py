"""What survived: heads and feed-forward units of each layer, a line an operating point."""

from __future__ import annotations

from typing import Any

import numpy as np

from qaprune.report.collect import Run
from qaprune.report.columns import Row
from qaprune.report.heat import draw_heat, draw_scale
from qaprune.report.rows import place_of
from qaprune.report.seeds import seeds_of
from qaprune.report.style import drawing, ink, looks, room_for, words_of, write_head

KINDS = {"heads_per_layer": "attention heads kept", "ff_per_layer": "feed-forward units kept, %"}
ROW, LABELS, BETWEEN = 0.23, 1.75, 0.25
"""Inches: a line's height, the room of the lines' names, the gap between the two maps."""
NUMBERED = 180
"""Cells of a map up to which each has its number."""


def survivors(runs: list[Run]) -> list[Row]:
    """A row an operating point and seed, a run's teacher first: `KINDS` as lists, a number a layer.

    Recovery closes nothing, so one variant of a point stands for all; of random masks it is the first.
    Runs whose evaluate folder is older than these lists have no rows.
    """
    found: dict[tuple[object, ...], Row] = {}
    for run in runs:
        for key in sorted(run.variants, key=lambda key: place_of(key, run.variants[key])):
            scores = run.variants[key]
            if any(scores.get(kind) is None for kind in KINDS) or scores.get("draw"):
                continue
            if not scores.get("criterion") and key != "teacher":
                continue
            names = {name: scores.get(name) for name in ("criterion", "budget")}
            identity = {"model": run.model, "dataset": run.dataset, "seed": run.seed, **names}
            found.setdefault(tuple(identity.values()), identity | {kind: scores[kind] for kind in KINDS})
    return list(found.values())


def survived_figure(rows: list[Row]) -> Any:
    """Two maps of one pair's `survivors`, a teacher and operating points: layers across, points down.

    Of several seeds the mean.
    """
    teacher = next(row for row in rows if row["criterion"] is None)
    points: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["criterion"] is not None:
            points.setdefault((str(row["criterion"]), str(row["budget"] or "")), []).append(row)
    look = looks([criterion for criterion, _ in points])
    layers = len(teacher["heads_per_layer"])  # type: ignore[arg-type]
    cell = min(0.42, max(0.16, 3.6 / layers))
    names = [f"{words_of(criterion)} {budget}".strip() for criterion, budget in points]
    labels = room_for(names, LABELS)
    titles = [f"{title} of {_whole(np.array(teacher[kind], float))}" for kind, title in KINDS.items()]
    step = room_for(titles, layers * cell + BETWEEN)  # few layers are narrower than their title
    width, height = max(labels + 2 * step + 0.1, 6.2), 1.75 + ROW * len(points)
    with drawing(width, height) as figure:
        seeds = seeds_of(rows)
        several = f"mean of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
        write_head(
            figure,
            f"What survived: {rows[0]['model']} on {rows[0]['dataset']}",
            [several + "; of random masks the first" * ("random" in look)],
            left=0.25,
        )
        for place, kind in enumerate(KINDS):
            whole = np.array(teacher[kind], float)
            kept = np.array([np.mean([row[kind] for row in group], axis=0) for group in points.values()])
            percent = 100 * kept / np.maximum(whole, 1)
            left = labels + place * step
            axes = figure.add_axes(
                (left / width, 0.72 / height, layers * cell / width, ROW * len(points) / height)
            )
            shown = kept if kind == "heads_per_layer" else percent
            texts = [[f"{value:.0f}" for value in line] for line in shown]
            image = draw_heat(axes, percent, texts if shown.size <= NUMBERED else None, 0, 100)
            axes.set_xticks(range(layers), range(1, layers + 1), fontsize=7.5)
            axes.xaxis.tick_top()
            axes.set_title(titles[place], fontsize=8.5, loc="left", pad=3)
            axes.set_yticks(range(len(points)), names if not place else [""] * len(points), fontsize=8.5)
            for text, (criterion, _) in zip(axes.get_yticklabels(), points, strict=True):
                text.set_color(ink(look[criterion][0]))
        bar = (labels / width, 0.44 / height, layers * cell / width, 0.09 / height)
        draw_scale(figure, image, bar, "% of the layer kept; layer 1 reads the embeddings")
    return figure


def _whole(widths: np.ndarray) -> str:
    """What the teacher has in each layer."""
    low, high = widths.min(), widths.max()
    return f"{low:.0f} a layer" if low == high else f"{low:.0f} to {high:.0f} a layer"
