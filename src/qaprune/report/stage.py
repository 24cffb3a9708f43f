"""The stage `report`: tables, plots and the one page of a results folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qaprune.errors import InputError
from qaprune.report.collect import check_one_machine, collect
from qaprune.report.columns import Row
from qaprune.report.figures import f1_speedup_figure
from qaprune.report.intervals import RESAMPLES
from qaprune.report.page.build import Figure, build_page
from qaprune.report.provenance import provenance
from qaprune.report.rows import build_rows, matrix_rows, pairs, untrained
from qaprune.report.speed_figure import speed_figure
from qaprune.report.style import save
from qaprune.report.tables import matrix_csv, points_csv, points_markdown
from qaprune.report.terminal import terminal_text

TERMINAL = "points.txt"
PAGE = "report.html"


def build_report(spec: dict, evaluate: list[Path], profile: list[Path], out: Path) -> str:
    """Write report.html, tables/points.csv, .md and .txt, matrix.csv, plots/<model>-<dataset>.png and .svg.

    `spec`: `resamples` (default 2000), `seed` of the bootstrap (default 0), `published` (default false:
    published results neither in the Markdown nor in the plots), `mixed_hardware` (default false: seeds
    of one model and data set that were timed on different machines are refused), `name` of the config
    (default: that of the results folder). Returns the terminal's table and plots.
    """
    published = bool(spec.get("published", False))
    resamples = spec.get("resamples", RESAMPLES)
    if not isinstance(resamples, int) or resamples < 100:
        raise InputError(f"report.resamples: expected a whole number from 100 up, got {resamples!r}")
    runs = collect(evaluate, profile)
    if not spec.get("mixed_hardware", False):
        check_one_machine(runs)
    rows = build_rows(runs, resamples, spec.get("seed", 0))
    tables, plots = out / "tables", out / "plots"
    for folder in (tables, plots):
        folder.mkdir(parents=True, exist_ok=True)
    (tables / "points.csv").write_text(points_csv(rows), encoding="utf-8")
    matrix = matrix_rows(runs, resamples, spec.get("seed", 0))
    (tables / "matrix.csv").write_text(matrix_csv(matrix), encoding="utf-8")
    (tables / "points.md").write_text(points_markdown(rows, published), encoding="utf-8")
    figures = list(_plots(rows, published, plots))
    results = (evaluate or profile)[0].parent.parent
    name = spec.get("name", results.name)
    origin = provenance(results, name, runs, rows)
    page = build_page(name, rows, matrix, origin, figures, published)
    (out / PAGE).write_text(page, encoding="utf-8")
    text = terminal_text(rows)
    (tables / TERMINAL).write_text(text, encoding="utf-8")
    return text


def _plots(rows: list[Row], published: bool, folder: Path) -> Iterator[Figure]:
    """Save the plot of each pair, and hand it on to the page."""
    for (model, dataset), group in pairs(rows).items():
        name, alone = f"{model}-{dataset}", untrained(group)
        save(speed_figure(group) if alone else f1_speedup_figure(group, published), folder / name)
        title = f"{'Speedup' if alone else 'F1 against speedup'}, {model} on {dataset}."
        caption = "Each timed row with its intervals" + ("; hollow grey: published." if published else ".")
        yield Figure(name, title, caption, (folder / f"{name}.svg").read_text(encoding="utf-8"))


def report(
    spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Callable[[str], None]
) -> dict[str, str]:
    """The stage as the command line calls it: `inputs` holds the `evaluate` and `profile` folders."""
    build_report(spec, inputs["evaluate"], inputs["profile"], out)
    plots = len(list((out / "plots").glob("*.png")))
    runs = len(inputs["evaluate"] or inputs["profile"])
    return {"summary": f"{PAGE} and tables/points.csv of {runs} runs, {plots} plots"}
