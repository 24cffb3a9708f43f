"""Natural Questions answers: spans, annotations, and the official prediction JSON, read and written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qaprune.data.examples import open_text
from qaprune.errors import InputError
from qaprune.jsonfile import expect, field, number, read_json, read_json_lines

YES_NO = ("none", "yes", "no")
_SPAN_KEYS = ("start_byte", "end_byte", "start_token", "end_token")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open span of the document in bytes, in tokens or in both; -1 is "not given"."""

    start_byte: int = -1
    end_byte: int = -1
    start_token: int = -1
    end_token: int = -1

    @property
    def is_null(self) -> bool:
        """Neither bytes nor tokens are given: no answer."""
        return max(self.start_byte, self.end_byte, self.start_token, self.end_token) < 0

    def same(self, other: Span) -> bool:
        """Equality of non-null spans as the official script has it: equal bytes or equal tokens suffice.

        So where both have bytes that differ, equal tokens still make a match.
        """
        by_bytes = min(self.start_byte, self.end_byte, other.start_byte, other.end_byte) >= 0
        if by_bytes and (self.start_byte, self.end_byte) == (other.start_byte, other.end_byte):
            return True
        by_tokens = min(self.start_token, self.end_token, other.start_token, other.end_token) >= 0
        return by_tokens and (self.start_token, self.end_token) == (other.start_token, other.end_token)


NULL_SPAN = Span()


@dataclass(frozen=True, slots=True)
class Label:
    """One annotator's (or the model's) answer. `yes_no` is none, yes or no."""

    long: Span = NULL_SPAN
    shorts: tuple[Span, ...] = ()
    yes_no: str = "none"

    @property
    def has_long(self) -> bool:
        return not self.long.is_null

    @property
    def has_short(self) -> bool:
        """A short span or a yes/no answer."""
        return self.yes_no != "none" or any(not span.is_null for span in self.shorts)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answers predicted for one example and what they are ranked by (higher: surer)."""

    id: str
    label: Label
    long_score: float
    short_score: float


def read_gold(paths: Sequence[Path | str]) -> tuple[dict[str, tuple[Label, ...]], list[str]]:
    """The annotations of NQ JSON lines (original or simplified layout, plain or .gz), by example id.

    The second value lists ids that occur more than once: as in the official script their last line counts.
    """
    gold: dict[str, tuple[Label, ...]] = {}
    repeated: list[str] = []
    for path in paths:
        before = len(gold) + len(repeated)
        for where, record in read_json_lines(path):
            identity = _identity(record, where)
            annotations = field(record, "annotations", list, where)
            if not annotations:
                raise InputError(f"{where}: expected at least one annotation")
            if identity in gold:
                repeated.append(identity)
            gold[identity] = tuple(read_annotation(entry, where) for entry in annotations)
        if len(gold) + len(repeated) == before:
            raise InputError(f"{path}: empty data set, expected at least one example")
    return gold, repeated


def read_predictions(path: Path | str) -> tuple[dict[str, Prediction], list[str]]:
    """The predictions of an official JSON file by example id, and the ids given twice (the last counts)."""
    predictions: dict[str, Prediction] = {}
    repeated: list[str] = []
    for i, record in enumerate(field(read_json(path), "predictions", list, str(path))):
        prediction = _prediction(record, f"{path}: predictions[{i}]")
        if prediction.id in predictions:
            repeated.append(prediction.id)
        predictions[prediction.id] = prediction
    return predictions, repeated


def write_predictions(path: Path | str, predictions: Iterable[Prediction]) -> int:
    """Write the official JSON (scores must be finite, null answers included); returns how many."""
    records = [_as_record(prediction) for prediction in predictions]
    text = json.dumps({"predictions": records}, allow_nan=False)
    with open_text(path, "w") as out:
        out.write(text + "\n")
    return len(records)


def _as_record(prediction: Prediction) -> dict[str, Any]:
    label = prediction.label
    digits = prediction.id.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and str(int(prediction.id)) == prediction.id
    return {
        "example_id": int(prediction.id) if is_number else prediction.id,
        "long_answer": _span_record(label.long),
        "long_answer_score": float(prediction.long_score),
        "short_answers": [_span_record(span) for span in label.shorts if not span.is_null],
        "short_answers_score": float(prediction.short_score),
        "yes_no_answer": label.yes_no.upper(),
    }


def _span_record(span: Span) -> dict[str, int]:
    return {key: int(getattr(span, key)) for key in _SPAN_KEYS}


def _identity(record: dict[str, Any], where: str) -> str:
    """Ids are integers in the official files and strings in the hub data set: compared as text."""
    if "example_id" not in record:
        raise InputError(f"{where}: missing key 'example_id'")
    value = record["example_id"]
    return value if isinstance(value, str) else str(expect(value, int, f"{where}: 'example_id'"))


def read_annotation(entry: Any, where: str) -> Label:
    """What one annotator said, from the entry of an official file."""
    inside = f"{where}: annotation"
    long = _span(field(entry, "long_answer", dict, inside), f"{inside}: 'long_answer'")
    shorts = field(entry, "short_answers", list, inside)
    yes_no = _yes_no(field(entry, "yes_no_answer", str, inside), inside)
    return Label(long, tuple(_span(item, f"{inside}: 'short_answers'") for item in shorts), yes_no)


def _prediction(record: Any, where: str) -> Prediction:
    expect(record, dict, where)
    identity = _identity(record, where)
    inside = f"{where} (example_id {identity})"
    scores = []
    for key in ("long_answer_score", "short_answers_score"):
        if key not in record:
            raise InputError(f"{inside}: missing key '{key}'")
        scores.append(number(record[key], f"{inside}: '{key}'"))
    long = NULL_SPAN
    if "long_answer" in record:
        long = _span(record["long_answer"], f"{inside}: 'long_answer'")
    items = field(record, "short_answers", list, inside) if "short_answers" in record else []
    shorts = tuple(_span(item, f"{inside}: 'short_answers'") for item in items)
    yes_no = "none"
    if "yes_no_answer" in record:
        yes_no = _yes_no(field(record, "yes_no_answer", str, inside), inside)
    if yes_no != "none" and any(not span.is_null for span in shorts):
        raise InputError(f"{inside}: expected short spans or a yes/no answer, found both")
    return Prediction(identity, Label(long, shorts, yes_no), *scores)


def _yes_no(text: str, where: str) -> str:
    if text.lower() not in YES_NO:
        raise InputError(f"{where}: 'yes_no_answer' must be NONE, YES or NO, found '{text}'")
    return text.lower()


def _span(record: Any, where: str) -> Span:
    """A span with bytes, tokens or both; each pair is a non-empty range, or left out (-1)."""
    expect(record, dict, where)
    if not any(start in record and end in record for start, end in (_SPAN_KEYS[:2], _SPAN_KEYS[2:])):
        raise InputError(f"{where}: expected 'start_token' and 'end_token' (or bytes)")
    values = [expect(record.get(key, -1), int, f"{where}: '{key}'") for key in _SPAN_KEYS]
    for unit, (start, end) in (("byte", values[:2]), ("token", values[2:])):
        if (start < 0) != (end < 0) or (start >= 0 and start >= end):
            raise InputError(f"{where}: {unit} span [{start}, {end}) is empty or half given")
    return Span(*values)
