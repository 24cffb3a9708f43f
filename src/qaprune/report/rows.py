"""From a run to its rows of points.csv: intervals, differences and speed figures."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable

import numpy as np

from qaprune.errors import InputError
from qaprune.report.collect import Run, Timings
from qaprune.report.columns import NAMES, SCHEMA_VERSION, Row
from qaprune.report.intervals import (
    RESAMPLES,
    bootstrap_f1,
    paired_ratios,
    percentile_interval,
    speedup_interval,
)
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
    *("gate_seconds", "gate_passes", "recover_seconds", "latency_e2e_ms", "speedup_asked"),
    *("speedup_predicted", "stride", "windows_per_question", "f1_full", "em_full", "hasans_f1_full"),
    *("noans_f1_full", "f1_best_full"),
)
"""Columns that `evaluate` hands through from the stages before it."""
STEPS = ("pruned", "retrained", "distilled")
FIXED_VARIANTS = ("no-answer", "teacher", "teacher+")
NO_PROFILE = "speed, memory and energy: this run was not profiled"
NOT_TIMED = "speed, memory and energy: this variant was not timed"


def build_rows(runs: list[Run], resamples: int = RESAMPLES, seed: int = 0) -> list[Row]:
    """All rows of points.csv, run by run; inside a run the fixed variants first, then the points."""
    rows: list[Row] = []
    for run in runs:
        rows += run_rows(run, resamples, seed)
    return rows


def run_rows(run: Run, resamples: int = RESAMPLES, seed: int = 0) -> list[Row]:
    """The rows of one run."""
    samples = dict(zip(run.sums.variants, bootstrap_f1(run.sums, resamples, seed), strict=True))
    reference = better_teacher(run.variants)
    rows = []
    for key in sorted(run.variants, key=lambda key: _place(key, run.variants[key])):
        row: Row = dict.fromkeys(NAMES)
        row |= {
            "model": run.model,
            "dataset": run.dataset,
            "seed": run.seed,
            "schema_version": SCHEMA_VERSION,
        }
        row |= {name: run.variants[key].get(name) for name in COPIED}
        row["variant"] = row["variant"] or key
        row["questions"] = run.questions
        row |= _quality(run, key, reference, samples)
        if key != "no-answer":
            row |= _speed(run.timings, key, row, resamples, seed)
        rows.append(row)
    return rows


def _place(key: str, scores: dict) -> tuple:
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
    if key == "no-answer":
        return row
    best = run.variants[reference]["f1"]
    row |= {"reference": reference, "delta_f1": f1 - best}
    row["delta_f1_low"], row["delta_f1_high"] = percentile_interval(samples[key] - samples[reference])
    if "no-answer" in run.variants and best > run.variants["no-answer"]["f1"]:
        row["margin_share"] = 100 * (best - f1) / (best - run.variants["no-answer"]["f1"])
    return row


def _speed(timings: Timings | None, key: str, row: Row, resamples: int, seed: int) -> Row:
    """The speed, memory and energy columns at the headline cell."""
    if timings is None:
        return {"not_measured": NO_PROFILE}
    found = [at for at, name in timings.seconds if name == key and at[:2] == timings.headline]
    if not found:
        return {"not_measured": NOT_TIMED}
    setting = found[0]
    batch, length, dtype, backend, compiled = setting
    seconds = timings.seconds[setting, key]
    cell = timings.cells.get((batch, length, key), {})
    latency = statistics.median(seconds.values())
    windows = row["windows_per_question"] or cell.get("windows_per_question")
    speed: Row = {
        "latency_ms": latency * 1000,
        "latency_p90_ms": float(np.percentile(list(seconds.values()), 90)) * 1000,
        "latency_p99_ms": float(np.percentile(list(seconds.values()), 99)) * 1000,
        "rounds": len(seconds),
        "windows_per_question": windows,
        "throughput_qps": batch / windows / latency if windows else None,
        "energy_j": cell.get("energy_j"),
        "peak_memory_mb": cell.get("peak_memory_mb"),
        "batch": batch,
        "length": length,
        "dtype": dtype,
        "backend": backend,
        "compile": compiled,
        "threads": cell.get("threads"),
        "device": timings.device,
        "fingerprint": timings.fingerprint,
        "not_measured": _reasons(cell),
    }
    teacher = timings.seconds.get((setting, "teacher"))
    if teacher is None:
        raise InputError(
            f"profile: the teacher was not timed at batch {batch} x {length}; no speedup without it"
        )
    ratio, low, high = speedup_interval(paired_ratios(teacher, seconds), resamples, seed)
    return speed | {"speedup": ratio, "speedup_low": low, "speedup_high": high, "speedup_same": ratio}


def _reasons(cell: dict) -> str | None:
    """Why memory or energy of a timed variant are empty."""
    parts = [
        f"{column}: {cell[reason]}"
        for column, reason in (("energy_j", "energy_reason"), ("peak_memory_mb", "peak_memory_reason"))
        if cell.get(reason)
    ]
    return "; ".join(parts) or None


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


def pairs(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows by (model, dataset), in their order."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((str(row["model"]), str(row["dataset"])), []).append(row)
    return found


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
