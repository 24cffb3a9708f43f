"""What `evaluate` left of one run: scores a question, and the training logs of what it scored."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qaprune.errors import InputError
from qaprune.jsonfile import field, number, read_json_lines
from qaprune.report.csvfile import read_columns
from qaprune.report.intervals import GroupSums, placed, sums_of

SQUAD_COLUMNS = ("variant", "id", "group", "em", "f1", "has_answer")
NQ_COLUMNS = ("variant", "id", "group", "tp", "n_pred", "n_gold")
CURVE_KEYS = ("step", "loss", "tokens", "seconds")


class Questions(NamedTuple):
    """Per-question scores of a run, summed by paragraph or document."""

    sums: GroupSums
    long: GroupSums | None
    """The sums of NQ's long answers; SQuAD 2.0 and older folders have none."""
    asked: tuple[tuple[str, str], ...]
    """Id and paragraph or document of the questions, in the order of ids; every variant answered them."""


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
    first = np.flatnonzero(variants.places == variants.places[0])
    return Questions(sums[""], sums.get("long_"), tuple(sorted((ids[row], groups[row]) for row in first)))


def _counts(columns: dict[str, list[str]], prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of F1, a question each: 2 tp, and n_pred + n_gold."""
    tp, predicted, gold = (_numbers(columns[prefix + name]) for name in ("tp", "n_pred", "n_gold"))
    return 2 * tp, predicted + gold


def _numbers(column: list[str]) -> np.ndarray:
    values = np.fromiter(map(float, column), np.float64, len(column))
    if not np.isfinite(values).all():
        raise ValueError(f"found {column[int(np.argmin(np.isfinite(values)))]!r}")
    return values


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


def check_agreement(folder: Path, variants: dict[str, dict], sums: GroupSums, column: str) -> None:
    """The table's F1 and the one that the per-question file gives must be the same figure."""
    where, recomputed = folder / "scores.json", dict(zip(sums.variants, sums.f1(), strict=True))
    for key, scores in variants.items():
        if key not in recomputed:
            raise InputError(f"{folder / 'questions.csv.gz'}: expected rows of the variant '{key}'")
        said = scores.get(column)
        if said is None or not abs(number(said, f"{where}: {key}: {column}") - recomputed[key]) <= 0.01:
            raise InputError(
                f"{where}: {key}: {column} is {said}, but its questions give {recomputed[key]:.4f}"
            )
