"""Table and plot of each pair for a terminal: coloured there, plain text in files and pipes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, TextIO

from qaprune.report.columns import Row
from qaprune.report.rows import pairs, untrained
from qaprune.report.seeds import over_seeds, seeds_of
from qaprune.report.tables import (
    SPEED_HEADER,
    WIDTH,
    masks_text,
    mean_of,
    number,
    reasons,
    seeds_text,
    setting_lines,
    shown_rows,
    span,
    speed_body,
)
from qaprune.report.text_plot import colours_of, key_of, letters_of, scatter

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

HEADER = ("", "variant", "F1", "95 %", "delta", "speedup", "95 %", "ms")
NAME_WIDTH = 29
"""What the figures leave of 80 columns for a name."""
NAME_WIDTH_SEEDS = 27
"""The same beside means and spreads."""
BOLD = ("teacher", "teacher+")


def terminal_text(rows: list[Row]) -> str:
    """What `qaprune show` prints where no terminal reads it: plain text, at most 80 columns."""
    stream = io.StringIO()
    console = make_console(stream, force_terminal=False, color_system=None, width=WIDTH)
    print_rows(console, rows)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def print_terminal(rows: list[Row], stream: TextIO) -> None:
    """Print to a terminal in colour, to anything else as plain text."""
    console = make_console(stream)
    if console.is_terminal:
        print_rows(console, rows)
    else:
        stream.write(terminal_text(rows))


def make_console(stream: TextIO, **options: Any) -> Console:
    """A console that prints text as it is: names are no markup, numbers no reason for colour."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False, **options)


def print_rows(console: Console, rows: list[Row]) -> None:
    """A block a model and data set: where it was timed, the table, what is missing, the plot."""
    for place, ((model, dataset), group) in enumerate(pairs(rows).items()):
        if place:
            console.print()
        console.print(f"{model} on {dataset}", style="bold")
        _print_lines(console, setting_lines(group))
        if untrained(group):
            console.print(_table(SPEED_HEADER, speed_body(group, "-")))
            _print_lines(console, [f"not measured: {reason}" for reason in reasons(group)])
            continue
        letters = letters_of(group)
        if len(seeds_of(group)) > 1:
            _print_lines(console, [f"{mean_of(group)}; each seed: points.md"])
            console.print(_seeds_table(group, letters))
        else:
            console.print(_quality_table(group, letters))
        _print_lines(console, [f"not measured: {reason}" for reason in reasons(group)])
        console.print()
        console.print(scatter(group, letters, min(console.width, WIDTH)), no_wrap=True, overflow="crop")


def _print_lines(console: Console, lines: list[str]) -> None:
    from rich.padding import Padding

    for line in lines:
        console.print(Padding(line, (0, 0, 0, 2)), style="dim")


def _quality_table(group: list[Row], letters: dict[tuple[object, ...], str]) -> RenderableType:
    """F1 and speed of every row. A point's letter stands at what is plotted of it: the mean of its masks
    where there are several."""
    colours = colours_of(group)
    shown = shown_rows(group)
    averaged = {key_of(row) for _, row, draws in shown if draws}
    body, styles = [], []
    for name, row, draws in shown:
        key = key_of(row)
        letter = "" if key in averaged and not draws else letters.get(key, "")
        styles.append(colours.get(str(row["criterion"]), "") or ("bold" if name in BOLD else ""))
        if draws:
            body.append((letter, name, *masks_text(draws), "", "", "", ""))
            continue
        body.append(
            (
                letter,
                _folded(name),
                number(row["f1"], 1),
                span(row, "f1", 1, between="-"),
                number(row["delta_f1"], 1, "+"),
                number(row["speedup"], 2),
                span(row, "speedup", 2, between="-"),
                number(row["latency_ms"], 1),
            )
        )
    return _table(HEADER, body, styles)


def _seeds_table(group: list[Row], letters: dict[tuple[object, ...], str]) -> RenderableType:
    """Means over several seeds, a line a variant."""
    header, body = seeds_text(group)
    shown = [variant.first for variant in over_seeds(group)]
    colours = colours_of(group)
    styles = [colours.get(str(row["criterion"]), "") for row in shown]
    lines = [
        (letters.get(key_of(row), ""), _folded(name, NAME_WIDTH_SEEDS), *cells)
        for row, (name, *cells) in zip(shown, body, strict=True)
    ]
    return _table(("", *header), lines, styles)


def _folded(name: str, width: int = NAME_WIDTH) -> str:
    """On two lines where it is long: the kind on the second, with the budget if that is too long still."""
    if len(name) <= width:
        return name
    at = "/" if len(name.partition("/")[0]) <= width else "-"
    return name.replace(at, f"\n  {at}", 1)


def _table(
    header: tuple[str, ...], body: list[tuple[str, ...]], styles: list[str] | None = None
) -> RenderableType:
    """Names to the left, figures to the right, one space between columns, no rules."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    names = 1 + (header[0] == "")
    for place, title in enumerate(header):
        if place < names:
            table.add_column(Text(title), overflow="fold", max_width=NAME_WIDTH if title else None)
        else:
            table.add_column(Text(title), justify="right", no_wrap=True)
    for line, style in zip(body, styles or [""] * len(body), strict=True):
        cells = [Text(cell, style=style if place < names else "") for place, cell in enumerate(line)]
        table.add_row(*cells)
    return table
