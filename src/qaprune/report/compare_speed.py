"""Latency, throughput, speedup, energy and memory of two folders that were timed in one environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qaprune.profile.environment import NOT_IN_FINGERPRINT
from qaprune.profile.outputs import NOT_FASTEST
from qaprune.profile.settings import Setting
from qaprune.report.findings import (
    FINE,
    REGRESSION,
    SPEED_LEVEL,
    UNCLEAR,
    Comparison,
    Finding,
    Gap,
    Tolerances,
    unmatched,
)
from qaprune.report.intervals import RESAMPLES, paired_ratios, ratio_of_medians
from qaprune.report.results import Results
from qaprune.report.timings import Timings

PROFILE = "speed, energy and memory"
SINGLE = {"energy_j": ("energy", "energy_reason"), "peak_memory_mb": ("peak memory", "peak_memory_reason")}
"""Figures that a cell holds once, without samples: what they are called, and the key that says why not."""

Windows = dict[str, tuple[float, float]]
"""variant -> windows a question in A and in B."""


class Growth(NamedTuple):
    """Per cent more time or energy in B than in A, and the ends of its interval."""

    change: float
    low: float
    high: float

    def scaled(self, factor: float) -> Growth:
        """The same where B needs `factor` times as many passes."""
        return Growth(*(100 * ((1 + part / 100) * factor - 1) for part in self))

    def verdict(self, tolerance: float) -> str:
        """A regression only where even the lower end is beyond the tolerance."""
        if self.low > tolerance:
            return REGRESSION
        return UNCLEAR if self.high > tolerance else FINE


@dataclass(frozen=True, slots=True)
class CellPair:
    """One setting as both folders timed it: variant -> round -> seconds of one forward pass."""

    a: dict[str, dict[int, float]]
    b: dict[str, dict[int, float]]
    resamples: int

    def common(self) -> list[str]:
        """The variants that both timed."""
        return [name for name in self.a if name in self.b]

    def plain(self, variant: str) -> Growth:
        """Change of the variant's own latency."""
        return self._slowdown(*(_in_order(side[variant]) for side in (self.a, self.b)))

    def against_teacher(self, variant: str) -> Growth:
        """Change of its latency as a share of the teacher's in the same round: drift in a run cancels."""
        return self._slowdown(*(1 / ratios for ratios in self.speedups(variant)))

    def speedups(self, variant: str) -> tuple[np.ndarray, np.ndarray]:
        """Teacher / variant of each round of A and of B."""
        return tuple(paired_ratios(side["teacher"], side[variant]) for side in (self.a, self.b))

    def _slowdown(self, before: np.ndarray, after: np.ndarray) -> Growth:
        ratios = ratio_of_medians(before, after, self.resamples, level=SPEED_LEVEL)
        return Growth(*(100 * (ratio - 1) for ratio in ratios))


def _in_order(rounds: dict[int, float]) -> np.ndarray:
    """Seconds by round, shape (rounds,)."""
    return np.array([rounds[number] for number in sorted(rounds)])


def compare_speed(run: str, a: Results, b: Results, tolerances: Tolerances, resamples: int) -> Comparison:
    """All that `profile` measured of one run; refused where machine or software differ."""
    first, second = a.timings.get(run), b.timings.get(run)
    if first is None or second is None:
        lacking = [name for name, side in (("A", first), ("B", second)) if side is None]
        lost = len(lacking) == 1
        return Comparison(gaps=[Gap(run, PROFILE, f"not profiled in {' and '.join(lacking)}", lost)])
    if first.fingerprint != second.fingerprint:
        why = environment_differences(first.environment, second.environment)
        return Comparison(gaps=[Gap(run, PROFILE, why, lost=True)])
    found = compare_timings(run, first, second, tolerances, _windows(run, a, b), resamples)
    found.add(_compare_single(run, first, second, tolerances))
    return found


def environment_differences(a: dict, b: dict) -> str:
    """The fields of environment.json that make two fingerprints differ, each with both values."""
    fields = [
        name for name in sorted(a | b) if name not in NOT_IN_FINGERPRINT and a.get(name) != b.get(name)
    ]
    if not fields:
        return "the fingerprints differ, but no field of environment.json does"
    return "other environment: " + "; ".join(
        f"{name} is {_shown(a.get(name))} in A, {_shown(b.get(name))} in B" for name in fields
    )


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


def _windows(run: str, a: Results, b: Results) -> Windows:
    found: Windows = {}
    for variant in a.rows[run].keys() & b.rows[run].keys():
        counts = [side.rows[run][variant]["windows_per_question"] for side in (a, b)]
        if all(counts):
            found[variant] = (float(counts[0]), float(counts[1]))  # type: ignore[arg-type]
    return found


def compare_timings(
    run: str,
    a: Timings,
    b: Timings,
    tolerances: Tolerances,
    windows: Windows | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Latency, throughput and speedup of every variant at every setting that both folders timed.

    Two gates look for one slowdown. The plain ratio misses it where the machine was faster the second time;
    the one against the teacher, paired by round, misses whatever slows the teacher as well.
    """
    found = Comparison()
    tolerance = tolerances.of("latency_ms", a)
    for setting in dict.fromkeys(setting for setting, _ in a.seconds | b.seconds):
        pair = CellPair(*(_at(side, setting) for side in (a, b)), resamples)
        cell = setting_name(*setting)
        found.gaps += unmatched(run, f"timed at {cell}:", list(pair.a), list(pair.b))
        for variant, measures in _slowdowns(pair, setting[0], windows or {}, tolerance).items():
            for measure, (old, new, slowdown, note) in measures.items():
                change, low, high = slowdown
                verdict = slowdown.verdict(tolerance)
                found.findings.append(
                    Finding(
                        run, variant, measure, old, new, change, verdict, low, high, tolerance, cell, note
                    )
                )
    return found


def _at(timings: Timings, setting: Setting) -> dict[str, dict[int, float]]:
    return {name: rounds for (at, name), rounds in timings.seconds.items() if at == setting}


def setting_name(batch: int, length: int, dtype: str, backend: str, compiled: str) -> str:
    """`batch 8 x 128, float32, sdpa, compile off`."""
    return f"batch {batch} x {length}, {dtype}, {backend}, compile {compiled}"


def _slowdowns(
    pair: CellPair, batch: int, windows: Windows, tolerance: float
) -> dict[str, dict[str, tuple[float, float, Growth, str]]]:
    """variant -> measure -> its value in A and in B, the slowdown, and a note about the teacher."""
    teacher = pair.plain("teacher") if "teacher" in pair.common() else None
    found: dict[str, dict[str, tuple[float, float, Growth, str]]] = {}
    for variant in pair.common():
        plain = pair.plain(variant)
        against = pair.against_teacher(variant) if teacher and variant != "teacher" else None
        regressed = plain.verdict(tolerance) == REGRESSION
        a, b = (float(np.median(_in_order(side[variant]))) for side in (pair.a, pair.b))
        note = _teacher_note(against, teacher) if regressed else ""
        found[variant] = {"latency_ms": (1000 * a, 1000 * b, plain, note)}
        if variant in windows:
            before, after = windows[variant]
            rates = batch / before / a, batch / after / b
            found[variant]["throughput_qps"] = (*rates, plain.scaled(after / before), "")
        if teacher and against:
            note = "" if regressed else f"teacher's own time {teacher.change:+.1f} %"
            speedups = (float(np.median(side)) for side in pair.speedups(variant))
            found[variant]["speedup_same"] = (*speedups, against, note)
    return found


def _teacher_note(against: Growth | None, teacher: Growth | None) -> str:
    """Whether a slower variant is slow alone. `against` is None for the teacher itself."""
    if teacher is None:
        return ""
    if against is None:
        return "machine and shared code slow the teacher too"
    if teacher.low <= 0 <= teacher.high:
        return ""
    return f"the teacher moved too: {teacher.change:+.1f} %; against it {against.change:+.1f} %"


def _compare_single(run: str, a: Timings, b: Timings, tolerances: Tolerances) -> Comparison:
    """Energy, by the parts of its windows; peak memory, of which a cell has one figure that is gated."""
    found = Comparison()
    for measure in SINGLE:
        before, after = _cells_of(a, measure), _cells_of(b, measure)
        for old, new in ((cell, after[key]) for key, cell in before.items() if key in after):
            if old.get(measure) and new.get(measure):
                found.findings.append(_single_finding(run, measure, old, new, tolerances.of(measure, a)))
            else:
                found.gaps.append(_single_gap(run, measure, old, new))
    found.gaps = list(dict.fromkeys(found.gaps))
    return found


def _cells_of(timings: Timings, measure: str) -> dict[tuple, dict]:
    """The cells that can hold a figure. Energy was measured at each variant's fastest setting alone, which
    need not be the same one in both folders: batch, length and variant find it.
    """
    ran = {key: cell for key, cell in timings.cells.items() if not cell.get("not_measured")}
    if measure != "energy_j":
        return ran
    return {
        (*setting[:2], variant): cell
        for (setting, variant), cell in ran.items()
        if cell.get("energy_reason") != NOT_FASTEST
    }


def _single_finding(run: str, measure: str, old: dict, new: dict, tolerance: float) -> Finding:
    figures = (old[measure], new[measure])
    cell = setting_name(*(new[key] for key in ("batch", "length", "dtype", "backend", "compile")))
    growth = energy_growth(old, new) if measure == "energy_j" else None
    if growth is None:
        change = 100 * (figures[1] / figures[0] - 1)
        verdict = REGRESSION if change > tolerance else FINE
        return Finding(
            run, new["variant"], measure, *figures, change, verdict, tolerance=tolerance, cell=cell
        )
    return Finding(
        run,
        new["variant"],
        measure,
        *figures,
        growth.change,
        growth.verdict(tolerance),
        growth.low,
        growth.high,
        tolerance,
        cell,
        f"above {_common_idle(old, new):.1f} W of idle in both",
    )


def _common_idle(old: dict, new: dict) -> float:
    """One idle power for both: a folder's own reading moves all its variants at once."""
    return (old["idle_power_w"] + new["idle_power_w"]) / 2


def energy_growth(old: dict, new: dict) -> Growth | None:
    """Per cent more joules a question above the mean of both idle powers, from the parts of both windows:
    Welch's interval of the difference of their logarithms. None where a window has no parts above it.
    """
    from scipy.stats import ttest_ind

    if not (old.get("energy_parts") and new.get("energy_parts")):
        return None
    idle = _common_idle(old, new)
    logs = []
    for cell in (old, new):
        passes = sum(part["passes"] for part in cell["energy_parts"])
        questions = sum(part["joules"] for part in cell["energy_parts"]) / cell["energy_gross_j"] / passes
        net = np.array([part["joules"] - idle * part["seconds"] for part in cell["energy_parts"]])
        if net.min() <= 0:
            return None
        logs.append(np.log(net / np.array([part["passes"] for part in cell["energy_parts"]]) / questions))
    change = logs[1].mean() - logs[0].mean()
    low = high = change
    if any(part.var() for part in logs):
        low, high = ttest_ind(*reversed(logs), equal_var=False).confidence_interval(SPEED_LEVEL / 100)
    return Growth(*(float(100 * np.expm1(end)) for end in (change, low, high)))


def _single_gap(run: str, measure: str, old: dict, new: dict) -> Gap:
    """One for all variants where they give the same reason."""
    what, reason = SINGLE[measure]
    lacking = [(name, cell) for name, cell in (("A", old), ("B", new)) if not cell.get(measure)]
    why = "; ".join(
        f"not measured in {name} ({cell.get(reason) or 'no reason given'})" for name, cell in lacking
    )
    if len(lacking) == 2 and old.get(reason) == new.get(reason):
        why = f"measured in neither ({new.get(reason) or 'no reason given'})"
    return Gap(run, what, why, lost=len(lacking) == 1 and lacking[0][0] == "B")
