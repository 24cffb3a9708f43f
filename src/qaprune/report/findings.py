"""The records that `compare` makes and its three outputs read: findings, gaps, verdicts, tolerances."""

from __future__ import annotations

from dataclasses import dataclass, field

from qaprune.report.timings import Timings

REGRESSION, UNCLEAR, CHANGED, FINE = "regression", "unclear", "changed", "fine"
"""Verdicts. Unclear: the interval holds the tolerance, so neither answer is shown."""
SLOWDOWN_CPU, SLOWDOWN_GPU = 10.0, 5.0
SPEED_LEVEL = 99.0
"""Level of the intervals that judge times, in per cent. A comparison reads a lower end for every variant
and cell: at 95 % a few of a hundred lie beyond the truth, and noisy unchanged pairs raised alarms."""
MEMORY_GROWTH = 1.0
"""Per cent: the workspaces of libraries come and go by a few blocks, a model does not."""


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What may get worse: F1 in points, the others in per cent. None: 10 on a CPU, 5 on a GPU."""

    f1_drop: float = 0.3
    slowdown: float | None = None
    energy: float | None = None

    def of(self, measure: str, timings: Timings) -> float:
        """The tolerance of a measure of the profile, in per cent, on the device that was timed."""
        if measure == "peak_memory_mb":
            return MEMORY_GROWTH
        asked = self.energy if measure == "energy_j" else self.slowdown
        if asked is not None:
            return asked
        return SLOWDOWN_GPU if timings.environment.get("gpu") else SLOWDOWN_CPU


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of one variant in both folders.

    `change`, `low` and `high` are points gained for f1, else per cent: of the figure itself, but for
    throughput_qps of the time a question takes, and for speedup_same of the time as a share of the
    teacher's, so that more is always worse. `low` and `high` are None where there is no interval,
    `tolerance` where the figure is not gated by one. `cell` is the timed setting.
    """

    run: str
    variant: str
    measure: str
    baseline: float
    new: float
    change: float
    verdict: str
    low: float | None = None
    high: float | None = None
    tolerance: float | None = None
    cell: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """What was not compared, and why. `lost`: the other folder should have had it."""

    run: str
    what: str
    why: str
    lost: bool


@dataclass(slots=True)
class Comparison:
    """Findings and gaps, run by run."""

    findings: list[Finding] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def add(self, other: Comparison) -> None:
        """Append what another part found."""
        self.findings += other.findings
        self.gaps += other.gaps

    def having(self, verdict: str) -> list[Finding]:
        """The findings with that verdict."""
        return [finding for finding in self.findings if finding.verdict == verdict]

    @property
    def exit_code(self) -> int:
        """3 with a regression, else 4 where something that has to be compared could not be, else 0."""
        if self.having(REGRESSION):
            return 3
        return 4 if any(gap.lost for gap in self.gaps) else 0


def unmatched(run: str, what: str, a: list[str], b: list[str]) -> list[Gap]:
    """What A alone has (lost) and what B alone has (new), one gap each."""
    only_a = [name for name in a if name not in b]
    only_b = [name for name in b if name not in a]
    return [
        Gap(run, f"{what} {', '.join(names)}", f"only in {side}", lost)
        for side, names, lost in (("A", only_a, True), ("B", only_b, False))
        if names
    ]
