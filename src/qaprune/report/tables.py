"""The table as points.csv, matrix.csv and Markdown, and what its lines say; a terminal's: terminal.py."""

from __future__ import annotations

import csv
import io

from qaprune.report.columns import MATRIX_NAMES, NAMES, Row
from qaprune.report.published import DATASET, NQ, NQ_CLAIMS, PUBLISHED
from qaprune.report.rows import (
    BLIND,
    draws_of,
    mean_and_spread,
    mixed_hardware,
    name_of,
    pairs,
    point_key,
    timed_settings,
    untrained,
)
from qaprune.report.seeds import over_seeds, seeds_of
from qaprune.report.speed import NOT_TIMED

WIDTH = 80
QUALITY_HEADER = ("variant", "F1", "95 %", "delta", "95 %", "loss/margin")
SPEED_COLUMNS = (
    *("speedup", "95 %", "ms"),
    *("questions/s", "J/question", "MiB", "params", "GFLOPs", "heads %", "ff %"),
)
SQUAD_COLUMNS = {"HasAns": "hasans_f1", "EM": "em"}
NQ_COLUMNS = {"best F1": "f1_best", "long F1": "long_f1", "best long F1": "long_f1_best"}
"""What else is said of quality, by data set: name and column."""
SPANNED = ("long F1",)
"""Those of them that have an interval."""
SPEED_HEADER = ("variant", "speedup", "95 %", "same", "published", "ms", "J/window")
SPEED_NOTES = (
    "Untrained weights on packed windows: speed alone, no quality. The per cents kept are spread "
    "evenly over the layers, which is this project's choice. speedup: median of the rounds' paired ratios "
    "teacher / variant, each at its fastest setting; same: the teacher at the variant's setting. "
    "published: McCarley et al., bert-large, hardware not stated. ms: median of one batch."
)
NOTES = (
    "F1 at the hold-out's threshold, with the interval from resampled paragraphs (documents); noise of "
    "training and of the threshold is not in it. delta: against the reference named above; one whose "
    "interval holds 0 shows none. loss/margin: that loss as a "
    "share of the reference's margin over no-answer. speedup: median of the rounds' paired ratios "
    "teacher / variant, with the interval from resampled rounds. ms: median of one batch."
)
NQ_NOTES = (
    "Natural Questions: F1 is that of short answers, `best` the official figure at the threshold best on "
    "dev, never used for a choice; long answers have a threshold of their own. longest_candidate: the "
    "longest part of the page, whatever is asked."
)


def points_csv(rows: list[Row]) -> str:
    """points.csv: every column of the dictionary, empty where not measured."""
    return _csv(rows, NAMES)


def matrix_csv(rows: list[Row]) -> str:
    """matrix.csv: every timed cell, with the reason of those that did not run."""
    return _csv(rows, MATRIX_NAMES)


def _csv(rows: list[Row], names: tuple[str, ...]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_exact(row[name]) for name in names])
    return stream.getvalue()


def points_markdown(rows: list[Row], published: bool = False) -> str:
    """The readable subset, one section a pair; published results apart, when they are asked for."""
    parts = ["# F1 against speed\n"]
    for (model, dataset), group in pairs(rows).items():
        parts.append(f"## {model} on {dataset}\n")
        parts.append("\n".join(f"- {line}" for line in setting_lines(group)) + "\n")
        if untrained(group):
            parts.append(markdown_table(list(SPEED_HEADER), speed_body(group)))
        else:
            if len(seeds_of(group)) > 1:
                parts += [f"{mean_of(group)}:\n", markdown_table(*seeds_text(group)), "Each seed:\n"]
            parts.append(markdown_table(*_markdown_rows(group)))
        if any(row["f1_full"] is not None for row in group):
            parts.append("All of dev:\n\n" + _full_dev(group))
        missing = reasons(group)
        if missing:
            parts.append("Not measured:\n\n" + "\n".join(f"- {reason}" for reason in missing) + "\n")
    parts.append((SPEED_NOTES if untrained(rows) else NOTES) + "\n")
    if any(row["long_f1"] is not None for row in rows):
        parts.append(NQ_NOTES + "\n")
    if published and any(row["dataset"] == DATASET for row in rows):
        parts.append(_published_markdown())
    if published and any(row["dataset"] == NQ for row in rows):
        parts.append(_claims_markdown())
    return "\n".join(parts)


def shown_rows(group: list[Row]) -> list[tuple[str, Row, list[Row]]]:
    """Rows as readers see them: (name, row, draws). Random masks of a point fold into one line, their mean,
    that carries the draws; the recovered mask (draw 0) keeps its own line."""
    draws = draws_of(group)
    seeds = {row["seed"] for row in group}
    shown: list[tuple[str, Row, list[Row]]] = []
    for row in group:
        of_point = draws.get(point_key(row), []) if row["variant"] == "pruned" else []
        if of_point and row is not of_point[0]:
            continue
        suffix = f" s{row['seed']}" if len(seeds) > 1 else ""
        shown.append((name_of(row) + suffix, row, []))
        if of_point:
            shown.append((f"  mean of {len(of_point)} masks{suffix}", row, of_point))
    return shown


def number(value: object, decimals: int, sign: str = "") -> str:
    """A figure for readers; empty where there is none."""
    return "" if value is None else f"{float(value):{sign}.{decimals}f}"  # type: ignore[arg-type]


def span(row: Row, name: str, decimals: int, sign: str = "", between: str = " to ") -> str:
    """The interval of a column; empty where there is none."""
    if row[f"{name}_low"] is None:
        return ""
    return between.join(number(row[f"{name}_{end}"], decimals, sign) for end in ("low", "high"))


def masks_text(draws: list[Row]) -> tuple[str, str]:
    """Mean F1 of several random masks, and their spread."""
    mean, spread = mean_and_spread(draws)
    return number(mean, 1), f"sd {spread:.1f}"


def seeds_text(group: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and body of a pair's means over its seeds, a line a variant of `over_seeds`."""
    columns = {"F1": ("f1", 1, ""), "delta": ("delta_f1", 1, "+")}
    if any(row["long_f1"] is not None for row in group):
        columns["long F1"] = ("long_f1", 1, "")
    columns |= {"speedup": ("speedup", 2, ""), "ms": ("latency_ms", 2, "")}
    header = ["variant", "seeds", *(word for name in columns for word in (name, "sd"))]
    body = []
    for variant in over_seeds(group):
        name = name_of(variant.first) + (f", {variant.masks} masks" if variant.masks > 1 else "")
        cells = [name, str(len(variant.rows))]
        for column, decimals, sign in columns.values():
            cells += [
                number(variant.mean(column), decimals, sign),
                number(variant.spread(column), decimals),
            ]
        body.append(cells)
    return header, body


def setting_lines(group: list[Row]) -> list[str]:
    """Where and how a pair's rows were timed, and what their deltas are against."""
    lines = []
    if untrained(group):
        lines.append("untrained weights, packed windows: speed alone; cuts spread evenly over the layers")
    if mixed := mixed_hardware(group):
        lines.append(mixed)
    settings = timed_settings(group)
    for number, (setting, names) in enumerate(settings.items()):
        which = ", ".join(dict.fromkeys(names)) if number else "all others" if len(settings) > 1 else ""
        lines.append(f"timed: {setting}" + (f" ({which})" if which else ""))
    against: dict[object, list[object]] = {}
    for row in group:
        if row["reference"] and row["seed"] not in against.setdefault(row["reference"], []):
            against[row["reference"]].append(row["seed"])
    for reference, seeds in against.items():
        which = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        lines.append(f"{which}: delta is against {reference} (the teacher with the higher hold-out F1)")
    return lines


def _markdown_rows(group: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and body; the hidden width has a column where any row's is cut."""
    more = NQ_COLUMNS if any(row["long_f1"] is not None for row in group) else SQUAD_COLUMNS
    with_spans = [part for name in more for part in (name, *["95 %"] * (name in SPANNED))]
    header: list[str] = [*QUALITY_HEADER, *with_spans, *SPEED_COLUMNS]
    body = []
    narrowed = any(row["hidden_kept"] is not None and float(row["hidden_kept"]) < 100 for row in group)
    if narrowed:
        header.append("hidden %")
    for name, row, draws in shown_rows(group):
        if draws:
            body.append([name, *masks_text(draws)] + [""] * (len(header) - 3))
            continue
        body.append(
            [
                name,
                number(row["f1"], 1),
                span(row, "f1", 1),
                number(row["delta_f1"], 1, "+"),
                span(row, "delta_f1", 1, "+"),
                number(row["margin_share"], 0) + (" %" if row["margin_share"] is not None else ""),
                *_more_cells(row, more),
                number(row["speedup"], 2),
                span(row, "speedup", 2),
                number(row["latency_ms"], 2),
                number(row["throughput_qps"], 1),
                number(row["energy_j"], 3),
                number(row["peak_memory_mb"], 0),
                "" if row["params"] is None else f"{row['params']:,}",
                "" if row["flops"] is None else number(float(row["flops"]) / 1e9, 2),  # type: ignore[arg-type]
                number(row["heads_kept"], 0),
                number(row["ff_kept"], 0),
                *([number(row["hidden_kept"], 0)] if narrowed else []),
            ]
        )
    return header, body


def _more_cells(row: Row, more: dict[str, str]) -> list[str]:
    cells = []
    for name, column in more.items():
        cells.append(number(row[column], 1))
        if name in SPANNED:
            cells.append(span(row, column, 1))
    return cells


def _full_dev(group: list[Row]) -> str:
    """The variants that were scored on all of dev beside the sample."""
    columns = ("f1_full", "hasans_f1_full", "noans_f1_full", "em_full", "f1_best_full")
    body = [
        [name_of(row), *(number(row[column], 1) for column in columns)]
        for row in group
        if row["f1_full"] is not None
    ]
    return markdown_table(["variant", "F1", "HasAns", "NoAns", "EM", "F1 best"], body)


def mean_of(group: list[Row]) -> str:
    """What a table of means over the seeds says above it."""
    seeds = ", ".join(str(seed) for seed in seeds_of(group))
    said = f"Mean of seeds {seeds}; sd: standard deviation between the seeds"
    if all(len(item.rows) == len(seeds_of(group)) for item in over_seeds(group)):
        return said
    return f"{said}. Rows of fewer seeds: compare deltas, which are to the same seed's teacher"


def speed_body(group: list[Row], between: str = " to ") -> list[tuple[str, ...]]:
    """Measured speedups beside the published ones, for models without quality."""
    return [
        (
            name_of(row),
            number(row["speedup"], 2),
            span(row, "speedup", 2, between=between),
            number(row["speedup_same"], 2),
            number(row["speedup_published"], 2),
            number(row["latency_ms"], 2),
            number(row["energy_j"], 3),
        )
        for row in group
    ]


def cut(name: str, width: int = 30) -> str:
    """A name that fits; an ellipsis stands for what was left out."""
    return name if len(name) <= width else name[: width - 1] + "…"


def reasons(group: list[Row]) -> list[str]:
    """Why cells are empty: each reason once, with the variants it holds for when it does not hold for all
    that were timed.

    The masks of a point after the first one stand together.
    """
    found: dict[str, list[str]] = {}
    timed = set()
    for row in group:
        given = str(row["not_measured"]).split("; ") if row["not_measured"] else []
        name, several, _ = name_of(row).partition("#")
        name += ", masks after the first" if several else ""
        for reason in given:
            found.setdefault(reason, []).append(name)
        if row["variant"] not in BLIND and NOT_TIMED not in given:
            timed.add(name)
    return [
        reason if set(names) >= timed else f"{reason} ({'; '.join(dict.fromkeys(names))})"
        for reason, names in found.items()
    ]


def _published_markdown() -> str:
    body = [
        [
            point.work,
            point.point,
            point.model,
            number(point.f1_pruned, 1),
            f"{point.f1:g}",
            number(point.delta_f1, 2, "+"),
            f"{point.speedup:.2f}",
            point.source,
            point.hardware,
        ]
        for point in PUBLISHED
    ]
    header = ["work", "point", "model", "F1 pruned", "F1", "delta", "speedup", "source", "hardware"]
    intro = "## Published on SQuAD 2.0\n\nNot measured by this project; each against its own teacher.\n\n"
    return intro + markdown_table(header, body)


def _claims_markdown() -> str:
    body = [[*claim[:2], "published", *claim[2:]] for claim in NQ_CLAIMS]
    header = ["work", "model", "variant", "short F1", "speedup", "source", "hardware"]
    intro = "## Published on Natural Questions\n\nNot measured by this project; on the official data.\n\n"
    return intro + markdown_table(header, body)


def markdown_table(header: list[str], body: list[list[str]]) -> str:
    """An aligned Markdown table: first column left, the others right."""
    widths = [max(3, *(len(line[index]) for line in [header, *body])) for index in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = [cells[0].ljust(widths[0])] + [
            cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)
        ]
        return "| " + " | ".join(padded) + " |"

    rule = (
        "|" + "-" * (widths[0] + 2) + "|" + "|".join("-" * (width + 1) + ":" for width in widths[1:]) + "|"
    )
    return "\n".join([line(header), rule, *(line(cells) for cells in body)]) + "\n"


def _exact(value: object) -> str:
    """A CSV field: floats to ten significant digits, so that the bytes do not hang on the last bit."""
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
