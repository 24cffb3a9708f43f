"""Rows, figures and provenance -> the text of report.html."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import NamedTuple

from qaprune import __version__
from qaprune.report.columns import Row
from qaprune.report.headline import headline
from qaprune.report.page import sections
from qaprune.report.page.data import json_block, page_data
from qaprune.report.page.filters import filter_form
from qaprune.report.page.table import table
from qaprune.report.provenance import Provenance
from qaprune.report.rows import pairs, untrained

SCRIPTS = ("rows.js", "marks.js", "axes.js", "points.js", "panel.js", "readout.js", "table.js", "main.js")
"""In one scope, in this order."""


class Figure(NamedTuple):
    """One figure: its SVG, or why there is none."""

    name: str
    title: str
    caption: str
    svg: str | None
    reason: str | None = None


def build_page(
    name: str,
    rows: list[Row],
    matrix: list[Row],
    origin: Provenance,
    figures: Sequence[Figure],
    published: bool = False,
) -> str:
    """The whole page. `rows` and `matrix` as `report/rows.py` builds them; `name` is the config's."""
    said = [headline(group) for group in pairs(rows).values()]
    data = page_data(rows, matrix, origin.origins, published)
    data["headline"] = [
        place for place, row in enumerate(rows) if any(row is one for s in said for one in s.rows)
    ]
    heading = "Speed alone, untrained" if untrained(rows) else "F1 against speedup"
    style = _part("page.css")
    script = '"use strict";(() => {\n' + "".join(_part(part) for part in SCRIPTS) + "})();"
    return _fill(
        _part("template.html"),
        {
            "policy": _policy(style, script),
            "title": sections.text(f"{name}: {heading}"),
            "heading": heading,
            "name": sections.text(name),
            "style": style,
            "headline": sections.headlines(said, origin.generated),
            "filters": filter_form(rows, data),
            "reading": sections.reading(rows),
            "table": table(rows, data),
            "figures": sections.figures(figures),
            "environment": sections.environment(origin.environments),
            "provenance": sections.provenance(rows, origin),
            "missing": sections.missing(rows, figures),
            "columns": sections.columns(data["columns"]),
            "version": sections.text(__version__),
            "data": json_block(data),
            "script": script,
        },
    )


def _part(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _fill(template: str, values: Mapping[str, str]) -> str:
    """In one pass: braces in a value are text."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _policy(style: str, script: str) -> str:
    """Nothing is loaded from anywhere, and only this page's own style and script run."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
