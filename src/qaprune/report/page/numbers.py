"""How the page writes a column's figures; the script that redraws the table is told the same digits."""

from __future__ import annotations

from qaprune.report.columns import UNITS

SHORT = "short"
"""For large counts: 17.2 M, 3.0 G."""
_BY_UNIT: dict[str, int | str] = {
    "points": 1,
    "%": 1,
    "x": 2,
    "ms a batch": 2,
    "ms a question": 2,
    "s": 1,
    "J a question": 3,
    "MiB": 0,
    "questions a second": 1,
    "tokens": SHORT,
    "W": 1,
}
_BY_NAME: dict[str, int | str] = {
    **dict.fromkeys(("params", "flops", "train_tokens", "gate_tokens"), SHORT),
    **dict.fromkeys(
        ("length", "stride", "seed", "draw", "threads", "questions", "rounds", "gate_passes"), 0
    ),
    **dict.fromkeys(("batch", "warmup_rounds", "schema_version"), 0),
    **dict.fromkeys(("heads_kept", "ff_kept", "hidden_kept", "margin_share"), 0),
    "windows_per_question": 2,
}
SIGNED = ("delta_f1", "delta_f1_low", "delta_f1_high")


def digits(column: str) -> int | str | None:
    """Decimals of a column, SHORT, or None for words."""
    return _BY_NAME.get(column, _BY_UNIT.get(UNITS.get(column, "")))


def number(column: str, value: object) -> str:
    """A cell's text; empty where there is nothing. Words stay as they are."""
    places = digits(column)
    if value is None:
        return ""
    if places is None or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(places, str):
        return _short(float(value))
    rounded = round(float(value), places) + 0.0
    return f"{rounded:{'+' if column in SIGNED else ''}.{places}f}"


def _short(value: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.1f} {letter}"
    return f"{value:.0f}"
