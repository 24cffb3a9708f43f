"""The table for papers: tables/points.tex, one booktabs table a pair, nothing but plain LaTeX besides."""

from __future__ import annotations

import re

from qaprune.report.columns import Row
from qaprune.report.rows import pairs, untrained
from qaprune.report.seeds import over_seeds, seeds_of
from qaprune.report.tables import (
    SPEED_HEADER,
    masks_text,
    number,
    seeds_text,
    setting_lines,
    shown_rows,
    span,
    speed_body,
)

HEAD = r"""% Written by `qaprune report`: do not edit, input it. Preamble: \usepackage{booktabs}
% Numbers in running text: \input{macros.tex}
"""
ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}
CAPTION = (
    "F1 at the hold-out's threshold, intervals from resampled paragraphs (documents), noise of training "
    "and threshold not in them; speedup against the teacher, intervals from resampled rounds. A delta "
    "whose interval holds 0 shows no difference."
)
SEEDS_CAPTION = (
    "sd: standard deviation between the seeds. The sampling of questions and rounds is not in it; each "
    "seed's own intervals are in points.csv."
)
Cells = list[str]


def points_tex(rows: list[Row]) -> str:
    """All pairs, a table each: of several seeds their means."""
    tables = [_table(pair, group) for pair, group in pairs(rows).items()]
    return "\n".join([HEAD, *tables])


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; letters outside ASCII, which need a font, become question marks."""
    return "".join(ESCAPES.get(letter, letter) for letter in text.encode("ascii", "replace").decode())


def signed(text: str) -> str:
    """Numbers with a sign in mathematics, so that a minus is one: `-6.8 to +0.3`."""
    return re.sub(r"[+-]\d[\d.]*", lambda found: f"${found[0]}$", text)


def _table(pair: tuple[str, str], group: list[Row]) -> str:
    if untrained(group):
        header, caption = list(SPEED_HEADER), ""
        lines = [(row["criterion"], list(c)) for row, c in zip(group, speed_body(group), strict=True)]
    elif len(seeds_of(group)) > 1:
        header, lines = _over_seeds(group)
        caption = SEEDS_CAPTION
    else:
        header, lines = _one_seed(group)
        caption = CAPTION
    said = [f"{line[:1].upper()}{line[1:]}." for line in setting_lines(group)]
    said.insert(0, f"{pair[0]} on {pair[1]}.")
    body = []
    for place, (criterion, cells) in enumerate(lines):
        if place and criterion != lines[place - 1][0]:
            body.append(r"    \midrule")
        body.append("    " + " & ".join([escape(cells[0]), *map(signed, map(escape, cells[1:]))]) + r" \\")
    label = re.sub(r"[^A-Za-z0-9-]", "-", "-".join(pair))
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(' '.join([*said, caption]).strip())}}}",
            rf"  \label{{tab:{label}}}",
            r"  \footnotesize",
            r"  \setlength{\tabcolsep}{3.5pt}",
            rf"  \begin{{tabular}}{{@{{}}l{'r' * (len(header) - 1)}@{{}}}}",
            r"    \toprule",
            "    " + " & ".join(map(escape, header)) + r" \\",
            r"    \midrule",
            *body,
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _one_seed(group: list[Row]) -> tuple[Cells, list[tuple[object, Cells]]]:
    """Header, and (criterion, cells) a line: the columns that the pair has."""
    long = any(row["long_f1"] is not None for row in group)
    header = ["variant", "F1", "95 %", "delta", "95 %"]
    header += ["long F1", "95 %"] * long + ["speedup", "95 %", "ms", "heads %", "ff %"]
    lines: list[tuple[object, Cells]] = []
    for name, row, draws in shown_rows(group):
        if draws:
            mean, spread = masks_text(draws)
            lines.append((row["criterion"], [name.strip(), mean, spread] + [""] * (len(header) - 3)))
            continue
        cells = [name, number(row["f1"], 1), span(row, "f1", 1)]
        cells += [number(row["delta_f1"], 1, "+"), span(row, "delta_f1", 1, "+")]
        cells += [number(row["long_f1"], 1), span(row, "long_f1", 1)] * long
        cells += [number(row["speedup"], 2), span(row, "speedup", 2), number(row["latency_ms"], 2)]
        lines.append((row["criterion"], [*cells, number(row["heads_kept"], 0), number(row["ff_kept"], 0)]))
    return header, lines


def _over_seeds(group: list[Row]) -> tuple[Cells, list[tuple[object, Cells]]]:
    """The same of several seeds: means, and standard deviations where one seed has intervals."""
    header, body = seeds_text(group)
    return header, [(v.first["criterion"], cells) for v, cells in zip(over_seeds(group), body, strict=True)]
