"""tables/macros.tex: every headline number as a LaTeX command, so that no paper has a hand-typed one."""

from __future__ import annotations

import re

from qaprune.report.columns import Row
from qaprune.report.latex import signed
from qaprune.report.rows import mixed_hardware, pairs
from qaprune.report.seeds import over_seeds, seeds_of
from qaprune.report.tables import number, span

DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
SIGNS = {"+": "Plus", ".": "Point", "#": "Mask"}
MEASURES = {
    "FOne": ("f1", 1, ""),
    "FOneDelta": ("delta_f1", 1, "+"),
    "LongFOne": ("long_f1", 1, ""),
    "Speedup": ("speedup", 2, ""),
}
"""Last part of a command -> column of points.csv, decimals, sign."""
HEAD = r"""% Written by `qaprune report`: do not edit, input it: \input{macros.tex}
%
% \qap<Model><Dataset>Seed<Seed><Criterion><Budget><Variant><Measure>
%
% Names are of letters alone: each word begins with a capital, a digit is its English name, `.` is Point,
% `+` is Plus, other signs are left out. Rows without a criterion (Teacher, TeacherPlus, NoAnswer) leave
% criterion and budget out. l0-h50-f40/distilled of bert on squad2, seed 13:
%
%   \qapBertSquadTwoSeedOneThreeLZeroHFiveZeroFFourZeroDistilledFOne
%
% Measures: FOne (on dev, at the hold-out's threshold; NQ: short answers), FOneDelta (against the teacher
% that the row names), LongFOne (NQ), Speedup. Each has its 95 % interval: FOneInterval, SpeedupInterval.
% Of several seeds `Mean` stands for Seed<Seed>: the mean, and in place of the interval its standard
% deviation between the seeds, FOneSd, SpeedupSd.
% What was not measured has no command: LaTeX then stops at its name.
"""


def macros_tex(rows: list[Row]) -> str:
    """A command a measured number, run by run in the order of the table, then the means over seeds.

    Two rows whose commands would share a name (`a-b` and `a_b`) have none; a comment says so.
    """
    found: dict[str, list[str]] = {}
    remarks = []
    for pair, group in pairs(rows).items():
        for row in group:
            run = f"Seed{letters(str(row['seed']))}"
            for name, (column, decimals, sign) in MEASURES.items():
                command = _command(row, run) + name
                _add(found, command, number(row[column], decimals, sign))
                if f"{column}_low" in row:
                    _add(found, f"{command}Interval", span(row, column, decimals, sign))
        if len(seeds_of(group)) == 1:
            continue
        mixed = mixed_hardware(group)
        if mixed:
            remarks.append(f"% {' on '.join(pair)}: no mean of speeds, {mixed}")
        for variant in over_seeds(group):
            for name, (column, decimals, sign) in MEASURES.items():
                if mixed and column == "speedup":
                    continue
                command = _command(variant.first, "Mean") + name
                _add(found, command, number(variant.mean(column), decimals, sign))
                _add(found, f"{command}Sd", number(variant.spread(column), decimals))
    lines = [
        rf"\newcommand{{\{command}}}{{{signed(values[0])}}}"
        if len(values) == 1
        else f"% left out, {len(values)} rows would share the name {command}"
        for command, values in found.items()
    ]
    return "\n".join([HEAD, *remarks, *lines, ""])


def letters(text: str) -> str:
    """`h50-f40` as `HFiveZeroFFourZero`: what a command's name may hold."""
    parts = re.findall(r"[A-Za-z]+|\d|[+.#]", text)
    return "".join(
        DIGITS[int(part)] if part.isdigit() else SIGNS.get(part, part[:1].upper() + part[1:])
        for part in parts
    )


def _command(row: Row, run: str) -> str:
    names = [letters(str(row[name])) for name in ("model", "dataset")]
    names += [run, *(letters(str(row[name])) for name in ("criterion", "budget", "variant") if row[name])]
    if row["draw"]:
        names.append(letters(f"#{row['draw']}"))
    return "qap" + "".join(names)


def _add(found: dict[str, list[str]], command: str, value: str) -> None:
    if value:
        found.setdefault(command, []).append(value)
