"""Passages and questions about one invented entity, with the place of every fact marked.

A fact is a slot (agent, time, place, sum) of an event, or a count. Text is built from space-separated
tokens, as Natural Questions has it; `detokenise` makes running text of it. Marks in the text say where a
fact's value stands, so that every layout finds its spans without searching.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from qaprune.data import embedded_words as words
from qaprune.data.embedded_words import EVENTS, Kind
from qaprune.errors import InputError

OPEN, MIDDLE, CLOSE = "\ue000", "\ue001", "\ue002"
MARK = re.compile(f"{OPEN}([^{MIDDLE}]*){MIDDLE}([^{CLOSE}]*){CLOSE}")

PREPOSITIONS = {"time": ("in",), "place": ("at", "near"), "price": ("for",)}
SLOTS_TOLD = (1, 2, 2)
UNANSWERABLE = 1 / 3
JOINED = 0.3

QUESTIONS = {
    "agent": (
        "who {verb} {name}",
        "by whom was {name} {verb}",
        "who led the {noun} of {name}",
        "which party led the {noun} of {name}",
    ),
    "time": (
        "when was {name} {verb}",
        "in what year was {name} {verb}",
        "when was the {noun} of {name}",
        "what year saw the {noun} of {name}",
    ),
    "place": (
        "where was {name} {verb}",
        "where was the {noun} of {name}",
        "which town saw the {noun} of {name}",
    ),
    "price": (
        "for how much was {name} {verb}",
        "what did the {noun} of {name} cost",
        "what sum went into the {noun} of {name}",
    ),
}

FactKey = tuple[str, str]
"""(event, slot), slot being agent, time, place or price; or ("count", noun)."""


def name_words(rng: random.Random, count: int) -> list[str]:
    """That many different invented name words of two syllables, capitalised."""
    first = _syllables(rng, words.FIRST_ONSETS, words.FIRST_CODAS)
    second = _syllables(rng, words.SECOND_ONSETS, words.SECOND_CODAS)
    return [(a + b).capitalize() for a, b in rng.sample([(a, b) for a in first for b in second], count)]


def _syllables(rng: random.Random, onsets: tuple[str, ...], codas: tuple[str, ...]) -> list[str]:
    every = [onset + vowel + coda for onset in onsets for vowel in words.VOWELS for coda in codas]
    return rng.sample(every, words.SYLLABLES)


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
        """A title and a surname."""
        return f"{self.rng.choice(words.TITLES)} {self.word()}"

    def place(self) -> str:
        """A town, named after the land around it."""
        return self.rng.choice(words.PLACE_NAMES).format(self.word())

    def entity(self, pattern: str) -> str:
        """A name after the pattern of a kind that no entity has had before."""
        for _ in range(1000):
            name = pattern.format(*(self.word() for _ in range(pattern.count("{}"))))
            if name not in self.taken:
                self.taken.add(name)
                return name
        raise InputError(f"embedded corpus: expected fewer questions, {len(self.supply)} names are used up")


class Entity(NamedTuple):
    """An invented thing, what is true of it, and its namesake, which only distractors mention."""

    kind: Kind
    name: str
    title: str
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
    """Invent an entity of a random kind with a value for every slot of every event."""
    kind = rng.choice(words.KINDS)
    name, other = names.entity(kind.pattern), names.entity(kind.pattern)
    facts = {key: _values(rng, names, event.priced) for key, event in EVENTS.items()}
    counts = {noun: _number(rng) for noun in kind.counts}
    return Entity(kind, name, name.removeprefix("the "), facts, counts, other)


def _values(rng: random.Random, names: Names, priced: bool) -> dict[str, str]:
    group = rng.choice(words.GROUP_NAMES).format(names.word())
    values = {
        "agent": names.person() if rng.random() < 0.7 else group,
        "time": _time(rng),
        "place": names.place(),
    }
    if priced:
        values["price"] = f"{_number(rng)} {rng.choice(words.CURRENCIES)}"
    return values


def _time(rng: random.Random) -> str:
    year = str(rng.randint(1700, 1999))
    return year if rng.random() < 0.6 else f"{rng.choice(words.MONTHS)} {year}"


def _number(rng: random.Random) -> str:
    return str(rng.choice((rng.randint(12, 99), rng.randint(11, 95) * 10)))


def _subject(rng: random.Random, entity: Entity) -> str:
    """How a clause names the entity: by pronoun, by noun, or by name."""
    return rng.choice(("it", "it", "it", "it", "it", f"the {rng.choice(entity.kind.nouns)}", entity.name))


def event_clause(rng: random.Random, entity: Entity, event: str, slots: set[str]) -> str:
    """One clause, active or passive, that states these slots of an event, with marks."""
    value = {slot: mark(event, slot, entity.facts[event][slot]) for slot in sorted(slots)}
    verb, noun = rng.choice(EVENTS[event].verbs), rng.choice(EVENTS[event].nouns)
    agent = value.pop("agent", None)
    adverbials = [f"{rng.choice(PREPOSITIONS[slot])} {text}" for slot, text in value.items()]
    rng.shuffle(adverbials)
    active = rng.random() < 0.35
    nominal = rng.random() < 0.15
    if agent and active:
        start = f"{agent} led its {noun}" if nominal else f"{agent} {verb} {_subject(rng, entity)}"
        return " ".join([start, *adverbials])
    if agent:
        adverbials.insert(rng.randint(0, len(adverbials)), f"by {agent}")
    start = f"its {noun} was" if nominal else f"{_subject(rng, entity)} was {verb}"
    return " ".join([start, *adverbials])


def count_clause(rng: random.Random, entity: Entity, noun: str) -> str:
    """One clause that states a count."""
    number = mark("count", noun, entity.counts[noun])
    return rng.choice((f"{_subject(rng, entity)} has {number} {noun}", f"there are {number} {noun}"))


def asides(rng: random.Random, entity: Entity, names: Names, count: int) -> list[str]:
    """That many different clauses that answer no question."""
    return [
        clause.format(person=names.person(), place=names.place(), other=entity.other)
        for clause in rng.sample(words.FILLERS, count)
    ]


def introduction(rng: random.Random, entity: Entity) -> str:
    """The clause that says what the entity is."""
    return f"{entity.name} is a {rng.choice(words.ADJECTIVES)} {rng.choice(entity.kind.nouns)}"


def choose_facts(
    rng: random.Random, entity: Entity, events: int, among: Collection[str] = EVENTS
) -> list[tuple[str, set[str]]]:
    """Which slots of which events a text shall state, in the order of events: mostly one or two slots."""
    told = set(rng.sample(list(among), events))
    return [
        (event, set(rng.sample(sorted(entity.facts[event]), rng.choice(SLOTS_TOLD))))
        for event in EVENTS
        if event in told
    ]


def paragraph(rng: random.Random, clauses: list[str], asides: list[str]) -> str:
    """Marked, tokenised sentences: the clauses in their order, some of them joined, asides anywhere."""
    sentences = []
    for clause in clauses:
        if sentences and rng.random() < JOINED:
            sentences[-1] += f" {rng.choice((', and', ', while', ';'))} {clause}"
        else:
            sentences.append(clause)
    for aside in asides:
        sentences.insert(rng.randint(0, len(sentences)), aside)
    return " ".join(f"{_capital(sentence)} ." for sentence in sentences)


def _capital(sentence: str) -> str:
    """Upper-case the first letter, which may stand inside a mark."""
    match = MARK.match(sentence)
    at = match.start(2) if match else 0
    return sentence[:at] + sentence[at].upper() + sentence[at + 1 :]


def question(rng: random.Random, key: FactKey, name: str) -> str:
    """One of several questions for a fact of the entity `name`, tokenised, without a question mark."""
    event, slot = key
    if event == "count":
        return rng.choice((f"how many {slot} did {name} have", f"what number of {slot} did {name} have"))
    verb, noun = rng.choice(EVENTS[event].verbs), rng.choice(EVENTS[event].nouns)
    return rng.choice(QUESTIONS[slot]).format(verb=verb, noun=noun, name=name)


def clauses_of(
    rng: random.Random, entity: Entity, events: int, told: Collection[str] = EVENTS
) -> list[str]:
    """Clauses about that many events among `told`, at times with a count among them."""
    clauses = [event_clause(rng, entity, *fact) for fact in choose_facts(rng, entity, events, told)]
    if rng.random() < 0.3:
        clauses.insert(
            rng.randint(0, len(clauses)), count_clause(rng, entity, rng.choice(entity.kind.counts))
        )
    return clauses


def story(
    rng: random.Random, entity: Entity, clauses: list[str], fillers: list[str], introduce: bool
) -> str:
    """A paragraph of clauses and asides, at its head what the entity is if it must be introduced."""
    told = paragraph(rng, clauses, fillers)
    if not introduce:
        return told
    return f"{paragraph(rng, [introduction(rng, entity)], [])} {told}"


def ask(
    rng: random.Random, entity: Entity, stated: Collection[FactKey], questions: int
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


def shorter(context: str, start: int, end: int) -> tuple[int, int]:
    """The same answer without its article, or the sum without its currency, where there is one."""
    value = context[start:end]
    if value.startswith(("the ", "The ")):
        return start + 4, end
    if value.endswith(tuple(f" {currency}" for currency in words.CURRENCIES)):
        return start, start + value.index(" ")
    return start, end
