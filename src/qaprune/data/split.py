"""Which questions are held out of train, and which make up a sample: by orders that no run changes."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, TypeVar

from qaprune.errors import InputError

Question = TypeVar("Question", bound=Any)
"""Something with an `id`, an `article` and, where it matters, `answers`."""


def _rank(text: str) -> bytes:
    """A fixed pseudo-random order that does not depend on the file's order or on a seed."""
    return sha256(text.encode()).digest()


def split_holdout(
    examples: list[Question], share: float, mixed: bool = False
) -> tuple[list[Question], list[Question]]:
    """Cut off whole articles until at least `share` of the questions is held out.

    The same slice for every run of a data set: thresholds and choices read it, training never does. With
    `mixed` only articles with answerable and unanswerable questions are held out, where there are any:
    SQuAD 2.0's dev and test consist of such articles, a third of train's has no unanswerable question
    (Rajpurkar, Jia and Liang 2018, section 4), and a threshold chosen on those would answer everything.
    """
    by_article: dict[str, list[bool]] = {}
    for example in examples:
        by_article.setdefault(example.article, []).append(mixed and bool(example.answers))
    if len(by_article) < 2:
        raise InputError(
            "train: expected at least two articles (titles), to cut a hold-out slice from them"
        )
    order = sorted(by_article, key=_rank)
    if mixed:
        order = [article for article in order if len(set(by_article[article])) == 2] or order
    held: set[str] = set()
    count = 0
    for article in order if len(order) < len(by_article) else order[:-1]:
        if count >= share * len(examples):
            break
        held.add(article)
        count += len(by_article[article])
    train = [example for example in examples if example.article not in held]
    return train, [example for example in examples if example.article in held]


def sample_questions(examples: list[Question], count: int | None) -> list[Question]:
    """At most `count` questions by the fixed order, returned in the order of the file."""
    if count is None or count >= len(examples):
        return examples
    chosen = set(sorted((example.id for example in examples), key=_rank)[:count])
    return [example for example in examples if example.id in chosen]
