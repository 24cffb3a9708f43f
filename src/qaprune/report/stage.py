"""The stage `report`: tables, plots and the one page of a results folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qaprune.errors import InputError
from qaprune.report.collect import check_one_machine, collect
from qaprune.report.gallery import Plate, gallery
from qaprune.report.intervals import RESAMPLES
from qaprune.report.latex import points_tex
from qaprune.report.lineage import rows_json
from qaprune.report.macros import macros_tex
from qaprune.report.page.build import Figure, build_page
from qaprune.report.provenance import provenance
from qaprune.report.rows import build_rows, matrix_rows
from qaprune.report.style import KINDS, save
from qaprune.report.tables import matrix_csv, points_csv, points_markdown
from qaprune.report.terminal import terminal_text

TERMINAL = "points.txt"
PAGE = "report.html"


def build_report(
    spec: dict,
    evaluate: list[Path],
    profile: list[Path],
    out: Path,
    log: Callable[[str], None] = lambda line: None,
) -> str:
    """Write report.html, tables/ (points.csv, .md, .tex and .txt, macros.tex, matrix.csv, rows.json) and
    the plates of `gallery` under plots/.

    `spec`: `resamples` (default 2000), `seed` of the bootstrap (default 0), `published` (default false:
    published results neither in the Markdown nor in the plots), `mixed_hardware` (default false: seeds
    of one model and data set that were timed on different machines are refused), `name` of the config
    (default: that of the results folder), `data_root` that its sources lay under (default: none).
    Returns the terminal's table and plots.
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
    (tables / "points.tex").write_text(points_tex(rows), encoding="ascii")
    (tables / "macros.tex").write_text(macros_tex(rows), encoding="ascii")
    (tables / "points.md").write_text(points_markdown(rows, published), encoding="utf-8")
    figures = [_saved(plate, plots, log) for plate in gallery(runs, rows, matrix, published)]
    results = (evaluate or profile)[0].parent.parent
    name = spec.get("name", results.name)
    root = spec.get("data_root")
    origin = provenance(results, name, runs, rows, rooted=root is not None)
    (tables / "rows.json").write_text(rows_json(results, rows, origin, root), encoding="utf-8")
    page = build_page(name, rows, matrix, origin, figures, published)
    (out / PAGE).write_text(page, encoding="utf-8")
    text = terminal_text(rows)
    (tables / TERMINAL).write_text(text, encoding="utf-8")
    return text


def _saved(plate: Plate, folder: Path, log: Callable[[str], None]) -> Figure:
    """Save a plate's figure, and hand it on to the page; one that is missing says why."""
    path = folder / plate.name
    if plate.figure is None:
        log(f"  no plot {plate.name}: {plate.reason}")
        for kind in KINDS:  # one from an earlier report would tell of other rows
            path.with_name(f"{plate.name}.{kind}").unlink(missing_ok=True)
        return Figure(plate.name, plate.title, plate.caption, None, plate.reason)
    save(plate.figure, path)
    drawn = path.with_name(f"{plate.name}.svg").read_text(encoding="utf-8")
    return Figure(plate.name, plate.title, plate.caption, drawn)


def report(
    spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Callable[[str], None]
) -> dict[str, Any]:
    """The stage as the command line calls it: `inputs` holds the `evaluate` and `profile` folders."""
    build_report(spec, inputs["evaluate"], inputs["profile"], out, log)
    plots = sorted(path.stem for path in (out / "plots").glob("*.svg"))
    runs = len(inputs["evaluate"] or inputs["profile"])
    summary = f"{PAGE} and tables/points.csv of {runs} runs, {len(plots)} plots"
    return {"summary": summary, "plots": plots}
