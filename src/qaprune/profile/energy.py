"""What an energy window gave: joules above idle and with it, watts at rest, and the columns of a cell.

How it is measured: `power.py`. What could not be is a `NotMeasured` with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from qaprune.profile.outcome import NotMeasured
from qaprune.profile.sampler import MILLI

ENERGY_COLUMNS = (
    "energy_j",
    "energy_gross_j",
    "energy_reason",
    "energy_source",
    "energy_window_s",
    "energy_passes",
    "energy_parts",
    "energy_resolution_percent",
    "energy_counter_period_ms",
    "energy_disagreement_percent",
    "energy_disagreement_reason",
    "idle_power_w",
    "idle_window_s",
)


class Part(NamedTuple):
    """A part of a window, between two updates of the counter."""

    seconds: float
    joules: float
    passes: int


@dataclass(frozen=True, slots=True)
class Idle:
    """The device at rest: mean power over `seconds`, and how often the counter was seen to update."""

    watts: float
    seconds: float
    period_s: float


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of a window of forward passes: `gross_j` holds idle power, `net_j` does not.

    `sampled_j` is the same window by integrated power samples.
    """

    parts: list[Part]
    idle: Idle
    source: str
    sampled_j: float | NotMeasured

    @property
    def gross_j(self) -> float:
        return sum(part.joules for part in self.parts)

    @property
    def seconds(self) -> float:
        return sum(part.seconds for part in self.parts)

    @property
    def passes(self) -> int:
        return sum(part.passes for part in self.parts)

    @property
    def net_j(self) -> float | NotMeasured:
        """Joules above idle."""
        mean_watts = self.gross_j / self.seconds
        if mean_watts <= self.idle.watts:
            return NotMeasured(
                f"idle power ({self.idle.watts:.1f} W) is not below that of the window ({mean_watts:.1f} W)"
            )
        return self.gross_j - self.idle.watts * self.seconds

    @property
    def disagreement_percent(self) -> float | NotMeasured:
        """Integrated samples minus counter, as a share of the counter."""
        if isinstance(self.sampled_j, NotMeasured):
            return self.sampled_j
        return 100 * (self.sampled_j - self.gross_j) / self.gross_j

    @property
    def resolution_percent(self) -> float:
        """The window's two ends, each known to one update or one pass, whichever is shorter."""
        return 100 * 2 * min(self.idle.period_s, self.seconds / self.passes) / self.seconds


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one variant's window gave: its energy and what the sampler saw meanwhile."""

    energy: Energy | NotMeasured
    sampler: dict[str, Any] | NotMeasured


def no_energy(reason: str) -> dict[str, Any]:
    """The columns of a variant whose energy nobody measured."""
    return energy_columns(Measurement(NotMeasured(reason), NotMeasured(reason)), 1)


def energy_columns(measured: Measurement, questions_per_pass: float) -> dict[str, Any]:
    """What cells.json keeps of one variant: joules a question, watts, a reason where there is no number.

    `energy_j` is net of idle power, `energy_gross_j` is not; both come from the counter that
    `energy_source` names.
    """
    energy = measured.energy
    columns: dict[str, Any] = dict.fromkeys(ENERGY_COLUMNS) | _or_reason(
        "sampler", measured.sampler, "sampler_reason"
    )
    if isinstance(energy, NotMeasured):
        return columns | {"energy_reason": energy.reason, "energy_disagreement_reason": energy.reason}
    questions = energy.passes * questions_per_pass
    net = energy.net_j
    return (
        columns
        | _or_reason("energy_j", net if isinstance(net, NotMeasured) else net / questions, "energy_reason")
        | _or_reason(
            "energy_disagreement_percent", energy.disagreement_percent, "energy_disagreement_reason"
        )
        | {
            "energy_gross_j": energy.gross_j / questions,
            "energy_source": energy.source,
            "energy_window_s": energy.seconds,
            "energy_passes": energy.passes,
            "energy_parts": [part._asdict() for part in energy.parts],
            "energy_resolution_percent": energy.resolution_percent,
            "energy_counter_period_ms": energy.idle.period_s / MILLI,
            "idle_power_w": energy.idle.watts,
            "idle_window_s": energy.idle.seconds,
        }
    )


def _or_reason(key: str, value: Any, reason_key: str) -> dict[str, Any]:
    """The value under `key`, or None there and why under `reason_key`."""
    if isinstance(value, NotMeasured):
        return {key: None, reason_key: value.reason}
    return {key: value, reason_key: None}
