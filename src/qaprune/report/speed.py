"""Speed, memory and energy columns of one variant at one setting, from the raw timings of its run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import numpy as np

from qaprune.profile.settings import Setting
from qaprune.report.columns import Row
from qaprune.report.intervals import RESAMPLES, median_interval, paired_ratios, speedup_interval
from qaprune.report.timings import Timings

NO_PROFILE = "speed, memory and energy: this run was not profiled"
NOT_TIMED = "speed, memory and energy: this variant was not timed"
NO_TEACHER = "speedup: the teacher was not timed at this batch and length"
NO_QUESTIONS = "latency_e2e_ms: no questions were timed (packed windows hold none)"
AXES = ("dtype", "backend", "compile")
CELL_COLUMNS = (
    *("energy_j", "energy_gross_j", "energy_disagreement_percent", "idle_power_w", "peak_memory_mb"),
    *("threads", "warmup_rounds", "warmup_cv_percent", "logit_difference_percent", "fill_percent"),
)
"""What cells.json says of a variant and setting under the same name."""


def headline_columns(
    timings: Timings | None, key: str, windows: object, resamples: int = RESAMPLES, seed: int = 0
) -> Row:
    """The columns of points.csv: the variant at its fastest setting of the headline batch and length."""
    if timings is None:
        return {"not_measured": NO_PROFILE}
    setting = timings.fastest(*timings.headline, key)
    if setting is None:
        refused = [cell["not_measured"] for (_, name), cell in timings.cells.items() if name == key]
        reasons = [reason for reason in refused if reason]
        return {"not_measured": f"speed: {reasons[0]}" if reasons else NOT_TIMED}
    return speed_columns(timings, key, setting, windows, resamples, seed)


def speed_columns(
    timings: Timings, key: str, setting: Setting, windows: object, resamples: int, seed: int
) -> Row:
    """All columns of a timed variant. `windows`: windows a question, else what the cell says.

    `speedup` is the teacher at its own fastest setting against this one, `speedup_same` both at this one;
    each the median of the rounds' paired ratios.
    """
    seconds = timings.seconds[setting, key]
    cell = timings.cells.get((setting, key), {})
    latency = statistics.median(seconds.values())
    in_order = np.array([seconds[number] for number in sorted(seconds)])
    low, high = median_interval(in_order, resamples, seed)
    per_question = float(windows or cell.get("windows_per_question") or 0)  # type: ignore[arg-type]
    questions = timings.question_seconds.get((setting, key))
    on_device = timings.device_seconds.get((setting, key))
    return {
        **setting._asdict(),
        "latency_ms": 1000 * latency,
        "latency_low_ms": 1000 * low,
        "latency_high_ms": 1000 * high,
        "latency_p90_ms": 1000 * _percentile(seconds.values(), 90),
        "latency_p99_ms": 1000 * _percentile(seconds.values(), 99),
        "latency_device_ms": 1000 * statistics.median(on_device) if on_device else None,
        "latency_e2e_ms": 1000 * statistics.median(questions.values()) if questions else None,
        "rounds": len(seconds),
        "windows_per_question": per_question or None,
        "throughput_qps": setting.batch / per_question / latency if per_question else None,
        **{name: cell.get(name) for name in CELL_COLUMNS},
        "device": timings.device,
        "fingerprint": timings.fingerprint,
        **_speedups(timings, key, setting, resamples, seed),
        "not_measured": _reasons(timings, cell, setting),
    }


def _percentile(values: Iterable[float], percent: float) -> float:
    return float(np.percentile(list(values), percent))


def _speedups(timings: Timings, key: str, setting: Setting, resamples: int, seed: int) -> Row:
    batch, length = setting[:2]
    best = timings.fastest(batch, length, "teacher")
    if best is None:
        return {}
    found: Row = {f"teacher_{name}": value for name, value in best._asdict().items() if name in AXES}
    for name, at in (("speedup", best), ("speedup_same", setting)):
        teacher = timings.seconds.get((at, "teacher"))
        if teacher:
            ratios = paired_ratios(teacher, timings.seconds[setting, key])
            ratio, low, high = speedup_interval(ratios, resamples, seed)
            found |= {name: ratio, f"{name}_low": low, f"{name}_high": high}
    whole = timings.question_seconds
    if (best, "teacher") in whole and (setting, key) in whole:
        ratios = paired_ratios(whole[best, "teacher"], whole[setting, key])
        found["speedup_e2e"] = float(np.median(ratios))
    return found


def _reasons(timings: Timings, cell: dict, setting: Setting) -> str | None:
    """Why columns of a timed variant are empty, and what is doubtful about those that are not."""
    parts = [
        f"{column}: {cell[reason]}"
        for column, reason in (("energy_j", "energy_reason"), ("peak_memory_mb", "peak_memory_reason"))
        if cell.get(reason)
    ]
    if not timings.question_seconds:
        parts.append(NO_QUESTIONS)
    if timings.fastest(*setting[:2], "teacher") is None:
        parts.append(NO_TEACHER)
    if cell.get("warmup_steady") is False:
        parts.append(f"warm-up did not become steady ({cell['warmup_cv_percent']:.1f} %)")
    return "; ".join(parts) or None
