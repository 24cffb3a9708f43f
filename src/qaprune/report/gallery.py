"""All figures of a report in the order a reader wants them; one that cannot be drawn says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from qaprune.report.collect import Run
from qaprune.report.columns import Row
from qaprune.report.figures import (
    ENERGY,
    draws_pruned,
    f1_energy_figure,
    f1_speedup_figure,
    plotted_points,
    what_bars_are,
)
from qaprune.report.matrix_figure import matrix_figure
from qaprune.report.published import DATASET
from qaprune.report.recovery_figure import recovered_points, recovery_figure
from qaprune.report.rows import name_of, pairs, timed_at, untrained
from qaprune.report.seeds import seeds_of
from qaprune.report.speed_figure import speed_figure
from qaprune.report.survived_figure import survived_figure, survivors
from qaprune.report.training_figure import curve_rows, training_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_TRAINED = "untrained weights: nothing was scored, recovered or trained"
NO_CURVES = (
    "no training log beside the scores; teachers that are taken as they are and older runs have none"
)
NO_WIDTHS = "no widths by layer in scores.json: scored before they were kept, or no operating point"


class Plate(NamedTuple):
    """One figure and what is said of it."""

    name: str
    """File stem under plots/."""
    title: str
    caption: str
    """One or two sentences: what it shows, what the bars are, the hardware. Empty without a figure."""
    figure: Figure | None
    reason: str
    """Why there is no figure, else empty."""


def gallery(runs: list[Run], rows: list[Row], matrix: list[Row], published: bool) -> Iterator[Plate]:
    """The plates of all pairs of `rows` (points.csv), each drawn when it is asked for.

    The first plate of a pair has the pair's name and always a figure. `matrix`: the rows of matrix.csv.
    `published`: with the published points, on their data set.
    """
    cells, widths, curves = (pairs(table) for table in (matrix, survivors(runs), curve_rows(runs)))
    for pair, group in pairs(rows).items():
        stem, models = "-".join(pair), " on ".join(pair)
        if untrained(group):
            yield _speed(stem, models, group)
            yield _matrix(stem, models, group, cells.get(pair, []))
            for kind in ("recovery", "survived", "energy", "training"):
                yield Plate(f"{stem}-{kind}", f"{kind.capitalize()}: {models}", "", None, NOT_TRAINED)
            continue
        yield _main(stem, models, group, published)
        yield _recovery(stem, models, group)
        yield _survived(stem, models, widths.get(pair, []))
        yield _matrix(stem, models, group, cells.get(pair, []))
        yield _energy(stem, models, group)
        yield _training(stem, models, curves.get(pair, []))


def _plate(name: str, title: str, caption: str, reason: str, draw: Callable[..., Any], *data: Any) -> Plate:
    """The plate, drawn from `data` unless there is a reason not to; then there is nothing to describe."""
    return Plate(name, title, "", None, reason) if reason else Plate(name, title, caption, draw(*data), "")


def _main(stem: str, models: str, group: list[Row], published: bool) -> Plate:
    bars = what_bars_are(group, pruned=draws_pruned(plotted_points(group)))
    caption = f"F1 on dev against speedup, {bars}. {_sentence(timed_at(group))}"
    if published and group[0]["dataset"] == DATASET:
        caption += (
            " Hollow grey: published, each against its own teacher, hardware not stated unless named."
        )
    return _plate(stem, f"F1 against speedup: {models}", caption, "", f1_speedup_figure, group, published)


def _speed(stem: str, models: str, group: list[Row]) -> Plate:
    known = any(row["speedup_published"] is not None for row in group)
    beside = ", and as published for bert-large, hardware not stated" if known else ""
    caption = (
        f"Speedup of untrained cuts, measured (bars: 95 % bootstrap intervals over rounds){beside}. "
        + _sentence(timed_at(group))
    )
    return _plate(stem, f"Speed alone: {models}", caption, "", speed_figure, group)


def _recovery(stem: str, models: str, group: list[Row]) -> Plate:
    caption = (
        f"F1 on dev when pruned, and what retraining or distillation makes of it; {what_bars_are(group)}."
    )
    reason = "" if recovered_points(group) else "no operating point was recovered"
    return _plate(f"{stem}-recovery", f"Recovery: {models}", caption, reason, recovery_figure, group)


def _survived(stem: str, models: str, widths: list[Row]) -> Plate:
    caption = (
        "Attention heads and feed-forward units left in each layer, by criterion and budget; colours are "
        "the share of the teacher's own."
    )
    if any(row["criterion"] == "random" for row in widths):
        caption += " Of random masks the first."
    if len(seeds_of(widths)) > 1:
        caption += " Mean of the seeds."
    reason = "" if any(row["criterion"] for row in widths) else NO_WIDTHS
    return _plate(f"{stem}-survived", f"What survived: {models}", caption, reason, survived_figure, widths)


def _matrix(stem: str, models: str, group: list[Row], cells: list[Row]) -> Plate:
    caption = (
        "Speedup of every variant at every batch x length and setting, against the teacher at its fastest "
        f"setting there; hatched cells did not run. {_sentence(_devices(cells))}"
    )
    reason = (
        ""
        if any(row["speedup"] is not None for row in cells)
        else _why(group, "speed", "nothing was timed")
    )
    order = {name_of(row): place for place, row in enumerate(group)}
    cells = sorted(cells, key=lambda row: order[name_of(row)])
    return _plate(f"{stem}-matrix", f"Speedup matrix: {models}", caption, reason, matrix_figure, cells)


def _energy(stem: str, models: str, group: list[Row]) -> Plate:
    points = plotted_points(group, ENERGY)
    bars = what_bars_are(group, ENERGY, draws_pruned(points))
    caption = f"F1 on dev against energy a question above idle; {bars}. {_sentence(timed_at(group))}"
    reason = "" if points else _why(group, "energy", "energy was not measured")
    return _plate(
        f"{stem}-energy", f"F1 against energy: {models}", caption, reason, f1_energy_figure, group
    )


def _training(stem: str, models: str, curves: list[Row]) -> Plate:
    caption = (
        "Loss against the tokens read, of the teachers and of every recovery; no bars. Losses compare "
        "within a panel alone."
    )
    reason = "" if curves else NO_CURVES
    return _plate(f"{stem}-training", f"Training: {models}", caption, reason, training_figure, curves)


def _why(group: list[Row], what: str, otherwise: str) -> str:
    """The first reason of the rows that names `what` among what it is the reason for."""
    for row in group:
        for reason in str(row["not_measured"] or "").split("; "):
            columns, _, why = reason.partition(": ")
            if what in columns:
                return why
    return otherwise


def _devices(cells: list[Row]) -> str:
    return ", ".join(dict.fromkeys(str(row["device"]) for row in cells if row["device"]))


def _sentence(text: str) -> str:
    """`Text.`, or nothing of nothing."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""
