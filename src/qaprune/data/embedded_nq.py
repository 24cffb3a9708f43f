"""The Natural Questions half of the embedded corpus: pages of paragraphs, a table and a list.

Every kind of question of the real set is among them: short answers in text, in a table or in a list, at
times several; yes or no; a long answer alone; and none. Five annotators of dev do not always agree.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from qaprune.data import embedded_text as text
from qaprune.data.embedded_text import Entity, FactKey, Names
from qaprune.data.embedded_words import EVENTS, ROLES

PARAGRAPHS = 4
EVENTS_TOLD = 3
DEV_ANNOTATORS = 5
LISTS = 0.5
"""Share of pages with a list of people."""
LISTED = (1, 1, 1, 2, 3)
ASKED = {"people": 0.1, "yes or no": 0.03, "long alone": 0.06}
"""Shares of the questions; the others ask for a fact, a third of those for one that is not stated."""
DIFFER = {"null": 0.06, "long alone": 0.06, "shorter": 0.2, "long where none is": 0.06}
"""How often one of dev's annotators says something else than the page was made to say."""
HEADERS = {"agent": "{noun} by", "time": "{noun} in", "place": "{noun} at", "price": "{noun} for"}
NO_ANSWER = {"candidate_index": -1, "start_token": -1, "end_token": -1}

Tokens = tuple[int, int]
"""First and last token (exclusive) of a page."""


class Gold(NamedTuple):
    """What a page answers: which candidate holds it (-1: nothing does), and the short answers in it."""

    candidate: int = -1
    shorts: tuple[Tokens, ...] = ()
    yes_no: str = "NONE"


class Page:
    """A page in the making. `facts`: the candidate and the tokens that state each fact; `people`: those of
    the list's entries."""

    def __init__(self, entity: Entity) -> None:
        self.tokens = ["<H1>", *entity.title.split(), "</H1>"]
        self.candidates: list[dict[str, Any]] = []
        self.facts: dict[FactKey, tuple[int, Tokens]] = {}
        self.people: tuple[int, list[Tokens]] = (-1, [])

    def paragraph(self, marked: str) -> None:
        """Add a paragraph of marked text."""
        self._part([("P", True, [marked])])

    def table(self, rows: list[tuple[str, str]]) -> None:
        """Add a table with a header and a marked value in each row."""
        cells = [("Tr", False, [f"<Th> {header} </Th>", "<Td>", value, "</Td>"]) for header, value in rows]
        self._part([("Table", True, []), *cells])

    def people_list(self, role: str, people: list[str]) -> None:
        """Add a list of people, each after what they were."""
        number = len(self.candidates)
        places = self._part([("Ul", True, []), *(("Li", False, [role, ":", name]) for name in people)])
        self.people = (number, [spans[-1] for spans in places[1:]])

    def _part(self, pieces: list[tuple[str, bool, list[str]]]) -> list[list[Tokens]]:
        """Add a candidate (the first piece, top level) and those inside it; the tokens of their texts."""
        outer = len(self.candidates)
        closing: list[tuple[int, str]] = []
        found = []
        for tag, top, texts in pieces:
            if len(closing) > 1:
                self._close(*closing.pop())
            closing.append((len(self.candidates), tag))
            self.candidates.append({"start_token": len(self.tokens), "end_token": -1, "top_level": top})
            self.tokens.append(f"<{tag}>")
            found.append([self._add(marked, outer) for marked in texts])
        while closing:
            self._close(*closing.pop())
        return found

    def _add(self, marked: str, candidate: int) -> Tokens:
        plain, spans = text.unmark(marked)
        start = len(self.tokens)
        for key, (first, last) in spans.items():
            before = start + len(plain[:first].split())
            self.facts[key] = (candidate, (before, before + len(plain[first:last].split())))
        self.tokens += plain.split()
        return start, len(self.tokens)

    def _close(self, candidate: int, tag: str) -> None:
        self.tokens.append(f"</{tag}>")
        self.candidates[candidate]["end_token"] = len(self.tokens)


def nq_examples(rng: random.Random, names: Names, split: str, questions: int) -> Iterator[dict[str, Any]]:
    """One page about a new entity a question, in the simplified layout."""
    for _ in range(questions):
        entity = text.make_entity(rng, names)
        page, role = _page(rng, entity, names)
        question, gold = _question(rng, entity, page, role)
        annotators = DEV_ANNOTATORS if split == "dev" else 1
        said = [_differing(rng, page, gold) if split == "dev" else gold for _ in range(annotators)]
        yield {
            "example_id": rng.getrandbits(62),
            "question_text": question.lower(),
            "document_title": entity.title,
            "document_url": f"https://example.org/wiki/{entity.title.replace(' ', '_')}",
            "document_text": " ".join(page.tokens),
            "long_answer_candidates": page.candidates,
            "annotations": [_annotation(rng, page, label) for label in said],
        }


def _page(rng: random.Random, entity: Entity, names: Names) -> tuple[Page, str]:
    """A table about one event, paragraphs about others, and at times a list of people of some role."""
    page, role = Page(entity), rng.choice(ROLES)
    tabled = rng.choice(list(EVENTS))
    noun = rng.choice(EVENTS[tabled].nouns)
    values = entity.facts[tabled]
    slots = rng.sample(sorted(values), 2)
    page.table([(HEADERS[slot].format(noun=noun), text.mark(tabled, slot, values[slot])) for slot in slots])
    clauses = text.clauses_of(rng, entity, EVENTS_TOLD, [event for event in EVENTS if event != tabled])
    cuts = [round(number * len(clauses) / PARAGRAPHS) for number in range(PARAGRAPHS + 1)]
    asides = text.asides(rng, entity, names, PARAGRAPHS)
    for number in range(PARAGRAPHS):
        part = clauses[cuts[number] : cuts[number + 1]]
        page.paragraph(text.story(rng, entity, part, asides[number : number + 1], introduce=number == 0))
    if rng.random() < LISTS:
        page.people_list(role, [names.person() for _ in range(rng.choice(LISTED))])
    return page, role


def _question(rng: random.Random, entity: Entity, page: Page, role: str) -> tuple[str, Gold]:
    """A question about the page and what it answers."""
    draw = rng.random()
    agents = [key for key in page.facts if key[1] == "agent"]
    if draw < ASKED["people"]:
        candidate, people = page.people
        words = (f"who were the {role}s of {entity.name}", f"name the {role}s of {entity.name}")
        return rng.choice(words), Gold(candidate, tuple(people))
    draw -= ASKED["people"]
    if draw < ASKED["yes or no"] and agents:
        event, _ = key = rng.choice(agents)
        right = rng.random() < 0.5
        others = [values["agent"] for name, values in entity.facts.items() if name != event]
        person = entity.facts[event]["agent"] if right else rng.choice(others)
        verb = rng.choice(EVENTS[event].verbs)
        gold = Gold(page.facts[key][0], (), "YES" if right else "NO")
        return f"was {entity.name} {verb} by {person}", gold
    draw -= ASKED["yes or no"]
    if draw < ASKED["long alone"]:
        event, slot = rng.choice([key for key in page.facts if key[0] != "count"])
        noun = rng.choice(EVENTS[event].nouns)
        words = (f"tell about the {noun} of {entity.name}", f"what is known of the {noun} of {entity.name}")
        return rng.choice(words), Gold(page.facts[event, slot][0])
    ((key, name),) = text.ask(rng, entity, page.facts, 1)
    question = text.question(rng, key, name)
    if key not in page.facts or name != entity.name:
        return question, Gold()
    candidate, tokens = page.facts[key]
    return question, Gold(candidate, (tokens,))


def _differing(rng: random.Random, page: Page, gold: Gold) -> Gold:
    """What one of several annotators says."""
    draw = rng.random()
    if gold.candidate < 0:
        top = [n for n, candidate in enumerate(page.candidates) if candidate["top_level"]]
        return Gold(rng.choice(top)) if draw < DIFFER["long where none is"] else gold
    if draw < DIFFER["null"]:
        return Gold()
    draw -= DIFFER["null"]
    if draw < DIFFER["long alone"]:
        return Gold(gold.candidate)
    draw -= DIFFER["long alone"]
    if draw < DIFFER["shorter"] and len(gold.shorts) == 1:
        return gold._replace(shorts=(_shorter(page, gold.shorts[0]),))
    return gold


def _shorter(page: Page, span: Tokens) -> Tokens:
    value = " ".join(page.tokens[span[0] : span[1]])
    start, end = text.shorter(value, 0, len(value))
    return span[0] + len(value[:start].split()), span[0] + len(value[:end].split())


def _annotation(rng: random.Random, page: Page, gold: Gold) -> dict[str, Any]:
    long = NO_ANSWER
    if gold.candidate >= 0:
        chosen = page.candidates[gold.candidate]
        long = {
            "candidate_index": gold.candidate,
            "start_token": chosen["start_token"],
            "end_token": chosen["end_token"],
        }
    return {
        "annotation_id": rng.getrandbits(62),
        "yes_no_answer": gold.yes_no,
        "long_answer": long,
        "short_answers": [{"start_token": first, "end_token": last} for first, last in gold.shorts],
    }


def nq_text(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The words of the pages, and the questions."""
    for row in rows:
        yield " ".join(token for token in row["document_text"].split() if not token.startswith("<"))
        yield row["question_text"]
