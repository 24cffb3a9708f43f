"""Passages and questions about one invented entity, with the place of every fact marked.

A fact is a slot (agent, time, place, sum) of an event, or a count. Text is built from space-separated
tokens, as Natural Questions has it; `detokenise` makes running text of it. Marks in the text say where a
fact's value stands, so that every layout finds its spans without searching.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import NamedTuple

from qaprune.data import embedded_words as words
from qaprune.data.embedded_words import EVENTS, Kind
from qaprune.errors import InputError

OPEN, MIDDLE, CLOSE = "\ue000", "\ue001", "\ue002"
MARK = re.compile(f"{OPEN}([^{MIDDLE}]*){MIDDLE}([^{CLOSE}]*){CLOSE}")

FactKey = tuple[str, str]
"""(event, slot), slot being agent, time, place or price; or ("count", noun)."""


def name_words(rng: random.Random, count: int) -> list[str]:
    """That many different invented name words of two closed syllables, capitalised."""
    found: dict[str, None] = {}
    while len(found) < count:
        first = rng.choice(words.ONSETS) + rng.choice(words.VOWELS)
        second = rng.choice(words.MIDDLES) + rng.choice(words.VOWELS) + rng.choice(words.CODAS)
        found[(first + second).capitalize()] = None
    return list(found)


class Names:
    """Draws from a supply of name words; entities are never given the same title twice."""

    def __init__(self, rng: random.Random, supply: list[str]) -> None:
        self.rng = rng
        self.supply = supply
        self.taken: set[str] = set()

    def word(self) -> str:
        """A name word: of a place, a family, a guild."""
        return self.rng.choice(self.supply)

    def person(self) -> str:
        """First name and surname."""
        return f"{self.word()} {self.word()}"

    def entity(self, pattern: str) -> str:
        """A name after the pattern of a kind that no entity has had before."""
        for _ in range(1000):
            name = pattern.format(*(self.word() for _ in range(pattern.count("{}"))))
            if name not in self.taken:
                self.taken.add(name)
                return name
        raise InputError(f"embedded corpus: expected fewer questions, {len(self.supply)} names are used up")


@dataclass
class Entity:
    """An invented thing or person, what is true of it, and names that only its distractors use."""

    kind: Kind
    name: str
    title: str
    forms: tuple[str, str, str]
    facts: dict[str, dict[str, str]]
    counts: dict[str, str]
    other: str


class Spans(NamedTuple):
    """Plain text and, for every marked fact, the character offsets (start, end) of its value."""

    text: str
    spans: dict[FactKey, tuple[int, int]]


def mark(event: str, slot: str, value: str) -> str:
    """The value with a mark that says which fact it states."""
    return f"{OPEN}{event}/{slot}{MIDDLE}{value}{CLOSE}"


def unmark(text: str) -> Spans:
    """Take the marks out of a text; return it with the spans that they held."""
    plain, spans, last, length = [], {}, 0, 0
    for match in MARK.finditer(text):
        plain.append(text[last : match.start()])
        length += match.start() - last
        event, _, slot = match[1].partition("/")
        spans[event, slot] = (length, length + len(match[2]))
        plain.append(match[2])
        length += len(match[2])
        last = match.end()
    plain.append(text[last:])
    return Spans("".join(plain), spans)


def detokenise(text: str) -> str:
    """Close up the spaces before punctuation: tokenised text becomes running text."""
    return re.sub(r" ([.,?;])", r"\1", text)


def make_entity(rng: random.Random, names: Names) -> Entity:
    """Invent an entity of a random kind with a value for every slot of all its events."""
    kind = rng.choice(words.KINDS)
    name, other = names.entity(kind.pattern), names.entity(kind.pattern)
    facts = {event: _values(rng, names, EVENTS[event].priced) for event in kind.events}
    counts = {noun: _number(rng) for noun in kind.counts}
    return Entity(kind, name, name.removeprefix("the "), rng.choice(kind.pronouns), facts, counts, other)


def _values(rng: random.Random, names: Names, priced: bool) -> dict[str, str]:
    group = rng.choice(words.GROUP_NAMES).format(names.word())
    values = {
        "agent": names.person() if rng.random() < 0.7 else group,
        "time": _time(rng),
        "place": names.word(),
    }
    if priced:
        values["price"] = f"{_number(rng)} {rng.choice(words.CURRENCIES)}"
    return values


def _time(rng: random.Random) -> str:
    year = str(rng.randint(1700, 1999))
    return year if rng.random() < 0.6 else f"{rng.choice(words.MONTHS)} {year}"


def _number(rng: random.Random) -> str:
    return f"{rng.choice((rng.randint(12, 99), rng.randint(100, 990), rng.randint(11, 95) * 100)):,}"


def _subject(rng: random.Random, entity: Entity) -> str:
    """How a sentence names the entity: by pronoun mostly, by noun or name at times."""
    return rng.choice(
        (entity.forms[0], entity.forms[0], f"the {rng.choice(entity.kind.nouns)}", entity.name)
    )


def _object(rng: random.Random, entity: Entity) -> str:
    return rng.choice(
        (entity.forms[1], entity.forms[1], f"the {rng.choice(entity.kind.nouns)}", entity.name)
    )


def event_clause(rng: random.Random, entity: Entity, event: str, slots: set[str]) -> str:
    """One clause that states these slots of an event, in one of many shapes, with marks."""
    value = {slot: mark(event, slot, entity.facts[event][slot]) for slot in slots}
    verb = rng.choice(EVENTS[event].verbs)
    adverbials = [f"in {value[slot]}" for slot in ("time", "place") if slot in slots]
    if "price" in slots:
        adverbials.append(rng.choice(("for {}", "at a cost of {}")).format(value["price"]))
    rng.shuffle(adverbials)
    front = f"{adverbials.pop()} , " if adverbials and rng.random() < 0.3 else ""
    tail = " ".join(["", *adverbials])
    subject, thing = _subject(rng, entity), _object(rng, entity)
    happening = _happening(rng, entity, event)
    shape = rng.random()
    if "agent" not in slots:
        if shape < 0.35:
            return f"{front}{happening} took place{tail}"
        return f"{front}{subject} was {verb}{tail}"
    agent = value["agent"]
    if shape < 0.45:
        parts = [f"by {agent}", *adverbials]
        rng.shuffle(parts)
        return f"{front}{subject} was {verb} {' '.join(parts)}"
    if shape < 0.7:
        return f"{front}{agent} {verb} {thing}{tail}"
    if shape < 0.85:
        return f"{front}it was {agent} who {verb} {thing}{tail}"
    return f"{front}{agent} was behind {happening}{tail}"


def _happening(rng: random.Random, entity: Entity, event: str) -> str:
    """The event as a noun phrase: its closure, the closure of the firm."""
    noun = rng.choice(EVENTS[event].nouns)
    owner = rng.choice((f"the {rng.choice(entity.kind.nouns)}", entity.name))
    return rng.choice((f"{entity.forms[2]} {noun}", f"the {noun} of {owner}"))


def count_clause(rng: random.Random, entity: Entity, noun: str) -> str:
    """One clause that states a count."""
    number = mark("count", noun, entity.counts[noun])
    verb = "had" if len(entity.kind.pronouns) > 1 else rng.choice(("has", "had", "counts"))
    return rng.choice(
        (f"{_subject(rng, entity)} {verb} {number} {noun}", f"{entity.forms[2]} {noun} number {number}")
    )


def filler(rng: random.Random, entity: Entity, names: Names) -> str:
    """One clause that answers no question."""
    subject, thing, possessive = entity.forms
    return rng.choice(words.FILLERS).format(
        s=subject, o=thing, poss=possessive, person=names.person(), place=names.word(), time=_time(rng),
        other=entity.other,
    )  # fmt: skip


def introduction(rng: random.Random, entity: Entity) -> str:
    """The clause that says what the entity is."""
    verb = "was" if len(entity.kind.pronouns) > 1 else "is"
    return f"{entity.name} {verb} a {rng.choice(words.ADJECTIVES)} {rng.choice(entity.kind.nouns)}"


def choose_facts(rng: random.Random, entity: Entity, events: int) -> list[tuple[str, set[str]]]:
    """Which slots of which events a text shall state; always fewer slots than there are."""
    chosen = []
    for event in rng.sample(list(entity.facts), events):
        slots = sorted(entity.facts[event])
        chosen.append((event, set(rng.sample(slots, rng.choice((1, 2, 2, 2, 3)[: 2 + len(slots)])))))
    return chosen


def paragraph(
    rng: random.Random, entity: Entity, names: Names, clauses: list[str], fillers: int, introduce: bool
) -> str:
    """Marked, tokenised sentences in random order: clauses, some of them joined, among fillers."""
    clauses = list(clauses)
    sentences = [filler(rng, entity, names) for _ in range(fillers)]
    while clauses:
        clause = clauses.pop()
        if clauses and rng.random() < 0.35:
            clause += rng.choice((" , and ", " , while ", " ; ")) + clauses.pop()
        sentences.append(clause)
    rng.shuffle(sentences)
    if introduce:
        sentences.insert(0, introduction(rng, entity))
    return " ".join(f"{_capital(sentence)} ." for sentence in sentences)


def _capital(sentence: str) -> str:
    """Upper-case the first letter, which may stand inside a mark."""
    match = MARK.match(sentence)
    at = match.start(2) if match else 0
    return sentence[:at] + sentence[at].upper() + sentence[at + 1 :]


def question(rng: random.Random, key: FactKey, name: str, kind: Kind) -> str:
    """One of many questions for a fact of the entity called `name`, tokenised, without a question mark."""
    event, slot = key
    if event == "count":
        return rng.choice((f"how many {slot} did {name} have", f"what was the number of {slot} of {name}"))
    verb, noun = rng.choice(EVENTS[event].verbs), rng.choice(EVENTS[event].nouns)
    shapes = {
        "agent": (
            f"who {verb} {name}",
            f"by whom was {name} {verb}",
            f"which person or group {verb} {name}",
            f"who was responsible for the {noun} of {name}",
        ),
        "time": (
            f"when was {name} {verb}",
            f"in what year was {name} {verb}",
            f"what is the date of the {noun} of {name}",
        ),
        "place": (
            f"where was {name} {verb}",
            f"in which town was {name} {verb}",
            f"what was the site of the {noun} of {name}",
        ),
        "price": (
            f"for how much was {name} {verb}",
            f"what sum was spent when {name} was {verb}",
            f"what did the {noun} of {name} cost",
        ),
    }
    return rng.choice(shapes[slot])
