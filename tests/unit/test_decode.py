"""Span decoding against a brute-force loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaprune.errors import InputError
from qaprune.evaluate import decode
from qaprune.evaluate.decode import decode_windows


def brute(start, end, row_ptr, first, last, question, n, longest):
    """Every span of every window, one by one."""
    rows = []
    for q in range(n):
        best, null = (-np.inf, -1, -1, -1), np.inf
        for w in np.flatnonzero(question == q):
            s, e = start[row_ptr[w] : row_ptr[w + 1]], end[row_ptr[w] : row_ptr[w + 1]]
            null = min(null, float(s[0]) + float(e[0]))
            for i in range(first[w], last[w]):
                for j in range(i, min(i + longest, last[w])):
                    score = float(s[i]) + float(e[j])
                    if score > best[0]:
                        best = (score, w, i, j)
        rows.append((*best, null))
    return rows


@st.composite
def batches(draw):
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, len(lengths)))
    question = rng.permutation(np.concatenate([np.arange(n), rng.integers(0, n, len(lengths) - n)]))
    first = np.array([rng.integers(0, size + 1) for size in lengths])
    last = np.array([rng.integers(low, size + 1) for low, size in zip(first, lengths, strict=True)])
    total = sum(lengths)
    if draw(st.booleans()):  # few distinct values: many ties
        start, end = rng.integers(-2, 3, (2, total)).astype(np.float32)
    else:
        start, end = rng.normal(0, 5, (2, total)).astype(np.float32)
    row_ptr = np.concatenate([[0], np.cumsum(lengths)])
    return start, end, row_ptr, first, last, question, n, draw(st.integers(1, 14))


@settings(max_examples=300)
@given(batches())
def test_equals_brute_force(batch):
    found = decode_windows(*batch)
    rows = zip(found.score, found.window, found.start_token, found.end_token, found.null_score, strict=True)
    assert list(rows) == brute(*batch)


def test_blocks_do_not_change_the_result(monkeypatch):
    rng = np.random.default_rng(5)
    start, end = rng.integers(-3, 4, (2, 200)).astype(np.float32)
    batch = (
        start,
        end,
        np.arange(0, 201, 10),
        np.full(20, 2),
        np.full(20, 9),
        rng.permutation(20) // 3,
        7,
        4,
    )
    monkeypatch.setattr(decode, "BLOCK", 3)
    found = decode_windows(*batch)
    assert list(
        zip(found.score, found.window, found.start_token, found.end_token, found.null_score, strict=True)
    ) == brute(*batch)


def one_window(start, end, **changes):
    options = {"context_start": [2], "context_end": [len(start)], "max_answer_tokens": 30} | changes
    return decode_windows(
        np.array(start, np.float32),
        np.array(end, np.float32),
        np.array([0, len(start)]),
        np.array(options["context_start"]),
        np.array(options["context_end"]),
        np.array([0]),
        1,
        options["max_answer_tokens"],
    )


def test_question_tokens_and_backward_spans_are_never_answers():
    found = one_window([1, 9, 0, 0, 7, 0], [2, 9, 8, 3, 1, 4])
    assert (found.start_token[0], found.end_token[0]) == (4, 5)
    assert (found.score[0], found.null_score[0], found.null_odds[0]) == (11.0, 3.0, -8.0)


def test_length_limit():
    found = one_window([0, 0, 7, 0, 0], [0, 0, 1, 2, 5], max_answer_tokens=2)
    assert (found.start_token[0], found.end_token[0]) == (2, 3)


def test_window_without_context_is_null():
    found = one_window([1, 2], [3, 4])
    assert found.window[0] == found.start_token[0] == found.end_token[0] == -1
    assert found.null_odds[0] == np.inf


def test_span_does_not_reach_into_the_next_window():
    found = decode_windows(
        np.array([0, 5, 0, 0], np.float32),
        np.array([0, 1, 0, 9], np.float32),
        np.array([0, 2, 4]),
        np.array([1, 1]),
        np.array([2, 2]),
        np.array([0, 1]),
        2,
    )
    assert found.score.tolist() == [6.0, 9.0]


def test_null_score_is_the_lowest_over_windows():
    found = decode_windows(
        np.array([4, 0, -3, 0], np.float32),
        np.array([4, 7, 1, 2], np.float32),
        np.array([0, 2, 4]),
        np.array([1, 1]),
        np.array([2, 2]),
        np.array([0, 0]),
        1,
    )
    assert (found.null_score[0], found.score[0], found.window[0]) == (-2.0, 7.0, 0)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="window 0: not finite"):
        one_window([0, 0, np.nan], [0, 0, 0])
    with pytest.raises(ValueError, match="inside their windows"):
        one_window([0, 0, 0], [0, 0, 0], context_end=[4])
    with pytest.raises(ValueError, match="must have a window"):
        decode_windows(np.zeros(1), np.zeros(1), [0, 1], [0], [1], [0], 2)
    with pytest.raises(ValueError, match="row pointers"):
        decode_windows(np.zeros(3), np.zeros(3), [0, 2], [0], [1], [0], 1)
