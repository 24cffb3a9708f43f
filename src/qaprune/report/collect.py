"""Read the folders of `evaluate` and `profile` into runs. Statistics come later; here are only checks."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qaprune.data.examples import open_text
from qaprune.errors import InputError, NotComparable
from qaprune.jsonfile import UNREADABLE, field, number, read_json, read_json_lines, unreadable
from qaprune.profile.settings import Setting, fastest
from qaprune.report.intervals import GroupSums, placed, sums_of

SQUAD_COLUMNS = ("variant", "id", "group", "em", "f1", "has_answer")
NQ_COLUMNS = ("variant", "id", "group", "tp", "n_pred", "n_gold")
CURVE_KEYS = ("step", "loss", "tokens", "seconds")


class Questions(NamedTuple):
    """Per-question scores of a run, summed by paragraph or document."""

    sums: GroupSums
    long: GroupSums | None
    """The sums of NQ's long answers; SQuAD 2.0 and older folders have none."""
    count: int
    """Questions that each variant answered."""


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
    device_seconds: dict[tuple[Setting, str], list[float]] = dataclasses.field(default_factory=dict)
    """(setting, variant) -> seconds of its passes by the device's own clock; CPUs have none."""
    question_seconds: dict[tuple[Setting, str], dict[int, float]] = dataclasses.field(default_factory=dict)
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


@dataclass(frozen=True, slots=True)
class Run:
    """One model x data set x seed: scores of every variant, sums for the bootstrap, timings if any."""

    name: str
    model: str
    dataset: str
    seed: int
    variants: dict[str, dict]
    sums: GroupSums | None
    """None where models were timed untrained: then there is no quality."""
    questions: int | None
    timings: Timings | None = None
    long_sums: GroupSums | None = None
    """None on SQuAD 2.0, and where `evaluate` is older than these sums."""
    curves: dict[str, list[dict]] = dataclasses.field(default_factory=dict)
    """Variant -> its training log, a line every few steps; none where nothing was trained or kept."""


def collect(evaluate: list[Path], profile: list[Path]) -> list[Run]:
    """Read all runs, in the order of `evaluate`. A profile folder belongs to the run of its name.

    Without `evaluate` folders the profiles are those of untrained models.
    """
    if not evaluate and not profile:
        raise InputError("report: expected at least one evaluate or profile folder")
    for stage, folders in (("evaluate", evaluate), ("profile", profile)):
        _check_versions(stage, [Path(folder) for folder in folders])
    if not evaluate:
        return [read_untrained(Path(folder)) for folder in profile]
    timed = {Path(folder).name: Path(folder) for folder in profile}
    stray = timed.keys() - {Path(folder).name for folder in evaluate}
    if stray:
        raise InputError(f"report: profile folder '{min(stray)}' has no evaluate folder of the same name")
    return [read_run(Path(folder), timed.get(Path(folder).name)) for folder in evaluate]


def _check_versions(stage: str, folders: list[Path]) -> None:
    """Rows of two versions of a stage share no table: a version is raised when numbers change."""
    first: tuple[object, Path] | None = None
    for folder in folders:
        if not (folder / "stage.json").exists():
            continue
        version = read_json(folder / "stage.json").get("spec", {}).get("version")
        if first is None:
            first = (version, folder)
        elif version != first[0]:
            raise InputError(
                f"report: {first[1]} was written by version {first[0]} of the stage {stage}, {folder} by "
                f"version {version}; run the older one again"
            )


def check_one_machine(runs: list[Run]) -> None:
    """Refuse runs of one model and data set, which share a plot, that were timed on different machines."""
    first: dict[tuple[str, str], tuple[Run, Timings]] = {}
    for run in runs:
        if run.timings is None:
            continue
        other, timings = first.setdefault((run.model, run.dataset), (run, run.timings))
        if timings.fingerprint != run.timings.fingerprint:
            raise NotComparable(
                f"report: {other.name} was timed on {timings.device} ({timings.fingerprint}), {run.name} "
                f"on {run.timings.device} ({run.timings.fingerprint}); their speeds share no plot unless "
                "report.mixed_hardware is true"
            )


def read_run(evaluate: Path, profile: Path | None) -> Run:
    """Read one run and check that its parts agree."""
    scores = read_json(evaluate / "scores.json")
    try:
        run, variants = scores["run"], scores["variants"]
        model, dataset, seed = run["model"], run["dataset"], run["seed"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{evaluate / 'scores.json'}: expected run (model, dataset, seed) and variants"
        ) from error
    if "teacher" not in variants:
        raise InputError(f"{evaluate / 'scores.json'}: variants: expected a row 'teacher'")
    sums, long, questions = read_questions(evaluate / "questions.csv.gz")
    _check_agreement(evaluate, variants, sums, "f1")
    if long is not None:
        _check_agreement(evaluate, variants, long, "long_f1")
    timings = read_timings(profile) if profile else None
    curves = read_curves(evaluate, variants)
    return Run(evaluate.name, model, dataset, seed, variants, sums, questions, timings, long, curves)


def read_untrained(profile: Path) -> Run:
    """Read a profile of models with initial weights, whose sizes stand beside it."""
    path = profile / "variants.json"
    if not path.exists():
        raise InputError(f"{profile}: no evaluate folder and no variants.json; expected one of them")
    facts = read_json(path)
    try:
        run, variants = facts["run"], facts["variants"]
        return Run(
            profile.name,
            run["model"],
            run["dataset"],
            run["seed"],
            variants,
            None,
            None,
            read_timings(profile),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected run (model, dataset, seed) and variants") from error


def read_questions(path: Path) -> Questions:
    """Sum the per-question scores by paragraph or document.

    Every variant must have answered the same questions: a difference of F1 means nothing otherwise.
    """
    columns = read_columns(path)
    try:
        names, ids, groups = columns["variant"], columns["id"], columns["group"]
        if "tp" in columns:
            sides = {
                prefix: _counts(columns, prefix) for prefix in ("", "long_") if f"{prefix}tp" in columns
            }
        else:
            f1 = _numbers(columns["f1"])
            sides = {"": (f1, np.ones_like(f1))}
    except (KeyError, ValueError) as error:
        expected = f"{','.join(SQUAD_COLUMNS)} or {','.join(NQ_COLUMNS)}"
        raise InputError(f"{path}: expected numbers in the columns {expected} ({error})") from None
    if not names:
        raise InputError(f"{path}: expected at least one row")
    variants, paragraphs, ones = placed(names), placed(groups), np.ones(len(ids))
    answered = sums_of(variants, placed(ids), ones, ones)
    asked = answered.numerator[0]
    for name, counts in zip(answered.variants, answered.numerator, strict=True):
        if not np.array_equal(counts, asked):
            first = answered.variants[0]
            raise InputError(f"{path}: variants '{first}' and '{name}' did not answer the same questions")
    sums = {prefix: sums_of(variants, paragraphs, *parts) for prefix, parts in sides.items()}
    return Questions(sums[""], sums.get("long_"), int(asked.sum()))


def _counts(columns: dict[str, list[str]], prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of F1, a question each: 2 tp, and n_pred + n_gold."""
    tp, predicted, gold = (_numbers(columns[prefix + name]) for name in ("tp", "n_pred", "n_gold"))
    return 2 * tp, predicted + gold


def _numbers(column: list[str]) -> np.ndarray:
    return np.fromiter(map(float, column), np.float64, len(column))


def read_curves(folder: Path, variants: Iterable[str]) -> dict[str, list[dict]]:
    """Variant -> the lines that its training left in an evaluate folder (step, loss, tokens, seconds).

    Folders from before these files were kept have none; nor have variants that nothing trained.
    """
    found = {}
    for key in variants:
        path = folder / "training" / f"{key.replace('/', '.')}.jsonl"
        if path.is_file():
            found[key] = [_step(line, where) for where, line in read_json_lines(path)]
    return found


def _step(line: dict, where: str) -> dict:
    for name in CURVE_KEYS:
        number(field(line, name, object, where), f"{where}: '{name}'")
    return line


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


def _check_agreement(folder: Path, variants: dict[str, dict], sums: GroupSums, column: str) -> None:
    """The table's F1 and the one that the per-question file gives must be the same figure."""
    recomputed = dict(zip(sums.variants, sums.f1(), strict=True))
    for key, scores in variants.items():
        if key not in recomputed:
            raise InputError(f"{folder / 'questions.csv.gz'}: expected rows of the variant '{key}'")
        said = scores.get(column)
        if said is None or abs(said - recomputed[key]) > 0.01:
            raise InputError(
                f"{folder / 'scores.json'}: {key}: {column} is {said}, but its questions give "
                f"{recomputed[key]:.4f}"
            )


def read_columns(path: Path) -> dict[str, list[str]]:
    """A (gzipped) CSV file as lists, one a column."""
    try:
        with open_text(path) as stream:
            text = stream.read()
        found = _split_plain(text) or _split_quoted(text, path)
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file; the stage before the report writes it") from None
    except UNREADABLE as error:
        raise unreadable(path, error) from None
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None
    return found


def _split_plain(text: str) -> dict[str, list[str]] | None:
    """The columns of a table without quotes whose lines all have as many fields as its header, else None.

    The per-question scores of 500 rows are millions of lines: one split is several times faster than a
    reader that makes a list of each.
    """
    header, _, body = text.partition("\n")
    names, lines = header.split(","), body.count("\n")
    if '"' in text or not body.endswith("\n"):
        return None
    fields = body.replace("\n", "\n,").split(",")  # a line's last field keeps its end
    ends = "".join(fields[len(names) - 1 :: len(names)])
    if len(fields) != lines * len(names) + 1 or ends.count("\n") != lines:
        return None
    columns = [fields[place : -1 : len(names)] for place in range(len(names) - 1)]
    return dict(zip(names, [*columns, ends.split("\n")[:-1]], strict=True))


def _split_quoted(text: str, path: Path) -> dict[str, list[str]]:
    """The columns of any table; errors name the line."""
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        raise InputError(f"{path}: expected a header line")
    header, *body = rows
    for line, row in enumerate(body, 2):
        if len(row) != len(header):
            raise InputError(f"{path}:{line}: expected {len(header)} fields, found {len(row)}")
    return {name: [row[index] for row in body] for index, name in enumerate(header)}
