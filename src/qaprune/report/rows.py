"""From a run to its rows of points.csv and matrix.csv: intervals, differences and speed figures."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable

import numpy as np

from qaprune.errors import InputError
from qaprune.report.collect import Run
from qaprune.report.columns import MATRIX_NAMES, NAMES, SCHEMA_VERSION, Row
from qaprune.report.intervals import RESAMPLES, GroupSums, bootstrap_f1, percentile_interval
from qaprune.report.published import published_speedup
from qaprune.report.speed import headline_columns, speed_columns
from qaprune.report.style import KNOWN

COPIED = (
    *(
        "criterion",
        "budget",
        "draw",
        "variant",
        "f1",
        "holdout_f1",
        "f1_best",
        "em",
        "hasans_f1",
        "noans_f1",
    ),
    *("long_f1", "long_f1_best", "params", "flops", "heads_kept", "ff_kept", "hidden_kept", "train_tokens"),
    *("gate_seconds", "gate_passes", "gate_tokens", "recover_seconds", "speedup_asked"),
    *("speedup_predicted", "stride", "windows_per_question", "f1_full", "em_full", "hasans_f1_full"),
    *("noans_f1_full", "f1_best_full"),
)
"""Columns that `evaluate` hands through from the stages before it."""
STEPS = ("pruned", "retrained", "distilled")
NO_LONG_SUMS = "interval of long_f1: scored before long answers were kept a question, run evaluate again"
BLIND = ("no-answer", "longest_candidate")
"""Rows that read no question: nothing of them is timed."""
FIXED_VARIANTS = (*BLIND, "teacher", "teacher+")


def build_rows(runs: list[Run], resamples: int = RESAMPLES, seed: int = 0) -> list[Row]:
    """All rows of points.csv, run by run; inside a run the fixed variants first, then the points."""
    rows: list[Row] = []
    for run in runs:
        rows += run_rows(run, resamples, seed)
    return rows


def run_rows(run: Run, resamples: int = RESAMPLES, seed: int = 0) -> list[Row]:
    """The rows of one run."""
    samples, long = (_resampled(sums, resamples, seed) for sums in (run.sums, run.long_sums))
    reference = better_teacher(run.variants)
    rows = []
    for key in sorted(run.variants, key=lambda key: place_of(key, run.variants[key])):
        scores = run.variants[key]
        row: Row = dict.fromkeys(NAMES) | _identity(run, key)
        row |= {name: scores.get(name) for name in COPIED}
        row["variant"] = row["variant"] or key
        row["questions"] = run.questions
        if samples:
            row |= _quality(run, key, reference, samples)
        if key not in BLIND:
            windows = row["windows_per_question"]
            measured = headline_columns(run.timings, key, windows, resamples, seed)
            row |= {name: value for name, value in measured.items() if name in row}
            row["speedup_published"] = published_speedup(row)
        if key in long:
            row["long_f1_low"], row["long_f1_high"] = percentile_interval(long[key])
        elif row["long_f1"] is not None and key not in BLIND:
            row["not_measured"] = "; ".join(filter(None, (row["not_measured"], NO_LONG_SUMS)))
        rows.append(row)
    return rows


def _resampled(sums: GroupSums | None, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Variant -> its F1 in every resample; empty without sums."""
    if sums is None:
        return {}
    return dict(zip(sums.variants, bootstrap_f1(sums, resamples, seed), strict=True))


def place_of(key: str, scores: dict) -> tuple:
    """Where a row stands: fixed variants first, then criterion by criterion, from much kept to little."""
    if key in FIXED_VARIANTS:
        return (0, FIXED_VARIANTS.index(key))
    criterion = str(scores.get("criterion"))
    known = KNOWN.index(criterion) if criterion in KNOWN else len(KNOWN)
    variant = str(scores.get("variant"))
    step = STEPS.index(variant) if variant in STEPS else len(STEPS)
    by_budget = (-_asked(scores.get("budget")), str(scores.get("budget")))
    return (1, known, criterion, *by_budget, step, scores.get("draw") or 0, key)


def _asked(budget: object) -> float:
    """The sum of the per cents in a budget's name; other budgets have none and sort by name."""
    return sum(float(share) for share in re.findall(r"[hf](\d+(?:\.\d+)?)", str(budget or "")))


def better_teacher(variants: dict[str, dict]) -> str:
    """`teacher` or `teacher+`, whichever is better on the train hold-out; else `teacher`."""
    plus = variants.get("teacher+", {}).get("holdout_f1")
    plain = variants["teacher"].get("holdout_f1")
    return "teacher+" if plus is not None and plain is not None and plus > plain else "teacher"


def _quality(run: Run, key: str, reference: str, samples: dict[str, np.ndarray]) -> Row:
    """F1's interval, and the difference to the reference from the same resamples (all in points)."""
    f1 = run.variants[key]["f1"]
    low, high = percentile_interval(samples[key])
    row: Row = {"f1_low": low, "f1_high": high}
    if key in BLIND:
        return row
    best = run.variants[reference]["f1"]
    row |= {"reference": reference, "delta_f1": f1 - best}
    row["delta_f1_low"], row["delta_f1_high"] = percentile_interval(samples[key] - samples[reference])
    if "no-answer" in run.variants and best > run.variants["no-answer"]["f1"]:
        row["margin_share"] = 100 * (best - f1) / (best - run.variants["no-answer"]["f1"])
    return row


def matrix_rows(runs: list[Run], resamples: int = RESAMPLES, seed: int = 0) -> list[Row]:
    """All rows of matrix.csv: every variant at every setting, those that did not run with the reason."""
    rows = []
    for run in runs:
        if run.timings is None:
            continue
        for (setting, key), cell in run.timings.cells.items():
            row: Row = dict.fromkeys(MATRIX_NAMES)
            row |= _identity(run, key)
            row |= setting._asdict() | {
                "device": run.timings.device,
                "fingerprint": run.timings.fingerprint,
                "threads": cell.get("threads"),
                "not_measured": cell.get("not_measured"),
            }
            if (setting, key) in run.timings.seconds:
                windows = run.variants[key].get("windows_per_question")
                measured = speed_columns(run.timings, key, setting, windows, resamples, seed)
                row |= {name: value for name, value in measured.items() if name in row}
                best = run.timings.fastest(*setting[:2], key) == setting
                row["fastest"] = "yes" if best else "no"
            rows.append(row)
    return rows


def _identity(run: Run, key: str) -> Row:
    """What names a row."""
    scores = run.variants.get(key)
    if scores is None:
        raise InputError(f"profile/{run.name}: variant '{key}' was timed, but evaluate/{run.name} lacks it")
    names = ("criterion", "budget", "draw", "variant")
    return {
        "model": run.model,
        "dataset": run.dataset,
        "seed": run.seed,
        **{name: scores.get(name) for name in names},
        "schema_version": SCHEMA_VERSION,
    }


def name_of(row: Row) -> str:
    """The short name of a row inside its run: `teacher`, `l0-h50-f50/pruned`, `random-h50-f50/pruned#2`."""
    if not row["criterion"]:
        return str(row["variant"])
    point = f"{row['criterion']}-{row['budget']}" if row["budget"] else str(row["criterion"])
    return f"{point}/{row['variant']}" + (f"#{row['draw']}" if row["draw"] else "")


def setting_text(row: Row) -> str:
    """The setting of a timed row: device, batch, length, dtype, backend, compile, threads."""
    threads = f", {row['threads']} threads" if row["threads"] else ""
    return (
        f"{row['device']}, batch {row['batch']} x {row['length']}, {row['dtype']}, {row['backend']}, "
        f"compile {row['compile']}{threads}"
    )


def timed_settings(rows: list[Row]) -> dict[str, list[str]]:
    """The settings that rows were fastest in, the commonest first, each with the names of its rows."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["latency_ms"] is not None:
            found.setdefault(setting_text(row), []).append(name_of(row))
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def mixed_hardware(rows: list[Row]) -> str:
    """What must be said of rows that were timed on several machines; empty where there was one."""
    machines = {row["fingerprint"] for row in rows if row["latency_ms"] is not None}
    return f"mixed hardware: {len(machines)} machines, whose speeds do not compare" * (len(machines) > 1)


def timed_at(rows: list[Row]) -> str:
    """Where a figure's rows were timed, in one line."""
    settings = timed_settings(rows)
    if not settings:
        return "speed not measured"
    if mixed := mixed_hardware(rows):
        return f"{mixed}; see the table"
    text = next(iter(settings))
    return text if len(settings) == 1 else f"{text}; some rows at a setting of their own, see the table"


def pairs(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by (model, dataset), in their order."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((str(row["model"]), str(row["dataset"])), []).append(row)
    return found


def untrained(group: list[Row]) -> bool:
    """Whether the rows are those of models with initial weights: speed without quality."""
    return all(row["f1"] is None for row in group)


def point_key(row: Row) -> tuple[object, ...]:
    """What the rows of one operating point of one seed share."""
    return (row["seed"], row["criterion"], row["budget"])


def draws_of(rows: list[Row]) -> dict[tuple[object, ...], list[Row]]:
    """Operating points with several random masks in `pruned`: point -> the rows of all draws."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row["criterion"] and row["variant"] == "pruned":
            found.setdefault(point_key(row), []).append(row)
    return {key: group for key, group in found.items() if len(group) > 1}


def mean_and_spread(
    group: list[Row], get: Callable[[Row], object] = lambda row: row["f1"]
) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of a column over the draws."""
    values = [float(get(row)) for row in group]  # type: ignore[arg-type]
    return statistics.fmean(values), statistics.stdev(values)
