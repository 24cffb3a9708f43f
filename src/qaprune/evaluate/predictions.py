"""From a model's logits to one answer span a question, in characters of its context."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qaprune.data.examples import Example, open_text
from qaprune.data.features import Features, FlatLogits
from qaprune.data.nq import ANSWER_TYPES
from qaprune.evaluate.decode import decode_documents, decode_windows


@dataclass(frozen=True)
class Predictions:
    """Best non-null span of each question: characters [start, end) of its context, its text, and scores.

    The answer is null where `null_odds` (null score minus span score) is above the threshold.
    """

    ids: list[str]
    start: np.ndarray
    end: np.ndarray
    texts: list[str]
    score: np.ndarray
    null_score: np.ndarray
    types: np.ndarray | None = None
    """Of Natural Questions: the answer type of each, a number in `nq.ANSWER_TYPES` above null."""

    @property
    def null_odds(self) -> np.ndarray:
        return self.null_score - self.score

    def answers(self, threshold: float) -> dict[str, str]:
        """Answer texts by question id, empty where null."""
        nulls = self.null_odds > threshold
        return {
            identity: "" if null else text
            for identity, text, null in zip(self.ids, self.texts, nulls, strict=True)
        }


def predict_spans(
    features: Features, contexts: Sequence[str], logits: FlatLogits, max_answer_tokens: int
) -> Predictions:
    """Decode a model's logits over the features; `contexts` has one text a question."""
    windows = (
        logits.spans[:, 0],
        logits.spans[:, 1],
        features.row_ptr,
        features.context_start,
        features.context_end,
        features.question_index,
        features.questions,
    )
    types = None
    if logits.types is None:
        spans = decode_windows(*windows, max_answer_tokens)
    else:
        spans = decode_documents(*windows, _leads(features), max_answer_tokens)
        types = 1 + logits.types[np.maximum(spans.window, 0), 1:].argmax(1)
    found = spans.window >= 0
    row = features.row_ptr[np.maximum(spans.window, 0)]
    start = np.where(found, features.char_start[row + np.maximum(spans.start_token, 0)], 0)
    end = np.where(found, features.char_end[row + np.maximum(spans.end_token, 0)], 0)
    texts = [context[a:b] for context, a, b in zip(contexts, start, end, strict=True)]
    return Predictions(features.ids, start, end, texts, spans.score, spans.null_score, types)


def _leads(features: Features) -> np.ndarray:
    """Which tokens are structure tokens; bool [T]."""
    low, high = features.meta.get("structure_ids", (1, 0))
    return (features.input_ids >= low) & (features.input_ids <= high)


def save_predictions(path: Path, predictions: Predictions) -> None:
    """One JSON object a line and question."""
    with open_text(path, "w") as out:
        for i, identity in enumerate(predictions.ids):
            row = {
                "id": identity,
                "start": int(predictions.start[i]),
                "end": int(predictions.end[i]),
                "text": predictions.texts[i],
                "score": shown_score(predictions.score[i], 5),
                "null_score": shown_score(predictions.null_score[i], 5),
            }
            if predictions.types is not None:
                row["type"] = ANSWER_TYPES[predictions.types[i]]
            out.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def shown_score(score: float, decimals: int) -> float | None:
    """A score for a JSON file; None for the infinite one of a context without a word piece."""
    return round(float(score), decimals) if np.isfinite(score) else None


def contexts_of(examples: Sequence[Example]) -> list[str]:
    return [example.context for example in examples]
