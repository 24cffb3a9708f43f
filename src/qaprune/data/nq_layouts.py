"""The layouts that Natural Questions comes in, all brought to the simplified one, and what must hold of it.

Simplified: `document_text` is the document's tokens, HTML tokens among them, joined by single spaces.
Original: `document_tokens` with byte offsets into `document_html`. Hub: columns of parallel lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from operator import lt
from typing import Any

from qaprune.errors import InputError
from qaprune.jsonfile import expect, field

NO_ANSWER_INDEX = -1
"""What an annotation without a long answer has as its candidate, its first and its last token."""
YES_NO = ("NONE", "YES", "NO")


def simplified(record: dict[str, Any], where: str) -> dict[str, Any]:
    """A record of the original or the simplified layout in the simplified one."""
    if "document_text" in record:
        return record
    tokens = field(record, "document_tokens", list, where) if "document_tokens" in record else None
    if tokens is None:
        raise InputError(
            f"{where}: missing key 'document_text' (simplified layout) or 'document_tokens' (original)"
        )
    texts = [field(token, "token", str, f"{where}: document_tokens[{i}]") for i, token in enumerate(tokens)]
    kept = {key: value for key, value in record.items() if key not in ("document_tokens", "document_html")}
    # A blank inside a token would be taken for its end.
    return kept | {"document_text": " ".join(text.replace(" ", "_") for text in texts)}


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


def check_record(record: dict[str, Any], where: str) -> None:
    """Raise InputError for what a simplified record must not be; `where` names its file and line."""
    if "example_id" not in record:
        raise InputError(f"{where}: missing key 'example_id'")
    identity = record["example_id"]
    if not isinstance(identity, str):
        expect(identity, int, f"{where}: 'example_id'")
    where = f"{where} (example_id {identity})"
    if not field(record, "question_text", str, where).strip():
        raise InputError(f"{where}: 'question_text': expected text, found none")
    tokens = field(record, "document_text", str, where).count(" ") + 1
    candidates = field(record, "long_answer_candidates", list, where)
    if not _plain(candidates, tokens):
        for i, candidate in enumerate(candidates):
            _token_range(candidate, tokens, where, f"long_answer_candidates[{i}]")
            if type(candidate.get("top_level", True)) is not bool:
                raise InputError(
                    f"{where}: long_answer_candidates[{i}]: 'top_level': expected true or false"
                )
    parts = top_level_parts(candidates)
    for (_, before), (after, last) in pairwise(parts):
        if after < before:
            raise InputError(
                f"{where}: long_answer_candidates: the top-level one at [{after}, {last}) overlaps another"
            )
    for i, annotation in enumerate(field(record, "annotations", list, where)):
        _check_annotation(annotation, candidates, tokens, where, f"annotations[{i}]")


def _check_annotation(annotation: Any, candidates: list[Any], tokens: int, where: str, name: str) -> None:
    inside = f"{where}: {name}"
    yes_no = field(annotation, "yes_no_answer", str, inside)
    if yes_no not in YES_NO:
        raise InputError(f"{inside}: 'yes_no_answer': expected NONE, YES or NO, found {yes_no!r}")
    long = field(annotation, "long_answer", dict, inside)
    shorts = field(annotation, "short_answers", list, inside)
    index = field(long, "candidate_index", int, f"{inside}: long_answer")
    if not NO_ANSWER_INDEX <= index < len(candidates):
        raise InputError(
            f"{inside}: long_answer: 'candidate_index' {index}: expected -1 to {len(candidates) - 1}"
        )
    if index == NO_ANSWER_INDEX:
        span = tuple(
            field(long, key, int, f"{inside}: long_answer") for key in ("start_token", "end_token")
        )
        if span != (NO_ANSWER_INDEX, NO_ANSWER_INDEX):
            raise InputError(
                f"{inside}: long_answer: tokens [{span[0]}, {span[1]}) with 'candidate_index' -1: "
                "it points at no candidate"
            )
        if shorts or yes_no != "NONE":
            raise InputError(
                f"{inside}: has a short or yes/no answer, but its long answer points at no candidate"
            )
    else:
        span = _token_range(long, tokens, where, f"{name}: long_answer")
        candidate = candidates[index]
        if span != (candidate["start_token"], candidate["end_token"]):
            raise InputError(
                f"{inside}: long_answer: tokens [{span[0]}, {span[1]}) are not those of candidate {index}"
            )
    for i, short in enumerate(shorts):
        _token_range(short, tokens, where, f"{name}: short_answers[{i}]")


def top_level_parts(candidates: list[Any]) -> list[tuple[int, int]]:
    """First and last token of the candidates that lie in no other, in the document's order."""
    return sorted((c["start_token"], c["end_token"]) for c in candidates if c.get("top_level", True))


def _check_bytes(span: dict[str, Any], inside: str) -> None:
    """Byte offsets, where there are any, are a span too."""
    first, last = (
        expect(span.get(key, -1), int, f"{inside}: '{key}'") for key in ("start_byte", "end_byte")
    )
    if (first, last) != (-1, -1) and not 0 <= first < last:
        raise InputError(f"{inside}: bytes [{first}, {last}) are not a span")


def _plain(candidates: list[Any], tokens: int) -> bool:
    """Whether all candidates are good token ranges and have nothing else to check.

    They are hundreds a record: this says it of all at once, what fails it is looked at one by one.
    """
    try:
        firsts = [candidate["start_token"] for candidate in candidates]
        lasts = [candidate["end_token"] for candidate in candidates]
        top_levels = [candidate.get("top_level", True) for candidate in candidates]
    except (KeyError, TypeError):
        return False
    return (
        {*map(type, firsts), *map(type, lasts)} <= {int}
        and {*map(type, top_levels)} <= {bool}
        and all(map(lt, firsts, lasts))
        and min(firsts, default=0) >= 0
        and max(lasts, default=0) <= tokens
        and not any("start_byte" in candidate or "end_byte" in candidate for candidate in candidates)
    )


def _token_range(span: Any, tokens: int, where: str, name: str) -> tuple[int, int]:
    """First and last token of a span, checked to lie inside a document of that many tokens."""
    inside = f"{where}: {name}"
    first, last = (field(span, key, int, inside) for key in ("start_token", "end_token"))
    if not 0 <= first < last <= tokens:
        raise InputError(f"{inside}: tokens [{first}, {last}) are not a span of the document's {tokens}")
    _check_bytes(span, inside)
    return first, last
