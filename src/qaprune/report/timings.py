"""What `profile` left of one run: raw samples, cells and the environment."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qaprune.errors import InputError
from qaprune.jsonfile import read_json
from qaprune.profile.settings import Setting, fastest
from qaprune.report.csvfile import read_columns


@dataclass(frozen=True, slots=True)
class Timings:
    """What `profile` measured for one run."""

    seconds: dict[tuple[Setting, str], dict[int, float]]
    """(setting, variant) -> round -> seconds of one forward pass."""
    cells: dict[tuple[Setting, str], dict]
    """(setting, variant) -> memory, energy and their reasons; those that did not run are among them."""
    headline: tuple[int, int]
    """Batch and length of the first cell."""
    device: str
    fingerprint: str
    environment: dict
    device_seconds: dict[tuple[Setting, str], list[float]] = field(default_factory=dict)
    """(setting, variant) -> seconds of its passes by the device's own clock; CPUs have none."""
    question_seconds: dict[tuple[Setting, str], dict[int, float]] = field(default_factory=dict)
    """(setting, variant) -> round -> seconds a question, from its text to its answer."""

    def at(self, batch: int, length: int, variant: str) -> dict[Setting, dict[int, float]]:
        """What was timed of a variant at a batch and length: setting -> round -> seconds."""
        return {
            setting: rounds
            for (setting, name), rounds in self.seconds.items()
            if name == variant and setting[:2] == (batch, length)
        }

    def fastest(self, batch: int, length: int, variant: str) -> Setting | None:
        """The variant's fastest setting at a batch and length; None where nothing was timed."""
        found = self.at(batch, length, variant)
        return fastest(found) if found else None


def read_timings(folder: Path) -> Timings:
    """Read samples, cells.json and environment.json of one profile folder."""
    described = read_json(folder / "cells.json")
    environment = read_json(folder / "environment.json")
    try:
        seconds, on_device = _read_samples(folder / "samples.csv.gz")
        questions = _read_end_to_end(folder / "end_to_end.csv.gz")
        cells = {(_setting(cell), cell["variant"]): cell for cell in described["cells"]}
        headline = (described["cells"][0]["batch"], described["cells"][0]["length"])
        device, fingerprint = environment["device"], described["fingerprint"]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise InputError(f"{folder}: not the output of a profile stage ({error!r})") from None
    return Timings(seconds, cells, headline, device, fingerprint, environment, on_device, questions)


def _setting(cell: dict) -> Setting:
    return Setting(*(cell[name] for name in Setting._fields))


def _rows(path: Path, *more: str) -> Iterator[tuple[tuple[Setting, str], int, tuple[str, ...]]]:
    """(setting, variant), round and the fields named by `more`, line by line."""
    columns = read_columns(path)
    names = ("variant", *Setting._fields, "round", *more)
    for variant, batch, length, dtype, backend, compiled, round_number, *rest in zip(
        *(columns[name] for name in names), strict=True
    ):
        setting = Setting(int(batch), int(length), dtype, backend, compiled)
        yield (setting, variant), int(round_number), tuple(rest)


def _read_samples(path: Path) -> tuple[dict, dict]:
    seconds: dict[tuple[Setting, str], dict[int, float]] = {}
    on_device: dict[tuple[Setting, str], list[float]] = {}
    for key, round_number, (wall, device) in _rows(path, "seconds", "device_seconds"):
        seconds.setdefault(key, {})[round_number] = _positive(wall)
        if device:
            on_device.setdefault(key, []).append(_positive(device))
    return seconds, on_device


def _read_end_to_end(path: Path) -> dict[tuple[Setting, str], dict[int, float]]:
    """Seconds a question; nothing where untrained models have none to answer."""
    found: dict[tuple[Setting, str], dict[int, float]] = {}
    if path.exists():
        for key, round_number, (questions, wall) in _rows(path, "questions", "seconds"):
            found.setdefault(key, {})[round_number] = _positive(wall) / int(questions)
    return found


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(f"seconds: expected a positive number, found {text}")
    return value
