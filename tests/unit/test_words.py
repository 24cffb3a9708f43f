"""Characters and words as arrays: what Python says of each, said of all at once."""

from __future__ import annotations

import re
import sys
from itertools import product
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaprune.data.characters import between_spaces, characters, is_space
from qaprune.data.nq_tokens import tokens_of
from qaprune.data.wordnumbers import LONGEST, WordNumbers, words_of

LETTERS = st.characters(blacklist_categories=("Cs",), blacklist_characters=" ")


def test_white_space_is_what_python_says_it_is():
    codes = np.arange(sys.maxunicode + 1, dtype=np.uint32)
    wanted = [chr(code).isspace() for code in codes.tolist()]
    assert is_space(codes).tolist() == wanted
    assert is_space(codes[:128].astype(np.uint8)).tolist() == wanted[:128]


@given(st.text(max_size=30))
def test_a_text_is_the_codes_of_its_characters(text):
    codes = characters(text)
    assert codes.tolist() == [ord(letter) for letter in text]
    parts = [
        text[start:end] for start, end in zip(*map(np.ndarray.tolist, between_spaces(codes)), strict=True)
    ]
    assert parts == text.split(" ")


HTML = re.compile(r"</?[A-Z][^\s<>]*>")
PIECES = st.text(st.sampled_from("<>/AZ@[az_é\u00a0\x1c"), max_size=6)


@settings(max_examples=300)
@given(
    st.lists(PIECES | st.sampled_from(["<P>", "</P>", '<Td_colspan="2">', "<É>"]), min_size=1, max_size=12)
)
def test_words_of_a_document_are_what_is_neither_html_nor_empty(pieces):
    found = tokens_of(" ".join(pieces))
    wanted = ["_".join(piece.split()) for piece in pieces]
    assert [found[at] for at in range(len(found))] == wanted
    assert found.words.tolist() == [bool(token) and not HTML.fullmatch(token) for token in wanted]


def test_html_is_told_by_its_form_whatever_it_looks_like():
    tokens = ["".join(signs) for size in range(1, 6) for signs in product("<>/AZ@[", repeat=size)]
    wanted = [not HTML.fullmatch(token) for token in tokens]
    assert tokens_of(" ".join(tokens)).words.tolist() == wanted
    assert not all(wanted)


WORDS = st.text(LETTERS, max_size=LONGEST + 4) | st.text(st.sampled_from("a\0é"), max_size=LONGEST + 2)


@settings(max_examples=200)
@given(
    texts=st.lists(st.lists(WORDS, min_size=1, max_size=30), min_size=1, max_size=4), bits=st.integers(0, 3)
)
def test_equal_words_and_no_others_have_one_number(texts, bits):
    """Also where nearly all of them want the same place of the table."""

    def crowded(self, low, high):
        places = np.uint64(min(1 << bits, len(self._table)))
        return ((low ^ high) % places).astype(np.int64)

    known: dict[str, int] = {}
    numbers = WordNumbers(sum(map(len, texts)))
    with mock.patch.object(WordNumbers, "_places", crowded):
        for text in texts:
            words = words_of(" ".join(text))
            found = numbers.find(words)
            assert found.tolist() == [known.get(word, -1) for word in text]
            new = numbers.add(words, found)
            assert len(set(new)) == len(new)
            for word in words.cut(new) if new else []:
                assert word not in known
                known[word] = len(known)
            assert len(numbers) == len(known)
            assert found.tolist() == [known[word] for word in text]
            assert numbers.find(words).tolist() == found.tolist()


@pytest.mark.parametrize("room", [1, 2, 3, 1000])
def test_there_is_room_for_as_many_words_as_asked_for(room):
    numbers = WordNumbers(room)
    words = words_of(" ".join(f"word{n}" for n in range(room)))
    assert numbers.add(words, numbers.find(words)) != []
    assert sorted(numbers.find(words).tolist()) == list(range(room))


def test_words_that_are_alike_for_long_are_told_apart():
    alike = [
        "a" * 16,
        "a" * 17,
        "a" * 17 + "b",
        "a" * 8,
        "a" * 8 + "b",
        "x",
        "x\0",
        "x\0\0",
        "\0x",
        "é" * 8,
        "é" * 9,
    ]
    words = words_of(" ".join(alike))
    numbers = WordNumbers(len(alike))
    numbers.add(words, found := numbers.find(words))
    assert sorted(found.tolist()) == list(range(len(alike)))
