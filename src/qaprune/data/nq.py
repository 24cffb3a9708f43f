"""Natural Questions examples, after the recipe of BERT-joint (Alberti, Lee and Collins 2019).

What a model reads of a document is its top-level candidates: their words without HTML, each candidate led
by a structure token. The label is the hull of the first annotation's short spans; where it has none, the
long answer, with the answer type yes, no or long.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qaprune.data.examples import Answer, Example
from qaprune.data.nq_layouts import check_record, simplified, top_level_parts
from qaprune.data.nq_tokens import Tokens, tokens_of
from qaprune.data.structure import structure_token
from qaprune.errors import InputError
from qaprune.jsonfile import read_json_lines

ANSWER_TYPES = ("null", "yes", "no", "short", "long")
"""Of a window, in the order of the model's logits."""

_TAG = re.compile(r"<([A-Za-z]+)")
_TITLE_IN_URL = re.compile(r"[?&]title=([^&]+)")
_KIND_OF_TAG = {"Table": "Table", "Ul": "List", "Ol": "List", "Dl": "List"}


@dataclass(frozen=True, slots=True)
class Document:
    """The text that a model reads, and the way back: word w of `context` starts at character `starts[w]`
    and is token `tokens[w]` of the document; a structure token is the first token of the part it leads.

    `starts`, `tokens`: int32 [words], `tokens` rising. `leads`: int32 [parts], the words that are structure
    tokens. `parts`: int32 [parts, 2], first and last document token of each top-level candidate.
    """

    context: str
    starts: np.ndarray
    tokens: np.ndarray
    leads: np.ndarray
    parts: np.ndarray

    def token_span(self, start: int, end: int) -> tuple[int, int]:
        """Document tokens [first, last) of the words that characters [start, end) touch."""
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        last = int(np.searchsorted(self.starts, max(start, end - 1), side="right")) - 1
        return int(self.tokens[max(0, first)]), int(self.tokens[max(0, last)]) + 1

    def part_of(self, first: int, last: int) -> tuple[int, int] | None:
        """The top-level candidate, as tokens, that holds tokens [first, last), or None."""
        at = int(np.searchsorted(self.parts[:, 0], first, side="right")) - 1
        if at < 0 or last > self.parts[at, 1]:
            return None
        return int(self.parts[at, 0]), int(self.parts[at, 1])

    def answer(self, first: int, last: int) -> Answer | None:
        """The words of document tokens [first, last) as a span of the context, without structure tokens at
        its ends; None where there are none."""
        begin, end = (int(at) for at in np.searchsorted(self.tokens, (first, last)))
        leads = set(self.leads.tolist())
        while begin < end and begin in leads:
            begin += 1
        while begin < end and end - 1 in leads:
            end -= 1
        if begin == end:
            return None
        start = int(self.starts[begin])
        stop = int(self.starts[end]) - 1 if end < len(self.starts) else len(self.context)
        return Answer(self.context[start:stop], start)


@dataclass(frozen=True, slots=True)
class NqExample(Example):
    """A question on a document. `answers` is the span that training asks for, `answer_type` its number in
    `ANSWER_TYPES`, `annotations` what annotators said, in document tokens."""

    document: Document | None = None
    answer_type: int = 0
    annotations: tuple[Mapping[str, Any], ...] = ()


def readable(text: str, parts: list[tuple[int, int]]) -> tuple[Tokens, np.ndarray]:
    """A document's tokens, and which of them a model reads (bool): words of top-level parts.

    Without any such part all words are read.
    """
    tokens = tokens_of(text)
    inside = np.zeros(len(tokens), bool)
    for first, last in parts or [(0, len(tokens))]:
        inside[first:last] = tokens.words[first:last]
    return tokens, inside


def make_document(text: str, candidates: list[dict[str, Any]]) -> Document:
    """The document that a model reads, from simplified text and its long-answer candidates.

    Without a top-level candidate it is all of the text, as one part that no long answer can name.
    """
    parts = top_level_parts(candidates)
    tokens, inside = readable(text, parts)
    seen: Counter[str] = Counter()
    firsts = [first for first, _ in parts] or [0]
    leads: list[str] = []
    for first in firsts:
        tag = None if inside[first] else _TAG.match(tokens[first])
        kind = _KIND_OF_TAG.get(tag[1] if tag else "", "Paragraph")
        seen[kind] += 1
        leads.append(structure_token(kind, seen[kind]))
    numbers = np.flatnonzero(inside)
    # Before the first word of each part; its number is that of the part's first token.
    places = np.searchsorted(numbers, firsts)
    starts, ends = tokens.starts[numbers], tokens.ends[numbers]
    sizes = np.insert(ends - starts, places, [len(lead) for lead in leads]) + 1
    return Document(
        _joined(tokens.text, starts, ends, leads, places),
        (np.cumsum(sizes) - sizes).astype(np.int32),
        np.insert(numbers, places, firsts).astype(np.int32),
        (places + np.arange(len(places))).astype(np.int32),
        np.array(parts, np.int32).reshape(-1, 2),
    )


def _joined(text: str, starts: np.ndarray, ends: np.ndarray, leads: list[str], places: np.ndarray) -> str:
    """The words of a text with leads before those at `places`; words that follow each other are cut out
    of the text together."""
    opens = np.ones(len(starts), bool)
    opens[1:] = starts[1:] != ends[:-1] + 1
    opens[places[places < len(starts)]] = True
    closes = np.roll(opens, -1)  # a run ends before the next one; the first one begins at 0
    runs = zip(starts[opens].tolist(), ends[closes].tolist(), strict=True)
    pieces = [text[start:end] for start, end in runs]
    first = np.flatnonzero(opens)
    for lead, at in zip(reversed(leads), reversed(np.searchsorted(first, places).tolist()), strict=True):
        pieces.insert(at, lead)
    return " ".join(pieces)


def nq_example(record: Mapping[str, Any], where: str) -> NqExample:
    """A checked simplified record as an example; group and article are the document, by its title."""
    identity = str(record["example_id"])
    document = make_document(record["document_text"], record["long_answer_candidates"])
    if len(document.leads) == len(document.starts):
        raise _empty(where)
    span, answer_type = label_of(record["annotations"])
    answers = ()
    if span is not None:
        answer = document.answer(*span)
        if answer is None:
            raise _no_text(span, where)
        answers = (answer,)
    title = page_of(record)
    return NqExample(
        identity,
        record["question_text"],
        document.context,
        title,
        title,
        answers,
        document,
        answer_type,
        tuple(record["annotations"]),
    )


def label_of(annotations: list[Mapping[str, Any]]) -> tuple[tuple[int, int] | None, int]:
    """What training asks for, as document tokens [first, last) and its type's number; None, 0: nothing.

    Of several annotations with a long answer the first with a short one counts, else the first.
    """
    positive = [a for a in annotations if a["long_answer"]["candidate_index"] >= 0]
    if not positive:
        return None, 0
    chosen = next((a for a in positive if a["short_answers"]), positive[0])
    if shorts := chosen["short_answers"]:
        first = min(span["start_token"] for span in shorts)
        return (first, max(span["end_token"] for span in shorts)), ANSWER_TYPES.index("short")
    answer_type = chosen["yes_no_answer"].lower()
    long = chosen["long_answer"]
    return (
        (long["start_token"], long["end_token"]),
        ANSWER_TYPES.index(answer_type if answer_type != "none" else "long"),
    )


def check_readable(record: Mapping[str, Any], where: str, labels: bool) -> None:
    """Refuse a checked record in which a model would read nothing and, with `labels`, one whose answer is
    no text that it reads: what `nq_example` finds, without making the document."""
    _, inside = readable(record["document_text"], top_level_parts(record["long_answer_candidates"]))
    if not inside.any():
        raise _empty(where)
    span, _ = label_of(record["annotations"]) if labels else (None, 0)
    if span is not None and not inside[slice(*span)].any():
        raise _no_text(span, where)


def page_of(record: Mapping[str, Any]) -> str:
    """The page that a document is a revision of: its title, or what its address says of it."""
    if title := record.get("document_title"):
        return str(title)
    url = str(record.get("document_url") or record["example_id"])
    found = _TITLE_IN_URL.search(url)
    return found[1] if found else url


def _empty(where: str) -> InputError:
    return InputError(f"{where}: document_text: expected text besides HTML tokens in its candidates")


def _no_text(span: tuple[int, int], where: str) -> InputError:
    return InputError(
        f"{where}: answer tokens [{span[0]}, {span[1]}) are not text of a top-level candidate"
    )


def read_nq(path: Path) -> Iterator[NqExample]:
    """Yield the examples of one file (.jsonl or .jsonl.gz) of the original or the simplified layout."""
    for where, record in read_json_lines(path):
        record = simplified(record, where)
        check_record(record, where)
        yield nq_example(record, where)
