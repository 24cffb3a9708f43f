"""F1 against speedup in characters, for machines without a display: a letter a point, as in the table."""

from __future__ import annotations

import math
import string
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from qaprune.report.columns import Row
from qaprune.report.figures import plotted_points
from qaprune.report.marks import Point
from qaprune.report.style import looks

if TYPE_CHECKING:
    from rich.text import Text

HEIGHT = 17
"""Lines of the frame."""
LEFT = 7
"""Characters of the F1 scale."""
LEVELS = {"no-answer": ".", "teacher": "-", "teacher+": "-"}
LETTERS = string.ascii_lowercase + string.ascii_uppercase + string.digits
TOO_MANY = "#"
"""What points beyond the last letter are drawn by."""
BLACK = "#000000"

Key = tuple[object, ...]


class Scale(NamedTuple):
    """A linear map of `low` to `high` onto the places 0 to `places` - 1."""

    low: float
    high: float
    places: int

    def at(self, value: float) -> int:
        return round((value - self.low) / (self.high - self.low) * (self.places - 1))

    def ticks(self, most: int) -> list[float]:
        """Round values inside, at most about so many."""
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]


def key_of(row: Row) -> Key:
    """What a row and its point in the plot share; seeds are one point, at their mean."""
    return (row["criterion"], str(row["budget"] or ""), row["variant"])


def letters_of(group: list[Row]) -> dict[Key, str]:
    """The letter of every point of a pair's plot, in the order of the table."""
    keys = [point[:3] for point in plotted_points(group)]
    return {key: LETTERS[place] if place < len(LETTERS) else TOO_MANY for place, key in enumerate(keys)}


def colours_of(group: list[Row]) -> dict[str, str]:
    """criterion -> colour, that of the figures; empty for black, which a dark terminal swallows."""
    found = looks([str(row["criterion"]) for row in group if row["criterion"]])
    return {name: "" if colour == BLACK else colour for name, (colour, _) in found.items()}


def scatter(group: list[Row], letters: Mapping[Key, str], width: int) -> Text:
    """The plot of one model and data set, at most `width` columns; a line says where nothing was timed."""
    from rich.text import Text

    points = plotted_points(group)
    if not points:
        return Text("no plot: no point was timed")
    levels = {name: found for name in LEVELS if (found := _level(group, name)) is not None}
    across, along = _scales(points, levels, width - LEFT - 1)
    cells: dict[tuple[int, int], tuple[str, str]] = {}
    for name, height in levels.items():
        for column in range(across.places):
            cells[along.at(height), column] = (LEVELS[name], "dim")
    if "teacher" in levels:
        cells[along.at(levels["teacher"]), across.at(1.0)] = ("*", "bold")
    hidden = _draw_points(cells, points, letters, across, along, colours_of(group))
    for name, height in levels.items():
        _name_level(cells, along.at(height), across.places, f" {name} {height:.1f} ")
    text = Text("F1 on dev\n")
    ticks = {along.at(value): f"{value:g}" for value in along.ticks(HEIGHT // 3)}
    for line in reversed(range(HEIGHT)):
        text.append(f"{ticks.get(line, ''):>{LEFT - 1}} {'+' if line in ticks else '|'}")
        for column in range(across.places):
            text.append(*cells.get((line, column), (" ", "")))
        text.rstrip()
        text.append("\n")
    text.append(_speed_axis(across))
    notes = "letters: as in the table" + (", * teacher" if "teacher" in levels else "")
    if hidden:
        notes += "; at the same place: " + ", ".join(" ".join(names) for names in hidden)
    for line in textwrap.wrap(notes, width):
        text.append(f"\n{line}")
    return text


def _level(group: list[Row], variant: str) -> float | None:
    """Mean F1 of a fixed variant over the seeds."""
    found = [float(row["f1"]) for row in group if row["variant"] == variant]  # type: ignore[arg-type]
    return sum(found) / len(found) if found else None


def _scales(points: list[Point], levels: Mapping[str, float], width: int) -> tuple[Scale, Scale]:
    speeds = [1.0, *(point.x for point in points)]
    heights = [*levels.values(), *(point.f1 for point in points)]
    wide, tall = max(max(speeds) - min(speeds), 0.2), max(max(heights) - min(heights), 2.0)
    middle = (min(heights) + max(heights)) / 2
    return (
        Scale(min(speeds) - 0.04 * wide, min(speeds) + 1.06 * wide, width),
        Scale(middle - 0.55 * tall, middle + 0.55 * tall, HEIGHT),
    )


def _name_level(cells: dict, line: int, width: int, name: str) -> None:
    """Write a level's name where its line is free, as far to the left as may be."""
    for start in range(width - len(name)):
        places = [(line, column) for column in range(start, start + len(name))]
        if all(cells[place][0] in LEVELS.values() for place in places):
            cells.update(zip(places, ((letter, "dim") for letter in name), strict=True))
            return


def _draw_points(
    cells: dict,
    points: list[Point],
    letters: Mapping[Key, str],
    across: Scale,
    along: Scale,
    colours: Mapping[str, str],
) -> list[list[str]]:
    """Put the letters in; returns those that share a place, the drawn one first."""
    placed: dict[tuple[int, int], list[str]] = {}
    for point in points:
        at = (along.at(point.f1), across.at(point.x))
        letter = letters[point[:3]]
        if at not in placed:
            cells[at] = (letter, colours[point.criterion])
        placed.setdefault(at, []).append(letter)
    return [names for names in placed.values() if len(names) > 1]


def _speed_axis(across: Scale) -> str:
    """The frame's lower edge with its ticks, and the scale below it."""
    edge, scale = ["-"] * across.places, [" "] * across.places
    for value in across.ticks(7):
        place, text = across.at(value), f"{value:g}x"
        edge[place] = "+"
        start = max(0, min(place - len(text) // 2, across.places - len(text)))
        if not "".join(scale[max(0, start - 1) : start + len(text) + 1]).strip():
            scale[start : start + len(text)] = text
    words = "speedup over the teacher".center(across.places)
    lines = (f"+{''.join(edge)}", f" {''.join(scale)}", f" {words}")
    return "\n".join((" " * LEFT + line).rstrip() for line in lines)
