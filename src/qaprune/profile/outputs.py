"""What the stage `profile` leaves: raw samples, cells.json, environment.json; and its summary in words."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qaprune.data.examples import open_text
from qaprune.profile.settings import Setting, fastest
from qaprune.profile.timers import Sample

SCHEMA_VERSION = 3
SAMPLE_COLUMNS = ("variant", *Setting._fields, "round", "seconds", "device_seconds")
END_TO_END_COLUMNS = ("variant", *Setting._fields, "round", "questions", "seconds")
NOT_FASTEST = "measured at each variant's fastest setting alone"


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """samples.csv.gz: one line a timed pass."""
    _write_rows(
        path,
        SAMPLE_COLUMNS,
        (
            (*_where(sample), _seconds(sample.seconds), _seconds(sample.device_seconds))
            for sample in samples
        ),
    )


def write_end_to_end(path: Path, samples: Iterable[tuple[Sample, int]]) -> None:
    """end_to_end.csv.gz: one line a call, with the number of its questions."""
    _write_rows(
        path,
        END_TO_END_COLUMNS,
        ((*_where(sample), questions, _seconds(sample.seconds)) for sample, questions in samples),
    )


def _where(sample: Sample) -> tuple:
    key, setting = sample.name
    return (key, *setting, sample.round)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.9f}"


def _write_rows(path: Path, header: tuple[str, ...], rows: Iterable[tuple]) -> None:
    with open_text(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_record(path: Path, value: dict[str, Any]) -> None:
    """A JSON file."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def energy_summary(cells: list[dict]) -> str:
    """`energy measured, counter and power samples differ by up to 2.1 %`, or why there is none."""
    measured = [cell for cell in cells if cell["energy_j"] is not None]
    if not measured:
        reasons = [cell["energy_reason"] for cell in cells if cell["energy_reason"] != NOT_FASTEST]
        return f"energy not measured ({reasons[0]})" if reasons else "energy not measured"
    apart = [cell["energy_disagreement_percent"] for cell in measured]
    known = [abs(percent) for percent in apart if percent is not None]
    if not known:
        return "energy measured, not cross-checked"
    return f"energy measured, counter and power samples differ by up to {max(known):.1f} %"


def by_variant(samples: Iterable[Sample]) -> dict[str, dict[Setting, dict[int, float]]]:
    """variant -> setting -> round -> seconds, of one batch and length."""
    seconds: dict[str, dict[Setting, dict[int, float]]] = {}
    for sample in samples:
        key, setting = sample.name
        seconds.setdefault(key, {}).setdefault(setting, {})[sample.round] = sample.seconds
    return seconds


def summary_of(samples: Iterable[Sample]) -> str:
    """`teacher 15.2 ms, fastest l0-h50-f50/pruned 1.9x` of one batch and length, each at its best."""
    best = {key: found[fastest(found)] for key, found in by_variant(samples).items()}
    medians = {key: statistics.median(rounds.values()) for key, rounds in best.items()}
    winner = min(medians, key=medians.__getitem__)
    if "teacher" not in medians:
        return f"fastest {winner} {medians[winner] * 1000:.1f} ms"
    ratio = statistics.median(best["teacher"][at] / value for at, value in best[winner].items())
    return f"median teacher {medians['teacher'] * 1000:.1f} ms, fastest {winner} {ratio:.2f}x"
