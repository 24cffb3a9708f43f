"""Natural Questions in the simplified layout: a document's text with its HTML tokens, one JSON a line.

The thin path: an example's context is the document without HTML tokens, its answer the hull of the first
annotation's short spans, or none.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from qaprune.data.examples import Answer, Example, open_text
from qaprune.errors import InputError
from qaprune.jsonfile import field, read_json_lines

_HTML = re.compile(r"</?[A-Z][^\s<>]*>")


@dataclass(frozen=True, slots=True)
class Document:
    """The text that a model reads, and the way back: word w starts at character `starts[w]` of `context`
    and is token `tokens[w]` of the document."""

    context: str
    starts: tuple[int, ...]
    tokens: tuple[int, ...]

    def token_span(self, start: int, end: int) -> tuple[int, int]:
        """Document tokens [first, last) of the words that characters [start, end) touch."""
        first = bisect_right(self.starts, start) - 1
        last = bisect_right(self.starts, max(start, end - 1)) - 1
        return self.tokens[max(0, first)], self.tokens[max(0, last)] + 1


def document_context(document_text: str) -> Document:
    """Drop the HTML tokens of a simplified document and join the rest by single spaces."""
    words, tokens = [], []
    for number, token in enumerate(document_text.split(" ")):
        if token and not _HTML.fullmatch(token):
            words.append(token)
            tokens.append(number)
    starts = accumulate((len(word) + 1 for word in words[:-1]), initial=0) if words else ()
    return Document(" ".join(words), tuple(starts), tuple(tokens))


def read_nq_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`file:line`, record) of a simplified file, its keys checked."""
    found = False
    for where, record in read_json_lines(path):
        for key, kind in (("question_text", str), ("document_text", str)):
            field(record, key, kind, where)
        for key in ("long_answer_candidates", "annotations"):
            field(record, key, list, where)
        if "example_id" not in record:
            raise InputError(f"{where}: missing key 'example_id'")
        found = True
        yield where, record
    if not found:
        raise InputError(f"{path}: empty data set, expected at least one example")


def nq_example(record: Mapping[str, Any], where: str) -> Example:
    """One record as an Example; its group and its article are the document, by its title."""
    document = document_context(record["document_text"])
    identity = str(record["example_id"])
    if not document.context:
        raise InputError(f"{where}: document_text: expected text besides HTML tokens")
    answers = ()
    if record["annotations"]:
        spans = field(record["annotations"][0], "short_answers", list, f"{where}: annotations[0]")
        if spans:
            answers = (_hull(spans, document, record["document_text"], where),)
    title = str(record.get("document_title") or record.get("document_url") or identity)
    return Example(identity, record["question_text"], document.context, title, title, answers)


def _hull(spans: list[Any], document: Document, text: str, where: str) -> Answer:
    """From the first token of the first short span to the last of the last, as characters."""
    first = min(field(span, "start_token", int, where) for span in spans)
    last = max(field(span, "end_token", int, where) for span in spans)
    inside = [word for word, token in enumerate(document.tokens) if first <= token < last]
    if first < 0 or last > text.count(" ") + 1 or not inside:
        raise InputError(f"{where}: short answer tokens [{first}, {last}) are not text of the document")
    start = document.starts[inside[0]]
    final = document.starts[inside[-1]]
    end = document.context.find(" ", final)
    return Answer(document.context[start : end if end >= 0 else None], start)


def read_nq(path: Path) -> Iterator[Example]:
    """Yield the examples of a simplified file (.jsonl or .jsonl.gz)."""
    for where, record in read_nq_records(path):
        yield nq_example(record, where)


def simplify_hub_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the hub data set (columns of parallel lists) as a simplified record."""
    document, labels = row["document"], row["annotations"]
    candidates = row["long_answer_candidates"]
    columns = ("start_token", "end_token", "top_level")
    return {
        "example_id": row["id"],
        "question_text": row["question"]["text"],
        "document_title": document["title"],
        "document_url": document["url"],
        "document_text": " ".join(token.replace(" ", "_") for token in document["tokens"]["token"]),
        "long_answer_candidates": [
            dict(zip(columns, values, strict=True))
            for values in zip(*(candidates[column] for column in columns), strict=True)
        ],
        "annotations": [
            {
                "annotation_id": labels["id"][i],
                "yes_no_answer": {0: "NO", 1: "YES"}.get(labels["yes_no_answer"][i], "NONE"),
                "long_answer": {
                    key: labels["long_answer"][i][key]
                    for key in ("start_token", "end_token", "candidate_index")
                },
                "short_answers": [
                    {"start_token": start, "end_token": end}
                    for start, end in zip(
                        labels["short_answers"][i]["start_token"],
                        labels["short_answers"][i]["end_token"],
                        strict=True,
                    )
                ],
            }
            for i in range(len(labels["id"]))
        ],
    }


def write_nq_gold(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records as simplified JSON lines."""
    with open_text(path, "w") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
