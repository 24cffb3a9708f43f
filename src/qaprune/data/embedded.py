"""Writes the embedded corpus: SQuAD 2.0 JSON, Natural Questions simplified JSONL, and plain text.

Everything is invented and follows from the seed alone. Train and dev draw their names from two supplies
that share no word, so they share no entity, and with it no passage and no question.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qaprune.data import embedded_text as text
from qaprune.data.embedded_nq import nq_examples, nq_text
from qaprune.data.embedded_text import Entity, Names
from qaprune.errors import InputError

QUESTIONS_PER_PARAGRAPH = 4
PARAGRAPHS_PER_ARTICLE = 2
EVENTS_PER_PARAGRAPH = 3
TRAIN_NAMES, DEV_NAMES = 9_000, 4_500


def write_corpus(out: Path, seed: int, train_questions: int, dev_questions: int) -> dict[str, int]:
    """Write both data sets and `corpus.txt` under `out`; return the number of questions and text lines."""
    for name, count in (("train_questions", train_questions), ("dev_questions", dev_questions)):
        if count < QUESTIONS_PER_PARAGRAPH:
            raise InputError(f"{name}: expected at least {QUESTIONS_PER_PARAGRAPH}, got {count}")
    supply = text.name_words(random.Random(f"{seed}/names"), TRAIN_NAMES + DEV_NAMES)
    supplies = {"train": supply[:TRAIN_NAMES], "dev": supply[TRAIN_NAMES:]}
    counts: dict[str, int] = {}
    corpus: list[str] = []
    for split, questions in (("train", train_questions), ("dev", dev_questions)):
        names = Names(random.Random(f"{seed}/names/{split}"), supplies[split])
        squad = _squad(random.Random(f"{seed}/squad2/{split}"), names, split, questions)
        nq = list(nq_examples(random.Random(f"{seed}/nq/{split}"), names, split, questions))
        _write(out / "squad2" / f"{split}.json", json.dumps(squad) + "\n")
        _write(out / "nq" / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in nq))
        counts[f"squad2_{split}"] = sum(1 for _ in _squad_questions(squad))
        counts[f"nq_{split}"] = len(nq)
        if split == "train":
            corpus = [*_squad_text(squad), *nq_text(nq)]
    _write(out / "corpus.txt", "".join(line + "\n" for line in corpus))
    return counts | {"corpus_lines": len(corpus)}


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def _squad(rng: random.Random, names: Names, split: str, questions: int) -> dict[str, Any]:
    """Articles of two paragraphs about one entity, in the SQuAD 2.0 layout."""
    data, left = [], questions
    while left > 0:
        entity = text.make_entity(rng, names)
        paragraphs = []
        for number in range(PARAGRAPHS_PER_ARTICLE):
            if left <= 0:
                break
            qas_id = f"{split}-{len(data)}-{number}"
            paragraphs.append(
                _squad_paragraph(rng, entity, names, qas_id, min(left, QUESTIONS_PER_PARAGRAPH))
            )
            left -= QUESTIONS_PER_PARAGRAPH
        data.append({"title": entity.title.replace(" ", "_"), "paragraphs": paragraphs})
    return {"version": "v2.0", "data": data}


def _squad_paragraph(
    rng: random.Random, entity: Entity, names: Names, prefix: str, questions: int
) -> dict[str, Any]:
    """A paragraph of three events and at times a count, with its questions."""
    clauses = text.clauses_of(rng, entity, EVENTS_PER_PARAGRAPH)
    asides = text.asides(rng, entity, names, rng.choice((0, 0, 0, 0, 1)))
    marked = text.story(rng, entity, clauses, asides, introduce=True)
    context, spans = text.unmark(text.detokenise(marked))
    qas = []
    for number, (key, name) in enumerate(text.ask(rng, entity, spans, questions)):
        wording = text.question(rng, key, name) + "?"
        answers = []
        if key in spans and name == entity.name:
            answers = _gold(rng, context, *spans[key], alternatives=prefix.startswith("dev"))
        qas.append(
            {
                "id": f"{prefix}-{number}",
                "question": wording[0].upper() + wording[1:],
                "is_impossible": not answers,
                "answers": answers,
            }
        )
    return {"context": context, "qas": qas}


def _gold(
    rng: random.Random, context: str, start: int, end: int, alternatives: bool
) -> list[dict[str, Any]]:
    """The gold answer; in dev three annotators, who may leave an article, a month or a currency out."""
    spans = [(start, end)]
    if alternatives:
        spans += [rng.choice(((start, end), text.shorter(context, start, end))) for _ in range(2)]
    return [{"text": context[a:b], "answer_start": a} for a, b in spans]


def _squad_questions(squad: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for article in squad["data"]:
        for paragraph in article["paragraphs"]:
            yield from paragraph["qas"]


def _squad_text(squad: dict[str, Any]) -> Iterator[str]:
    for article in squad["data"]:
        for paragraph in article["paragraphs"]:
            yield paragraph["context"]
    for qa in _squad_questions(squad):
        yield qa["question"]
