"""From start and end logits to one best span and one null score a question. numpy only.

A span scores start logit + end logit; the null score of a window is that sum at position 0 ([CLS], <s>).
`decode_windows` follows the Hugging Face SQuAD 2.0 examples, with the exact maximum in place of their
n-best search: a question takes its best span over windows and its lowest null score over windows.
`decode_documents` follows BERT-joint (Alberti, Lee and Collins 2019): it takes the span that is furthest
above the null score of its own window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qaprune.errors import InputError

BLOCK = 2048  # windows decoded at once: bounds the working memory to some tens of MB


@dataclass(frozen=True, slots=True)
class SpanPredictions:
    """One row a question. Token positions are inside the window; the end is inclusive.

    A question without a single context token has window, start and end -1 and the score minus infinity.
    """

    window: np.ndarray  # int64 [questions], row of the window that holds the best span
    start_token: np.ndarray  # int64 [questions]
    end_token: np.ndarray  # int64 [questions]
    score: np.ndarray  # float64 [questions], start logit + end logit
    null_score: np.ndarray  # float64 [questions]

    @property
    def null_odds(self) -> np.ndarray:
        """float64 [questions]: null score minus score; the answer is null where above the threshold."""
        return self.null_score - self.score


def decode_windows(
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    row_ptr: np.ndarray,
    context_start: np.ndarray,
    context_end: np.ndarray,
    question_index: np.ndarray,
    n_questions: int,
    max_answer_tokens: int = 30,
) -> SpanPredictions:
    """Decode all questions at once.

    `start_logits`, `end_logits`: float [tokens], all windows unpadded one after the other; `row_ptr`: int
    [windows + 1], where each begins; `context_start`, `context_end`: int [windows], the half-open range of
    context tokens inside the window; `question_index`: int [windows], in any order. Spans have 1 to
    `max_answer_tokens` tokens. Among equal scores the lowest window, then start, then end wins.
    """
    start, end = np.asarray(start_logits), np.asarray(end_logits)
    row_ptr = np.asarray(row_ptr, np.int64)
    first, last = np.asarray(context_start, np.int64), np.asarray(context_end, np.int64)
    question = np.asarray(question_index, np.int64)
    _check(start, end, row_ptr, first, last, question, n_questions, max_answer_tokens)
    blocks = []
    for low in range(0, len(question), BLOCK):
        rows = slice(low, low + BLOCK)
        ptr = row_ptr[low : low + BLOCK + 1]
        tokens = slice(ptr[0], ptr[-1])
        blocks.append(
            best_spans(start[tokens], end[tokens], ptr - ptr[0], first[rows], last[rows], max_answer_tokens)
        )
    span_start, span_end, score = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    null = start[row_ptr[:-1]].astype(np.float64) + end[row_ptr[:-1]]

    null_score = np.full(n_questions, np.inf)
    np.minimum.at(null_score, question, null)
    best = np.full(n_questions, -np.inf)
    np.maximum.at(best, question, score)
    winners = np.flatnonzero((score == best[question]) & (span_start >= 0))
    window = np.full(n_questions, len(question), np.int64)
    np.minimum.at(window, question[winners], winners)
    found = window < len(question)
    window = np.where(found, window, -1)
    return SpanPredictions(
        window,
        np.where(found, span_start[window], -1),
        np.where(found, span_end[window], -1),
        best,
        null_score,
    )


def decode_documents(
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    row_ptr: np.ndarray,
    context_start: np.ndarray,
    context_end: np.ndarray,
    question_index: np.ndarray,
    n_questions: int,
    leads: np.ndarray,
    max_answer_tokens: int = 30,
) -> SpanPredictions:
    """Decode all questions on documents at once; arguments and result as of `decode_windows`.

    `leads`: bool [tokens], the structure tokens, which no span reaches across: it lies in one part of its
    document. A question's score and null score are those of the window of its span.
    """
    start, end = np.asarray(start_logits), np.asarray(end_logits)
    row_ptr = np.asarray(row_ptr, np.int64)
    first, last = np.asarray(context_start, np.int64), np.asarray(context_end, np.int64)
    question = np.asarray(question_index, np.int64)
    _check(start, end, row_ptr, first, last, question, n_questions, max_answer_tokens)
    null = start[row_ptr[:-1]].astype(np.float64) + end[row_ptr[:-1]]
    best = np.full(n_questions, -np.inf)
    window, span_start, span_end = (np.full(n_questions, -1, np.int64) for _ in range(3))
    lowest_null = np.full(n_questions, np.inf)
    np.minimum.at(lowest_null, question, null)
    for low in range(0, len(question), BLOCK):
        high = min(low + BLOCK, len(question))
        tokens = slice(row_ptr[low], row_ptr[high])
        ptr = row_ptr[low : high + 1] - row_ptr[low]
        begins, ends = _stretches(ptr, first[low:high], last[low:high], leads[tokens])
        if not len(begins):
            continue
        lengths = ends - begins
        s, e, score = best_spans(
            start[tokens],
            end[tokens],
            np.append(begins, ptr[-1]),
            np.zeros_like(lengths),
            lengths,
            max_answer_tokens,
        )
        rows = low + np.searchsorted(ptr, begins, side="right") - 1
        above = score - null[rows]
        # The last of a stable order by question and score: the best of each, of equal ones the first.
        order = np.lexsort((-np.arange(len(above)), above, question[rows]))
        final = order[np.append(np.diff(question[rows][order]) != 0, True)]
        final = final[above[final] > best[question[rows[final]]]]
        winners = question[rows[final]]
        best[winners], window[winners] = above[final], rows[final]
        shift = begins[final] + row_ptr[low] - row_ptr[rows[final]]
        span_start[winners], span_end[winners] = s[final] + shift, e[final] + shift
    own = np.where(window >= 0, null[window], lowest_null)
    return SpanPredictions(window, span_start, span_end, best + own, own)


def _stretches(
    row_ptr: np.ndarray, first: np.ndarray, last: np.ndarray, leads: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and last token (exclusive) of each run of context tokens that are no structure tokens."""
    sizes = np.diff(row_ptr)
    column = np.arange(row_ptr[-1]) - np.repeat(row_ptr[:-1], sizes)
    opened = np.zeros(len(leads) + 2, np.int8)
    opened[1:-1] = ~leads & (column >= np.repeat(first, sizes)) & (column < np.repeat(last, sizes))
    begins, ends = (np.flatnonzero(np.diff(opened) == side) for side in (1, -1))
    return begins, ends


def best_spans(
    start: np.ndarray,
    end: np.ndarray,
    row_ptr: np.ndarray,
    context_start: np.ndarray,
    context_end: np.ndarray,
    max_answer_tokens: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each window's best span: start, end (tokens in the window, -1: no context) and score, [windows].

    The context tokens are laid out anew with `max_answer_tokens` closed places (minus infinity) behind each
    window, so that a running maximum over the end logits never reaches into the next window.
    """
    length = context_end - context_start
    begin = np.concatenate([[0], np.cumsum(length + max_answer_tokens)])
    within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
    source = np.repeat(row_ptr[:-1] + context_start, length) + within
    target = np.repeat(begin[:-1], length) + within
    open_start, open_end = np.full((2, int(begin[-1])), -np.inf)
    open_start[target], open_end[target] = start[source], end[source]

    total = open_start + _running_maximum(open_end, max_answer_tokens)
    score = np.maximum.reduceat(total, begin[:-1])
    hits = np.flatnonzero(total == np.repeat(score, np.diff(begin)))
    windows, first_hit = np.unique(np.searchsorted(begin, hits, side="right") - 1, return_index=True)
    chosen = np.zeros(len(length), np.int64)
    chosen[windows] = hits[first_hit]
    reach = open_start[chosen][:, None] + open_end[chosen[:, None] + np.arange(max_answer_tokens)]
    span_start = chosen - begin[:-1] + context_start
    span_end = span_start + reach.argmax(axis=1)
    empty = length == 0
    return np.where(empty, -1, span_start), np.where(empty, -1, span_end), np.where(empty, -np.inf, score)


def _running_maximum(values: np.ndarray, width: int) -> np.ndarray:
    """The maximum of `width` values from each place on, by doubling; the last places see fewer values."""
    result, reached = values, 1
    while reached < width:
        step = min(reached, width - reached)
        wider = result.copy()
        np.maximum(result[:-step], result[step:], out=wider[:-step])
        result, reached = wider, reached + step
    return result


def _check(
    start: np.ndarray,
    end: np.ndarray,
    row_ptr: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    question: np.ndarray,
    n_questions: int,
    max_answer_tokens: int,
) -> None:
    """Refuse what would be decoded wrongly without a word."""
    windows = len(row_ptr) - 1
    if max_answer_tokens < 1 or windows < 1:
        raise ValueError("expected at least one window and one answer token")
    if not (len(first) == len(last) == len(question) == windows):
        raise ValueError("context ranges and question indices must have one entry a window")
    if not (start.shape == end.shape == (row_ptr[-1],)) or row_ptr[0] != 0 or (np.diff(row_ptr) < 1).any():
        raise ValueError("row pointers must cover the logits, at least one token a window")
    if (first < 0).any() or (first > last).any() or (last > np.diff(row_ptr)).any():
        raise ValueError("context ranges must lie inside their windows")
    if len(np.unique(question)) != n_questions or question.min() < 0 or question.max() >= n_questions:
        raise ValueError(f"every one of the {n_questions} questions must have a window, and no other")
    finite = np.isfinite(start) & np.isfinite(end)
    if not finite.all():
        window = int(np.searchsorted(row_ptr, np.flatnonzero(~finite)[0], side="right")) - 1
        raise InputError(f"logits of window {window}: not finite, the model's training has diverged")
