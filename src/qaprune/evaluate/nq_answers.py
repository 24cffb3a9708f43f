"""From decoded spans to Natural Questions answers in document tokens, and annotations as labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qaprune.data.nq import ANSWER_TYPES, NqExample
from qaprune.evaluate.nq_files import NULL_SPAN, Label, Prediction, Span, read_annotation
from qaprune.evaluate.predictions import Predictions

LEAST = -1e30
"""JSON has no minus infinity."""


def annotated(examples: Sequence[NqExample]) -> dict[str, tuple[Label, ...]]:
    """What annotators said of each example, by its id."""
    return {
        example.id: tuple(read_annotation(entry, example.id) for entry in example.annotations)
        for example in examples
    }


def predicted(examples: Sequence[NqExample], spans: Predictions) -> dict[str, Prediction]:
    """The answers to rank, by id; null ones are decided by a threshold on their scores.

    The long answer is the top-level candidate that holds the span. The answer type decides what the short
    one is: the span itself, yes, no, or nothing beside a long answer. Both scores are the span's above
    null.
    """
    found = {}
    for number, example in enumerate(examples):
        # A page without a single word piece has no span: it ranks below all others.
        score = max(float(-spans.null_odds[number]), LEAST)
        label = Label()
        if spans.texts[number]:
            tokens = example.document.token_span(int(spans.start[number]), int(spans.end[number]))
            part = example.document.part_of(*tokens)
            long = NULL_SPAN if part is None else Span(start_token=part[0], end_token=part[1])
            kind = "short" if spans.types is None else ANSWER_TYPES[spans.types[number]]
            short = (Span(start_token=tokens[0], end_token=tokens[1]),) if kind == "short" else ()
            label = Label(long, short, kind if kind in ("yes", "no") else "none")
        found[example.id] = Prediction(example.id, label, score, score)
    return found


def longest_candidates(examples: Sequence[NqExample]) -> dict[str, Prediction]:
    """The question-blind answer: each document's longest part, always, and no short answer.

    Parts are compared by the words that a model reads of them; of equal ones the first counts.
    """
    found = {}
    for example in examples:
        document = example.document
        label = Label()
        if len(document.parts):
            words = np.diff(np.append(document.leads, len(document.starts)))
            first, last = document.parts[int(words.argmax())]
            label = Label(Span(start_token=int(first), end_token=int(last)))
        found[example.id] = Prediction(example.id, label, 1.0, 1.0)
    return found
