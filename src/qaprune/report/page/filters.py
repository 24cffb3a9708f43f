"""The form of filters: chips for criteria and variants (the chart's legend), lists for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qaprune.report.columns import Row
from qaprune.report.page.sections import text
from qaprune.report.rows import untrained

SEARCH = (
    '<label class="field">Search <input type="search" name="text" placeholder="row, budget, device ...">'
    "</label>"
)


def filter_form(rows: list[Row], data: dict[str, Any]) -> str:
    """Only what has something to choose from. Published F1, far off as a rule, waits to be asked for."""
    lists = [
        _list("model", "Model", _values(rows, "model")),
        _list("dataset", "Data set", _values(rows, "dataset")),
        _list("seed", "Seed", _values(rows, "seed")),
        _cells(data["cells"]),
        SEARCH,
        '<button type="reset">Reset</button>',
    ]
    return (
        f'<div class="fields">{"".join(lists)}</div>'
        + _chips("criterion", "Criterion", _values(rows, "criterion"))
        + _chips("variant", "Variant", _values(rows, "variant"))
        + (
            _chips("published", "Published", ["on other hardware"], on=untrained(rows))
            if data["published"]
            else ""
        )
    )


def _values(rows: list[Row], name: str) -> list[str]:
    return list(dict.fromkeys(str(row[name]) for row in rows if row[name] is not None))


def _list(name: str, label: str, values: list[str]) -> str:
    if len(values) < 2:
        return ""
    options = _options([("", "all"), *((value, value) for value in values)])
    return f'<label class="field">{label} <select name="{name}">{options}</select></label>'


def _cells(cells: list[dict[str, Any]]) -> str:
    if len(cells) < 2:
        return ""
    choices = [("", "headline"), *((str(n), f"{c['batch']} x {c['length']}") for n, c in enumerate(cells))]
    return f'<label class="field">Batch x length <select name="cell">{_options(choices)}</select></label>'


def _options(choices: Iterable[tuple[str, str]]) -> str:
    return "".join(f'<option value="{text(value)}">{text(label)}</option>' for value, label in choices)


def _chips(name: str, label: str, values: list[str], on: bool = True) -> str:
    if not values:
        return ""
    checked = " checked" if on else ""
    chips = "".join(
        f'<label class="chip"><input type="checkbox" name="{name}" value="{text(value)}"{checked}>'
        f"<span>{text(value)}</span></label>"
        for value in values
    )
    every = f'<button type="button" data-all="{name}">all / none</button>' if len(values) > 2 else ""
    return f"<fieldset><legend>{label}</legend>{chips}{every}</fieldset>"
