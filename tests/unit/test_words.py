"""Characters and words as arrays: what Python says of each, said of all at once."""

from __future__ import annotations

import re
import sys
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qaprune.data.characters import between_spaces, characters, is_space
from qaprune.data.nq_tokens import tokens_of
from qaprune.data.wordpieces import distinct_words

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


WORDS = st.text(LETTERS, max_size=20) | st.text(st.sampled_from("a\0é"), max_size=4)


@settings(max_examples=200)
@given(st.lists(WORDS, min_size=1, max_size=40))
def test_equal_words_and_no_others_are_one(words):
    different, which = distinct_words(" ".join(words))
    assert [word.decode() for word in different] == [f"{word} " for word in dict.fromkeys(words)]
    assert [different[at].decode() for at in which.tolist()] == [f"{word} " for word in words]
