"""One look for all figures: Okabe-Ito colours, a marker a criterion, no bytes that change with the date."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Okabe-Ito, ordered so that neighbours differ in lightness too; the paler three are left to later criteria.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
KNOWN = (
    *("l0", "random", "gain", "first_layers", "alternate_layers", "leave_one_out", "fisher"),
    *("l0_joint", "movement", "magnitude", "torch_pruning_global", "torch_pruning_layer", "uniform"),
)
GREY = "#5f5f5f"
PALE = "#bdbdbd"
SMALL = 8.5
"""Points of the small print and of direct labels."""
LETTERS_AN_INCH = 15.5
"""How many letters of the small print fit into an inch."""
PARAMETERS = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#404040",
    "axes.grid": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "svg.hashsalt": "qaprune",
    "svg.fonttype": "path",
    "figure.dpi": 100,
    "savefig.dpi": 160,
}


KINDS: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""File types of a figure, and what matplotlib would write into them that changes from run to run."""


@contextmanager
def drawing(width: float, height: float) -> Iterator[Any]:
    """A new figure of that size in inches, drawn in this look; no window, no state left behind."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(PARAMETERS):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout=None)
        FigureCanvasAgg(figure)
        yield figure


def write_head(figure: Any, title: str, lines: Iterable[str], left: float = 0.7) -> float:
    """A bold title and grey lines below it, `left` inches from the edge, wrapped to the figure's width.

    Returns how many inches they take from the top.
    """
    width, height = figure.get_size_inches()
    head = figure.text(left / width, 1 - 0.29 / height, title, fontsize=13, weight="bold")
    taken = head.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi
    head.set_fontsize(13 * min(1.0, (width - left - 0.1) / taken))
    at = 0.48
    letters = int((width - left) * LETTERS_AN_INCH)
    for text in [part for line in lines if line for part in textwrap.wrap(line, letters)]:
        figure.text(left / width, 1 - at / height, text, fontsize=SMALL, color=GREY)
        at += 0.165
    return at


def room_for(names: Iterable[str], least: float, size: float = SMALL) -> float:
    """Inches that the longest of some names takes beside an axis, with a gap; `least` or more."""
    return max([least, *(0.2 + len(name) / LETTERS_AN_INCH * size / SMALL for name in names)])


def looks(criteria: list[str]) -> dict[str, tuple[str, str]]:
    """criterion -> (colour, marker): known criteria always look the same, others take what is free.

    `l0@slow`, the same criterion with other settings, has the colour of `l0` and a marker of its own.
    """
    known = {name: place for place, name in enumerate(KNOWN)}
    places = {name: known[name] for name in criteria if name in known}
    for name in sorted(dict.fromkeys(criteria), key=lambda name: "@" in name):
        if name not in places:
            base = (known | places).get(name.partition("@")[0])
            places[name] = _free_place(set(places.values()), base)
    return {name: _look(place) for name, place in places.items()}


def _free_place(taken: set[int], like: int | None) -> int:
    """The first place that is free, of the colour of place `like` if there is one."""
    free = [place for place in range(len(COLOURS) * len(MARKERS)) if place not in taken]
    alike = [place for place in free if like is not None and (place - like) % len(COLOURS) == 0]
    return (alike or free)[0]


def words_of(criterion: str) -> str:
    """A criterion's name in a figure."""
    return criterion.replace("_", " ")


def ink(colour: str) -> str:
    """The colour for text: the paler ones darker, so that thin letters can be read on white."""
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = to_rgb(colour)
    lightness = 0.30 * red + 0.59 * green + 0.11 * blue
    return colour if lightness < 0.5 else to_hex([part * 0.5 / lightness for part in (red, green, blue)])


def _look(place: int) -> tuple[str, str]:
    """Colours come again with another marker: no two of the first 49 places are alike."""
    again, first = divmod(place, len(COLOURS))
    return COLOURS[first], MARKERS[(first + 2 * again) % len(MARKERS)]


def save(figure: Any, path: Path) -> None:
    """Write PNG and SVG beside each other (`path` has no suffix); the same figure gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context(PARAMETERS):
        for kind, metadata in KINDS.items():
            figure.savefig(path.with_name(f"{path.name}.{kind}"), metadata=metadata)
