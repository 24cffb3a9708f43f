"""SQuAD 2.0 scorer, written anew; gives the official `evaluate-v2.0.py`'s numbers on the same predictions.

Definition (Rajpurkar, Jia and Liang 2018, and the script on the data set's page): texts are lower-cased,
ASCII punctuation and the articles a, an, the are dropped; exact match compares what is left, F1 the bags
of words; a question takes its best gold answer. An empty prediction is right on unanswerable questions.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from qaprune.data.examples import Example, open_text
from qaprune.errors import InputError
from qaprune.evaluate.threshold import cuts, lowest_best
from qaprune.jsonfile import expect, field, number, read_json

OFFICIAL_NA_THRESHOLD = 1.0  # the script's default --na-prob-thresh
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True, slots=True)
class GoldQuestion:
    """A question's gold answer texts (none: unanswerable) and the paragraph it belongs to."""

    id: str
    answers: tuple[str, ...]
    group: str


@lru_cache(maxsize=1 << 17)
def answer_words(text: str) -> tuple[str, ...]:
    """The normalised words of an answer; two answers match exactly when these are equal."""
    return tuple(_ARTICLE.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def word_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """F1 of two bags of normalised words; with an empty side 1 if both are empty, else 0."""
    if not gold or not predicted:
        return float(len(gold) == len(predicted))
    same = sum((Counter(gold) & Counter(predicted)).values())
    if not same:
        return 0.0
    precision, recall = same / len(predicted), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def read_gold(path: Path | str) -> list[GoldQuestion]:
    """The questions of an official SQuAD 2.0 JSON file, plain or .gz, in its order."""
    questions: list[GoldQuestion] = []
    seen: set[str] = set()
    for a, article in enumerate(field(read_json(path), "data", list, str(path))):
        where = f"{path}: data[{a}]"
        for p, paragraph in enumerate(field(article, "paragraphs", list, where)):
            inside = f"{where}.paragraphs[{p}]"
            for q, record in enumerate(field(paragraph, "qas", list, inside)):
                question = _gold_question(record, f"{inside}.qas[{q}]", f"{a}:{p}")
                if question.id in seen:
                    raise InputError(f"{inside}.qas[{q}]: duplicate id '{question.id}'")
                seen.add(question.id)
                questions.append(question)
    if not questions:
        raise InputError(f"{path}: empty data set, expected at least one question")
    return questions


def _gold_question(record: object, where: str, group: str) -> GoldQuestion:
    identity = field(record, "id", str, where)
    answers = field(record, "answers", list, f"{where} (id {identity})")
    texts = tuple(field(answer, "text", str, f"{where} (id {identity}): answer") for answer in answers)
    return GoldQuestion(identity, texts, group)


def gold_from_examples(examples: Iterable[Example]) -> list[GoldQuestion]:
    """The same from prepared examples."""
    return [GoldQuestion(e.id, tuple(answer.text for answer in e.answers), e.group) for e in examples]


def read_predictions(path: Path | str) -> dict[str, str]:
    """An official prediction file: one object from question id to answer text, empty text for null."""
    try:
        predictions = expect(read_json(path), dict, str(path))
    except InputError as error:
        raise InputError(f"{error}; expected one JSON object from question id to answer text") from None
    for identity, text in predictions.items():
        expect(text, str, f"{path}: prediction of '{identity}'")
    return predictions


def write_predictions(path: Path | str, answers: Iterable[tuple[str, str]]) -> None:
    """Write pairs of question id and answer text as the official prediction file."""
    with open_text(path, "w") as out:
        out.write(json.dumps(dict(answers), ensure_ascii=False) + "\n")


def read_na_probs(path: Path | str) -> dict[str, float]:
    """An official na-probs file: one object from id to a number, higher for null; order is kept."""
    values = expect(read_json(path), dict, str(path))
    return {identity: number(value, f"{path}: '{identity}'") for identity, value in values.items()}


def check_ids(gold: Sequence[GoldQuestion], given: Iterable[str], what: str) -> None:
    """Every gold question and no other must be in `given`; `what` names the file or mapping in the error.

    Own choice: the official script prints a line for a missing prediction and divides by the questions that
    are left, and ignores unknown ids, so a partial file can look better than it is.
    """
    wanted, found = [question.id for question in gold], dict.fromkeys(given)
    missing = [identity for identity in wanted if identity not in found]
    if missing:
        raise InputError(f"{what}: {len(missing)} of {len(wanted)} gold ids missing, first '{missing[0]}'")
    known = set(wanted)
    unknown = [identity for identity in found if identity not in known]
    if unknown:
        raise InputError(f"{what}: {len(unknown)} ids not in the gold file, first '{unknown[0]}'")


def has_answer(gold: Sequence[GoldQuestion]) -> np.ndarray:
    """bool [questions]: the gold lists at least one answer."""
    return np.array([bool(question.answers) for question in gold], dtype=bool)


def score_questions(
    gold: Sequence[GoldQuestion], predictions: Mapping[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 in [0, 1], float64 [questions] each, in the order of `gold`."""
    em, f1 = np.zeros(len(gold)), np.zeros(len(gold))
    for i, question in enumerate(gold):
        if question.id not in predictions:
            raise InputError(f"predictions: no prediction for id '{question.id}'")
        predicted = answer_words(predictions[question.id])
        targets = [words for words in map(answer_words, question.answers) if words] or [()]
        em[i] = float(predicted in targets)
        f1[i] = max(word_f1(words, predicted) for words in targets)
    return em, f1


def with_nulls(scores: np.ndarray, answerable: np.ndarray, is_null: np.ndarray) -> np.ndarray:
    """Per-question scores once some predictions are null: 1 on unanswerable questions, else 0."""
    return np.where(is_null, ~answerable, scores).astype(np.float64)


def apply_na_probs(
    gold: Sequence[GoldQuestion],
    scores: np.ndarray,
    na_probs: Mapping[str, float],
    threshold: float = OFFICIAL_NA_THRESHOLD,
) -> np.ndarray:
    """Scores with predictions made null where the na-prob is above the threshold, as the script does."""
    is_null = np.array([na_probs[question.id] > threshold for question in gold], dtype=bool)
    return with_nulls(scores, has_answer(gold), is_null)


def summarise(gold: Sequence[GoldQuestion], em: np.ndarray, f1: np.ndarray) -> dict[str, float | int]:
    """The official totals in per cent; HasAns_* and NoAns_* only where such questions exist."""
    answerable = has_answer(gold)
    totals: dict[str, float | int] = {}
    parts = {"": np.ones_like(answerable), "HasAns_": answerable, "NoAns_": ~answerable}
    for prefix, chosen in parts.items():
        if count := int(chosen.sum()):
            totals[f"{prefix}exact"] = float(100.0 * em[chosen].sum() / count)
            totals[f"{prefix}f1"] = float(100.0 * f1[chosen].sum() / count)
            totals[f"{prefix}total"] = count
    return totals


def best_threshold(
    answerable: np.ndarray, non_empty: np.ndarray, scores: np.ndarray, na_score: np.ndarray
) -> tuple[float, float]:
    """The script's best score (per cent) and the na-score up to which predictions are kept for it.

    All arrays are [questions] in the order of the na-probs file. Questions turn from null to answered by
    ascending na-score; equal ones keep their order and each is a step of its own, as in the script (so the
    best may fall between equal na-scores). The start, everything null, has the threshold 0.0.
    """
    order = np.argsort(na_score, kind="stable")
    gained = np.where(answerable, scores, np.where(non_empty, -1.0, 0.0))[order]
    running = np.cumsum(np.concatenate([[float((~answerable).sum())], gained]))
    best = int(running.argmax())
    return float(100.0 * running[best] / len(scores)), float(na_score[order[best - 1]]) if best else 0.0


def best_thresholds(
    gold: Sequence[GoldQuestion],
    predictions: Mapping[str, str],
    em: np.ndarray,
    f1: np.ndarray,
    na_probs: Mapping[str, float],
) -> dict[str, float]:
    """`best_exact`, `best_exact_thresh`, `best_f1`, `best_f1_thresh`; `em`, `f1` without a threshold."""
    row = {question.id: i for i, question in enumerate(gold)}
    order = np.array([row[identity] for identity in na_probs], dtype=np.int64)
    na_score = np.array(list(na_probs.values()), dtype=np.float64)
    non_empty = np.array([bool(predictions[identity]) for identity in na_probs], dtype=bool)
    answerable = has_answer(gold)[order]
    best: dict[str, float] = {}
    for name, scores in (("exact", em), ("f1", f1)):
        found = best_threshold(answerable, non_empty, scores[order], na_score)
        best[f"best_{name}"], best[f"best_{name}_thresh"] = found
    return best


def choose_threshold(
    f1_answered: np.ndarray,
    answerable: np.ndarray,
    null_odds: np.ndarray,
    weights: np.ndarray | None = None,
) -> float:
    """The no-answer threshold with the highest hold-out F1 (procedure and ties: `threshold.py`).

    `f1_answered` float [questions]: F1 of the best non-null span; `answerable` bool; `null_odds` float:
    null score minus span score, the prediction is null where it is above the threshold; `weights` float
    [questions]: how much each counts, 1 where not given.
    """
    options = cuts(null_odds)
    if_null = (~np.asarray(answerable, dtype=bool)).astype(np.float64)
    gained = np.asarray(f1_answered, dtype=np.float64) - if_null
    if weights is not None:
        gained = gained * weights
    gain = np.cumsum(gained[options.order])
    value = np.concatenate([[0.0], gain])[options.answered]
    return lowest_best(value, options.threshold)
