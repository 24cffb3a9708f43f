"""The stage `report`: tables and plots of a results folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qaprune.errors import InputError
from qaprune.report.collect import check_one_machine, collect
from qaprune.report.figures import f1_speedup_figure
from qaprune.report.intervals import RESAMPLES
from qaprune.report.rows import build_rows, matrix_rows, pairs, untrained
from qaprune.report.speed_figure import speed_figure
from qaprune.report.style import save
from qaprune.report.tables import matrix_csv, points_csv, points_markdown
from qaprune.report.terminal import terminal_text

TERMINAL = "points.txt"


def build_report(spec: dict, evaluate: list[Path], profile: list[Path], out: Path) -> str:
    """Write tables/points.csv, .md and .txt, matrix.csv, and plots/<model>-<dataset>.png and .svg.

    `spec`: `resamples` (default 2000), `seed` of the bootstrap (default 0), `published` (default false:
    published results neither in the Markdown nor in the plots), `mixed_hardware` (default false: seeds
    of one model and data set that were timed on different machines are refused). Returns the terminal's
    table and plots.
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
    for (model, dataset), group in pairs(rows).items():
        figure = speed_figure(group) if untrained(group) else f1_speedup_figure(group, published)
        save(figure, plots / f"{model}-{dataset}")
    text = terminal_text(rows)
    (tables / TERMINAL).write_text(text, encoding="utf-8")
    return text


def report(
    spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Callable[[str], None]
) -> dict[str, str]:
    """The stage as the command line calls it: `inputs` holds the `evaluate` and `profile` folders."""
    build_report(spec, inputs["evaluate"], inputs["profile"], out)
    plots = len(list((out / "plots").glob("*.png")))
    runs = len(inputs["evaluate"] or inputs["profile"])
    return {"summary": f"tables/points.csv of {runs} runs, {plots} plots"}
