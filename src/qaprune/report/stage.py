"""The stage `report`: tables and plots of a results folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qaprune.errors import InputError
from qaprune.report.collect import collect
from qaprune.report.gallery import gallery
from qaprune.report.intervals import RESAMPLES
from qaprune.report.latex import points_tex
from qaprune.report.macros import macros_tex
from qaprune.report.rows import build_rows, matrix_rows
from qaprune.report.style import KINDS, save
from qaprune.report.tables import matrix_csv, points_csv, points_markdown, terminal_table

TERMINAL = "points.txt"


def build_report(
    spec: dict,
    evaluate: list[Path],
    profile: list[Path],
    out: Path,
    log: Callable[[str], None] = lambda line: None,
) -> str:
    """Write tables/ (points.csv, .md, .tex and .txt, macros.tex, matrix.csv) and the plates of `gallery`
    under plots/.

    `spec`: `resamples` (default 2000), `seed` of the bootstrap (default 0), `published` (default false:
    published results neither in the Markdown nor in the plots). Returns the terminal's table.
    """
    published = bool(spec.get("published", False))
    resamples = spec.get("resamples", RESAMPLES)
    if not isinstance(resamples, int) or resamples < 100:
        raise InputError(f"report.resamples: expected a whole number from 100 up, got {resamples!r}")
    runs = collect(evaluate, profile)
    rows = build_rows(runs, resamples, spec.get("seed", 0))
    tables, plots = out / "tables", out / "plots"
    for folder in (tables, plots):
        folder.mkdir(parents=True, exist_ok=True)
    (tables / "points.csv").write_text(points_csv(rows), encoding="utf-8")
    matrix = matrix_rows(runs, resamples, spec.get("seed", 0))
    (tables / "matrix.csv").write_text(matrix_csv(matrix), encoding="utf-8")
    (tables / "points.tex").write_text(points_tex(rows), encoding="ascii")
    (tables / "macros.tex").write_text(macros_tex(rows), encoding="ascii")
    (tables / "points.md").write_text(points_markdown(rows, published), encoding="utf-8")
    for plate in gallery(runs, rows, matrix, published):
        if plate.figure is not None:
            save(plate.figure, plots / plate.name)
            continue
        log(f"  no plot {plate.name}: {plate.reason}")
        for kind in KINDS:  # one from an earlier report would tell of other rows
            (plots / f"{plate.name}.{kind}").unlink(missing_ok=True)
    text = terminal_table(rows)
    (tables / TERMINAL).write_text(text, encoding="utf-8")
    return text


def report(
    spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Callable[[str], None]
) -> dict[str, Any]:
    """The stage as the command line calls it: `inputs` holds the `evaluate` and `profile` folders."""
    build_report(spec, inputs["evaluate"], inputs["profile"], out, log)
    plots = sorted(path.stem for path in (out / "plots").glob("*.svg"))
    runs = len(inputs["evaluate"] or inputs["profile"])
    return {"summary": f"tables/points.csv of {runs} runs, {len(plots)} plots", "plots": plots}


def terminal_text(results: Path) -> str:
    """The printed table of a results folder, and where its plots are."""
    for folder in (results, results / "report"):
        if (folder / "tables" / TERMINAL).is_file():
            text = (folder / "tables" / TERMINAL).read_text(encoding="utf-8")
            return f"{text}\ntables: {folder / 'tables'}\nplots:  {folder / 'plots'}"
    raise InputError(
        f"{results}: no tables/{TERMINAL} here; expected the results folder of a finished report"
    )
