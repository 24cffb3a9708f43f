"""Pages for the tests of report.html: from synthetic results folders, and from rows made by hand."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from qaprune.report.columns import Row
from qaprune.report.page.build import Figure, build_page
from qaprune.report.provenance import Origin, Provenance
from qaprune.report.stage import PAGE, build_report
from tests.unit.compare_data import edit_json
from tests.unit.report_data import write_evaluate, write_profile

HOSTILE = "</script><script>alert(1)</script><b a=\"1\" b='2'>&amp;\u2028"
VOID = ("meta", "link", "input", "img", "br")


def stage_page(folder: Path, published: bool = True) -> str:
    """The page of two pairs, one of them timed with two backends at two batch sizes."""
    runs = [write_evaluate(folder, "bert", "squad2"), write_evaluate(folder, "roberta", "nq")]
    profile = write_profile(folder, runs[0].name, settings=(("eager", 1.5), ("sdpa", 1.0)))
    add_batch(profile)
    build_report({"resamples": 200, "published": published}, runs, [profile], folder / "out")
    return (folder / "out" / PAGE).read_text(encoding="utf-8")


def add_batch(profile: Path) -> None:
    """Time everything at batch 1 too, where a quarter of the time is taken."""
    import csv

    from qaprune.data.examples import open_text

    path = profile / "samples.csv.gz"
    with open_text(path) as stream:
        header, *passes = csv.reader(stream)
    batch, seconds = header.index("batch"), header.index("seconds")
    more = []
    for line in passes:
        line = list(line)
        line[batch], line[seconds] = "1", f"{float(line[seconds]) / 4:.9f}"
        more.append(line)
    with open_text(path, "w") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *passes, *more])
    edit_json(
        profile / "cells.json",
        lambda described: described["cells"].extend([cell | {"batch": 1} for cell in described["cells"]]),
    )


def page_of(rows: list[Row], matrix: list[Row] = (), figures: list[Figure] = (), name: str = "mine") -> str:  # type: ignore[assignment]
    """A page from rows, without the files behind them."""
    origins = tuple(Origin("run", "recover/run", "digest", "commit", f"snakemake {name}") for _ in rows)
    origin = Provenance(origins, {"run": {"device": "CPU <3", "gpu": None}}, {"run": {"evaluate": "c"}}, ())
    return build_page(name, rows, list(matrix), origin, figures, published=True)


def hostile(rows: list[Row]) -> list[Row]:
    """The rows with markup in everything that a config names."""
    planted = []
    for place, row in enumerate(rows):
        more = {"model": HOSTILE, "dataset": f"d{HOSTILE}", "device": HOSTILE, "not_measured": HOSTILE}
        if row["criterion"]:
            more |= {"criterion": f"{row['criterion']}{HOSTILE}", "budget": f"{HOSTILE}{place}"}
        planted.append(row | more)
    return planted


class Parsed(HTMLParser):
    """What a test asks of a page; `nesting` names elements that are closed out of order."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.nesting: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        self.nesting += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.nesting.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *tags: str) -> str:
        """The text inside elements of those names, or all of it but scripts and styles."""
        return " ".join(
            data for tag, data in self.texts if (tag in tags if tags else tag not in ("script", "style"))
        )

    def data(self) -> dict:
        """The page's block of rows."""
        return json.loads(next(data for tag, data in self.texts if tag == "script"))
