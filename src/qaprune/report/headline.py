"""The sentence a report begins with: one row a pair, chosen on the train hold-out and then read on dev."""

from __future__ import annotations

from statistics import fmean
from typing import NamedTuple

from qaprune.report.choice import ROUNDING, fastest_first
from qaprune.report.columns import Row
from qaprune.report.rows import mixed_hardware, name_of, setting_text, untrained
from qaprune.report.speed import AXES

MOST_LOST = 1.0
"""F1 points on the hold-out that the chosen row may lose to its teacher there. The project's own choice."""


class Headline(NamedTuple):
    """`claim` is the sentence, `details` say what it rests on; `rows` are what was chosen, one a seed."""

    model: str
    dataset: str
    claim: str
    details: tuple[str, ...]
    rows: tuple[Row, ...] = ()

    @property
    def pair(self) -> str:
        """Of what the sentence speaks."""
        return f"{self.model} on {self.dataset}"


class Choice(NamedTuple):
    """An operating point and recovery: its row of each seed, and the mean F1 lost on the hold-out."""

    rows: tuple[Row, ...]
    drop: float

    @property
    def point(self) -> tuple[object, object]:
        """Criterion and budget."""
        return self.rows[0]["criterion"], self.rows[0]["budget"]

    @property
    def name(self) -> str:
        """Of its rows inside their runs."""
        return name_of(self.rows[0])

    @property
    def speedup(self) -> float:
        """Mean over the seeds."""
        return fmean(_number(row, "speedup") for row in self.rows)


def choose(group: list[Row]) -> Choice | None:
    """The fastest point of a pair that loses at most MOST_LOST on the hold-out, else what loses the least
    there. Dev plays no part. None where no row has both a speedup and a hold-out score.
    """
    found = _candidates(group)
    within = fastest_first(choice for choice in found if choice.drop <= MOST_LOST + ROUNDING)
    return within[0] if within else min(found, key=lambda choice: choice.drop, default=None)


def headline(group: list[Row]) -> Headline:
    """The sentence of one model and data set."""
    pair = (str(group[0]["model"]), str(group[0]["dataset"]))
    choice = choose(group)
    if choice:
        claim = f"{_speed(choice)} {_quality(choice)}"
        return Headline(*pair, claim, tuple(_details(choice, group)), choice.rows)
    if untrained(group):
        return _speed_alone(pair, group)
    reason = next((str(row["not_measured"]) for row in group if row["not_measured"]), "no row was timed")
    return Headline(
        *pair, "nothing to choose from: no row has both a speedup and a hold-out score", (reason,)
    )


def _candidates(group: list[Row]) -> list[Choice]:
    seeds = {row["seed"] for row in group}
    teachers = {(row["seed"], row["variant"]): row for row in group if not row["criterion"]}
    points: dict[tuple[object, ...], list[tuple[Row, float]]] = {}
    for row in group:
        teacher = teachers.get((row["seed"], row["reference"]), {})
        measured = (row["speedup"], row["holdout_f1"], teacher.get("holdout_f1"))
        if row["criterion"] and None not in measured:
            lost = _number(teacher, "holdout_f1") - _number(row, "holdout_f1")
            key = (row["criterion"], row["budget"], row["variant"], row["draw"])
            points.setdefault(key, []).append((row, lost))
    return [
        Choice(tuple(row for row, _ in rows), fmean(lost for _, lost in rows))
        for rows in points.values()
        if len(rows) == len(seeds)
    ]


def _speed(choice: Choice) -> str:
    """A speedup whose interval holds 1 is called neither faster nor slower."""
    rows, mean = choice.rows, choice.speedup
    low, high = (_ends(rows, f"speedup_{end}") for end in ("low", "high"))
    if min(low) > 1:
        return f"{mean:.2f}x faster"
    return (
        f"{mean:.2f}x as fast" if max(high) < 1 else f"{mean:.2f}x as fast (no difference in speed shown)"
    )


def _quality(choice: Choice) -> str:
    """The difference of F1 with its interval; one whose interval holds 0 is no difference.

    Of several seeds from the lowest to the highest end of their intervals. That span may hold 0 where a
    seed's own interval does not: the difference in that seed is not passed over.
    """
    rows = choice.rows
    delta = fmean(_number(row, "delta_f1") for row in rows)
    low, high = (_ends(rows, f"delta_f1_{end}") for end in ("low", "high"))
    seeds = f" (mean of {len(rows)} seeds)" if len(rows) > 1 else ""
    text = f"at {_signed(delta)} F1{seeds} [{_signed(min(low))}, {_signed(max(high))}]"
    if min(low) > 0 or max(high) < 0:
        return text
    counts = {"a loss": sum(end < 0 for end in high), "a gain": sum(end > 0 for end in low)}
    found = [f"{what} in {count}" for what, count in counts.items() if count]
    return (
        f"{text}: {' and '.join(found)} of {len(rows)} seeds"
        if found
        else f"{text}: no difference in F1 shown"
    )


def _details(choice: Choice, group: list[Row]) -> list[str]:
    rows, row = choice.rows, choice.rows[0]
    gains = choice.drop <= -0.05
    lost = f"it gains {-choice.drop:.1f}" if gains else f"it loses {max(choice.drop, 0.0):.1f}"
    rule = f"the fastest row that loses at most {MOST_LOST:g} F1 there ({lost})"
    if choice.drop > MOST_LOST:
        rule = f"no row stays within {MOST_LOST:g} F1 there, this one loses least ({choice.drop:.1f})"
    settings = dict.fromkeys(setting_text(one) for one in rows)
    own = dict.fromkeys(
        ", ".join(f"{'compile ' if axis == 'compile' else ''}{one[f'teacher_{axis}']}" for axis in AXES)
        for one in rows
        if one["teacher_dtype"]
    )
    f1 = "F1" if row["long_f1"] is None else "short-answer F1"
    lines = [
        f"{name_of(row)}, {_seeds(rows)}, against {_words(rows, 'reference')}; {f1} {_means(rows, 'f1')}, "
        f"the teacher's {_means(_references(rows, group), 'f1')}{_nothing(rows, group)}.",
        f"Chosen on the train hold-out: {rule}. F1 and its difference are those on dev.",
        f"Speedup {_intervals(rows, 'speedup')}, timed on {'; '.join(settings)}"
        + (f"; the teacher at {'; '.join(own)}." if own else "."),
    ]
    if mixed := mixed_hardware(list(rows)):
        lines.append(f"{mixed.capitalize()}: a mean of theirs is no machine's speed.")
    if row["hasans_f1"] is not None:
        lines.insert(
            1,
            f"On questions that have an answer: F1 {_means(rows, 'hasans_f1')}, the teacher's "
            f"{_means(_references(rows, group), 'hasans_f1')}.",
        )
    return lines


def _speed_alone(pair: tuple[str, str], group: list[Row]) -> Headline:
    timed = [_number(row, "speedup") for row in group if row["criterion"] and row["speedup"] is not None]
    if not timed:
        return Headline(*pair, "no cut was timed, and nothing was trained", ())
    span = f"{min(timed):.2f}x to {max(timed):.2f}x" if len(timed) > 1 else f"{timed[0]:.2f}x"
    first = next(row for row in group if row["speedup"] is not None)
    return Headline(
        *pair,
        f"{span} the teacher's speed; F1 was not measured",
        (
            "Untrained weights: the cuts say how fast such models run and nothing of quality.",
            f"Timed on {setting_text(first)}.",
        ),
    )


def _nothing(rows: tuple[Row, ...], group: list[Row]) -> str:
    """What silence scores: losses are small against a teacher that is hardly above it."""
    seeds = {row["seed"] for row in rows}
    found = [row for row in group if row["variant"] == "no-answer" and row["seed"] in seeds]
    return f", answering nothing {_means(found, 'f1')}" if found else ""


def _references(rows: tuple[Row, ...], group: list[Row]) -> list[Row]:
    """The row that each seed's difference is against."""
    return [
        next(one for one in group if (one["seed"], one["variant"]) == (row["seed"], row["reference"]))
        for row in rows
    ]


def _seeds(rows: tuple[Row, ...]) -> str:
    return ("seed " if len(rows) == 1 else "seeds ") + _words(rows, "seed")


def _words(rows: tuple[Row, ...], name: str) -> str:
    return ", ".join(dict.fromkeys(str(row[name]) for row in rows))


def _means(rows: tuple[Row, ...] | list[Row], name: str) -> str:
    return f"{fmean(_number(row, name) for row in rows):.1f}"


def _intervals(rows: tuple[Row, ...], name: str) -> str:
    spans = [f"[{_number(row, f'{name}_low'):.2f}, {_number(row, f'{name}_high'):.2f}]" for row in rows]
    return " and ".join(spans) + (", 95 % interval" if len(spans) == 1 else ", 95 % intervals of the seeds")


def _ends(rows: tuple[Row, ...], name: str) -> list[float]:
    return [_number(row, name) for row in rows]


def _signed(value: float) -> str:
    """One decimal with its sign, and no `-0.0`."""
    return f"{round(value, 1) + 0.0:+.1f}"


def _number(row: Row, name: str) -> float:
    return float(row[name])  # type: ignore[arg-type]
