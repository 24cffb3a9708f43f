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
from qaprune.data.embedded_text import Entity, FactKey, Names
from qaprune.errors import InputError

QUESTIONS_PER_PARAGRAPH = 4
PARAGRAPHS_PER_ARTICLE = 2
UNANSWERABLE = 1 / 3
EVENTS_PER_PARAGRAPH = 3
NQ_PARAGRAPHS = 4
NQ_EVENTS = 3
DEV_ANNOTATORS = 5
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
        nq = list(_nq(random.Random(f"{seed}/nq/{split}"), names, split, questions))
        _write(out / "squad2" / f"{split}.json", json.dumps(squad) + "\n")
        _write(out / "nq" / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in nq))
        counts[f"squad2_{split}"] = sum(1 for _ in _squad_questions(squad))
        counts[f"nq_{split}"] = len(nq)
        if split == "train":
            corpus = [*_squad_text(squad), *_nq_text(nq)]
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
    clauses = _clauses(rng, entity, EVENTS_PER_PARAGRAPH)
    asides = text.asides(rng, entity, names, rng.choice((0, 0, 0, 0, 1)))
    marked = _story(rng, entity, clauses, asides, introduce=True)
    context, spans = text.unmark(text.detokenise(marked))
    qas = []
    for number, (key, name) in enumerate(_ask(rng, entity, spans, questions)):
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


def _clauses(rng: random.Random, entity: Entity, events: int) -> list[str]:
    clauses = [text.event_clause(rng, entity, *fact) for fact in text.choose_facts(rng, entity, events)]
    if rng.random() < 0.3:
        clauses.insert(
            rng.randint(0, len(clauses)), text.count_clause(rng, entity, rng.choice(entity.kind.counts))
        )
    return clauses


def _story(
    rng: random.Random, entity: Entity, clauses: list[str], asides: list[str], introduce: bool
) -> str:
    """A paragraph of clauses and asides, at its head what the entity is if it must be introduced."""
    story = text.paragraph(rng, clauses, asides)
    if not introduce:
        return story
    return f"{text.paragraph(rng, [text.introduction(rng, entity)], [])} {story}"


def _ask(
    rng: random.Random, entity: Entity, stated: dict[FactKey, Any], questions: int
) -> Iterator[tuple[FactKey, str]]:
    """Facts to ask for, and the name to ask about: a third have no answer in this text.

    Those ask for an unstated slot of a stated event, for an event that is not stated at all, or for a
    stated fact of the entity's namesake.
    """
    every = [(event, slot) for event, values in entity.facts.items() for slot in values]
    every += [("count", noun) for noun in entity.counts]
    told = {event for event, _ in stated} - {"count"}
    unstated = [key for key in every if key not in stated]
    near = [key for key in unstated if key[0] in told]
    far = [key for key in unstated if key[0] not in told]
    answerable = rng.sample(sorted(stated), len(stated))
    for _ in range(questions):
        draw = rng.random()
        if draw > UNANSWERABLE and answerable:
            yield answerable.pop(), entity.name
        elif draw < UNANSWERABLE * 0.06:
            yield rng.choice(sorted(stated)), entity.other
        else:
            yield rng.choice(near if near and draw < UNANSWERABLE * 0.35 else far or unstated), entity.name


def _gold(
    rng: random.Random, context: str, start: int, end: int, alternatives: bool
) -> list[dict[str, Any]]:
    """The gold answer; in dev three annotators, who may leave an article, a month or a currency out."""
    spans = [(start, end)]
    if alternatives:
        spans += [rng.choice(((start, end), _shorter(context, start, end))) for _ in range(2)]
    return [{"text": context[a:b], "answer_start": a} for a, b in spans]


def _shorter(context: str, start: int, end: int) -> tuple[int, int]:
    """The same answer without its article, or the sum without its currency, where there is one."""
    value = context[start:end]
    if value.startswith(("the ", "The ")):
        return start + 4, end
    if value.endswith(tuple(f" {currency}" for currency in text.words.CURRENCIES)):
        return start, start + value.index(" ")
    return start, end


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


def _nq(rng: random.Random, names: Names, split: str, questions: int) -> Iterator[dict[str, Any]]:
    """One document about a new entity a question, in the simplified NQ layout."""
    for _ in range(questions):
        yield _nq_example(rng, text.make_entity(rng, names), names, DEV_ANNOTATORS if split == "dev" else 1)


def _nq_example(rng: random.Random, entity: Entity, names: Names, annotators: int) -> dict[str, Any]:
    clauses = _clauses(rng, entity, NQ_EVENTS)
    cuts = [round(number * len(clauses) / NQ_PARAGRAPHS) for number in range(NQ_PARAGRAPHS + 1)]
    tokens = ["<H1>", *entity.title.split(), "</H1>"]
    spans: dict[FactKey, tuple[int, int]] = {}
    candidates: list[dict[str, Any]] = []
    asides = text.asides(rng, entity, names, NQ_PARAGRAPHS)
    for number in range(NQ_PARAGRAPHS):
        part = clauses[cuts[number] : cuts[number + 1]]
        marked = _story(rng, entity, part, asides[number : number + 1], introduce=number == 0)
        plain, found = text.unmark(marked)
        start = len(tokens)
        for key, (first, last) in found.items():
            before = start + 1 + len(plain[:first].split())
            spans[key] = (before, before + len(plain[first:last].split()))
        tokens += ["<P>", *plain.split(), "</P>"]
        candidates.append({"start_token": start, "end_token": len(tokens), "top_level": True})
    ((key, name),) = _ask(rng, entity, spans, 1)
    span = spans[key] if key in spans and name == entity.name else None
    return {
        "example_id": rng.getrandbits(62),
        "question_text": text.question(rng, key, name).lower(),
        "document_title": entity.title,
        "document_url": f"https://example.org/wiki/{entity.title.replace(' ', '_')}",
        "document_text": " ".join(tokens),
        "long_answer_candidates": candidates,
        "annotations": [_annotation(rng, tokens, candidates, span) for _ in range(annotators)],
    }


def _annotation(
    rng: random.Random, tokens: list[str], candidates: list[dict[str, Any]], span: tuple[int, int] | None
) -> dict[str, Any]:
    """One annotator's gold: the paragraph around the span and the span, or null."""
    long = {"candidate_index": -1, "start_token": -1, "end_token": -1}
    short = []
    if span:
        (index,) = (i for i, c in enumerate(candidates) if c["start_token"] <= span[0] < c["end_token"])
        chosen = candidates[index]
        long = {
            "candidate_index": index,
            "start_token": chosen["start_token"],
            "end_token": chosen["end_token"],
        }
        short = [{"start_token": span[0], "end_token": span[1]}]
    return {
        "annotation_id": rng.getrandbits(62),
        "yes_no_answer": "NONE",
        "long_answer": long,
        "short_answers": short,
    }


def _nq_text(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield " ".join(token for token in row["document_text"].split() if not token.startswith("<"))
        yield row["question_text"]
