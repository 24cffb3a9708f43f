"""One look for all figures: Okabe-Ito colours, a marker a criterion, no bytes that change with the date."""

from __future__ import annotations

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


def looks(criteria: list[str]) -> dict[str, tuple[str, str]]:
    """criterion -> (colour, marker): known criteria always look the same, others take what is free."""
    places = {name: KNOWN.index(name) for name in criteria if name in KNOWN}
    every = range(len(COLOURS) * len(MARKERS))
    free = iter([place for place in every if place not in places.values()])
    for name in dict.fromkeys(criteria):
        if name not in places:
            places[name] = next(free)
    return {name: _look(place) for name, place in places.items()}


def _look(place: int) -> tuple[str, str]:
    """Colours come again with another marker: no two of the first 49 places are alike."""
    again, first = divmod(place, len(COLOURS))
    return COLOURS[first], MARKERS[(first + 2 * again) % len(MARKERS)]


def save(figure: Any, path: Path) -> None:
    """Write PNG and SVG beside each other (`path` has no suffix); the same figure gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context(PARAMETERS):
        figure.savefig(path.with_name(path.name + ".png"), metadata={"Software": None})
        figure.savefig(path.with_name(path.name + ".svg"), metadata={"Date": None, "Creator": None})
