"""What changed between two results folders, A the baseline and B the new one.

Exact figures are compared by value, F1 by points, times by interval. The rules and their reasons are in
docs/regression.md.
"""

from __future__ import annotations

import math

import numpy as np

from qaprune.report.columns import Row
from qaprune.report.compare_speed import compare_speed
from qaprune.report.findings import (
    CHANGED,
    FINE,
    REGRESSION,
    Comparison,
    Finding,
    Gap,
    Tolerances,
    unmatched,
)
from qaprune.report.intervals import RESAMPLES, GroupSums, bootstrap_f1, percentile_interval
from qaprune.report.results import EXACT, Results

MUST_NOT_GROW = ("params", "flops")
ROUNDING = 1e-9
"""points.csv keeps ten digits: smaller differences are its rounding."""


def compare_results(
    a: Results, b: Results, tolerances: Tolerances, resamples: int = RESAMPLES
) -> Comparison:
    """Compare every run, row and timed cell that both folders have."""
    found = Comparison()
    for run in a.rows | b.rows:
        if run in a.rows and run in b.rows:
            found.add(_compare_f1(run, a, b, tolerances.f1_drop, resamples))
            found.add(_compare_exact(run, a.rows[run], b.rows[run]))
            found.add(compare_speed(run, a, b, tolerances, resamples))
        else:
            found.gaps += unmatched(run, "the run", [run] * (run in a.rows), [run] * (run in b.rows))
    return found


def _compare_f1(run: str, a: Results, b: Results, tolerance: float, resamples: int) -> Comparison:
    """F1 of the rows that both have. It is deterministic on one machine, so its difference is gated as it
    stands; the interval beside it says what another draw of dev paragraphs could have given."""
    found = Comparison(gaps=unmatched(run, "rows", list(a.rows[run]), list(b.rows[run])))
    if not a.scored(run) and not b.scored(run):
        return found
    why = _why_no_scores(run, a, b) or _why_other_questions(run, a, b)
    if why:
        found.gaps.append(Gap(run, "F1", why, lost=a.scored(run)))
        return found
    intervals: dict[str, tuple[float, float]] = {}
    if run in a.questions and run in b.questions:
        intervals = _f1_intervals(a.questions[run].sums, b.questions[run].sums, resamples)
    else:
        sides = " and ".join(
            name for name, side in zip("AB", (a, b), strict=True) if run not in side.questions
        )
        found.gaps.append(Gap(run, "intervals of F1", f"no per-question scores in {sides}", lost=False))
    for variant, row in a.rows[run].items():
        if variant in b.rows[run]:
            before, after = _float(row["f1"]), _float(b.rows[run][variant]["f1"])
            verdict = FINE if abs(after - before) <= 1e-6 else CHANGED
            if before - after > tolerance + ROUNDING:
                verdict = REGRESSION
            low, high = intervals.get(variant, (None, None))
            found.findings.append(
                Finding(run, variant, "f1", before, after, after - before, verdict, low, high, tolerance)
            )
    return found


def _why_no_scores(run: str, a: Results, b: Results) -> str:
    """Which side is for speed alone; empty where both were scored."""
    sides = [name for name, side in zip("AB", (a, b), strict=True) if not side.scored(run)]
    return f"untrained models in {sides[0]}: speed alone" if sides else ""


def _why_other_questions(run: str, a: Results, b: Results) -> str:
    """Why a difference of F1 would mean nothing; empty where both folders asked the same questions."""
    before, after = (_float(next(iter(side.rows[run].values()))["questions"]) for side in (a, b))
    if before != after:
        return f"other questions: {before:g} in A, {after:g} in B"
    if run in a.questions and run in b.questions and a.questions[run].asked != b.questions[run].asked:
        return f"other questions: {before:g} in both, but of other ids, paragraphs or documents"
    return ""


def _f1_intervals(a: GroupSums, b: GroupSums, resamples: int) -> dict[str, tuple[float, float]]:
    """Interval of F1 in B minus F1 in A by variant, in points; both see the same resampled paragraphs."""
    numerator, denominator = (
        np.concatenate([getattr(side, name) for side in (a, b)]) for name in ("numerator", "denominator")
    )
    samples = bootstrap_f1(GroupSums(a.variants + b.variants, a.groups, numerator, denominator), resamples)
    before = dict(zip(a.variants, samples, strict=False))
    after = dict(zip(b.variants, samples[len(a.variants) :], strict=True))
    return {name: percentile_interval(after[name] - before[name]) for name in before.keys() & after.keys()}


def _compare_exact(run: str, a: dict[str, Row], b: dict[str, Row]) -> Comparison:
    """Parameters, FLOPs, widths: any difference is a change, growth of parameters or FLOPs a regression."""
    found = Comparison()
    for variant, name in ((variant, name) for variant in a if variant in b for name in EXACT):
        before, after = a[variant][name], b[variant][name]
        if before is None and after is None:
            continue
        if before is None or after is None:
            side = "A" if before is None else "B"
            found.gaps.append(Gap(run, f"{name} of {variant}", f"empty in {side}", lost=after is None))
            continue
        old, new = _float(before), _float(after)
        verdict = FINE if math.isclose(old, new, rel_tol=ROUNDING) else CHANGED
        if verdict == CHANGED and name in MUST_NOT_GROW and new > old:
            verdict = REGRESSION
        # A row may keep no heads at all.
        growth = 0.0 if new == old else 100 * (new - old) / old if old else math.inf
        found.findings.append(Finding(run, variant, name, old, new, growth, verdict))
    return found


def _float(value: object) -> float:
    return float(value)  # type: ignore[arg-type]
