"""SQuAD 2.0 in its official JSON layout, and from the hub's rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qaprune.data.examples import Answer, Example, open_text
from qaprune.errors import InputError
from qaprune.jsonfile import expect, field, read_json


def read_squad2(path: Path) -> Iterator[Example]:
    """Yield the questions of an official file (plain or .gz) in its order.

    Raises InputError naming the record for a missing key, a duplicate id, an answer that its context does
    not hold at the stated place, or a file without questions.
    """
    seen: set[str] = set()
    for a, article in enumerate(field(read_json(path), "data", list, str(path))):
        where = f"{path}: data[{a}]"
        # As the hub's rows name it, so that both sources are cut alike; without a title, its place.
        title = article.get("title") if isinstance(article, dict) else None
        name = title if isinstance(title, str) and title else str(a)
        for p, paragraph in enumerate(field(article, "paragraphs", list, where)):
            inside = f"{where}.paragraphs[{p}]"
            context = field(paragraph, "context", str, inside)
            for q, record in enumerate(field(paragraph, "qas", list, inside)):
                example = _example(record, context, f"{a}:{p}", name, f"{inside}.qas[{q}]")
                if example.id in seen:
                    raise InputError(f"{inside}.qas[{q}]: duplicate id '{example.id}'")
                seen.add(example.id)
                yield example
    if not seen:
        raise InputError(f"{path}: empty data set, expected at least one question")


def _example(record: Any, context: str, group: str, article: str, where: str) -> Example:
    identity = field(record, "id", str, where)
    where = f"{where} (id {identity})"
    question = field(record, "question", str, where)
    answers = []
    for answer in field(record, "answers", list, where):
        answers.append(Answer(field(answer, "text", str, where), field(answer, "answer_start", int, where)))
    if "is_impossible" in record and field(record, "is_impossible", bool, where):
        answers = []
    for answer in answers:
        check_answer(answer, context, where)
    return Example(identity, question, context, group, article, tuple(answers))


def check_answer(answer: Answer, context: str, where: str) -> None:
    """The context must hold the answer's text where the answer says it starts."""
    end = answer.start + len(answer.text)
    if answer.start < 0 or not answer.text or context[answer.start : end] != answer.text:
        raise InputError(
            f"{where}: answer {answer.text!r} is not in its context at character {answer.start}"
        )


def squad2_from_rows(rows: Iterable[Mapping[str, Any]], name: str) -> Iterator[Example]:
    """The same from the hub's flat rows (id, title, context, question, answers{text, answer_start})."""
    groups: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows):
        where = f"{name}: row {number}"
        expect(row["id"], str, where)
        paragraph = groups.setdefault((row["title"], row["context"]), f"{row['title']}:{len(groups)}")
        pairs = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        answers = tuple(Answer(text, start) for text, start in pairs)
        for answer in answers:
            check_answer(answer, row["context"], f"{where} (id {row['id']})")
        yield Example(row["id"], row["question"], row["context"], paragraph, row["title"], answers)


def write_squad2_gold(path: Path, examples: Iterable[Example]) -> None:
    """Write examples in the official layout: one article a title, one paragraph a group."""
    articles: dict[str, dict[str, list[Example]]] = {}
    for example in examples:
        articles.setdefault(example.article, {}).setdefault(example.group, []).append(example)
    data = [
        {"title": title, "paragraphs": [_paragraph(group) for group in groups.values()]}
        for title, groups in articles.items()
    ]
    with open_text(path, "w") as out:
        json.dump({"version": "v2.0", "data": data}, out, ensure_ascii=False)


def _paragraph(examples: list[Example]) -> dict[str, Any]:
    qas = [
        {
            "id": example.id,
            "question": example.question,
            "is_impossible": not example.answers,
            "answers": [{"text": answer.text, "answer_start": answer.start} for answer in example.answers],
        }
        for example in examples
    ]
    return {"context": examples[0].context, "qas": qas}
