"""The tokens of a document: where each stands in the text, and which are words; no string for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qaprune.data.characters import SPACE, between_spaces, characters, is_space

SLASH, LESS, GREATER, A, Z = map(ord, "/<>AZ")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token t is `text[starts[t]:ends[t]]`, behind it stands a space. `words`: those that are neither HTML
    nor empty.

    `starts`, `ends`: int64 [tokens], `words`: bool [tokens].
    """

    text: str
    starts: np.ndarray
    ends: np.ndarray
    words: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, at: int) -> str:
        return self.text[self.starts[at] : self.ends[at]]


def tokens_of(text: str) -> Tokens:
    """The tokens of a simplified text.

    White space inside a token becomes `_`, as in the official simplification: a word is what stands
    between two spaces.
    """
    codes = characters(text)
    if (is_space(codes) & (codes != SPACE)).any():
        text = " ".join("_".join(token.split()) for token in text.split(" "))
        codes = characters(text)
    starts, ends = between_spaces(codes)
    words = starts < ends
    words[_html(codes, starts, ends)] = False
    return Tokens(text, starts, ends, words)


def _html(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The tokens that are HTML by their form: `<`, at will `/`, a capital letter, anything else, `>`."""
    brackets = np.flatnonzero((codes == LESS) | (codes == GREATER))
    first, last = brackets[:-1], brackets[1:]
    token = np.searchsorted(starts, first, side="right") - 1
    pair = (codes[first] == LESS) & (codes[last] == GREATER)
    pair &= (starts[token] == first) & (ends[token] == last + 1)
    token, first = token[pair], first[pair]
    letter = codes[first + 1 + (codes[first + 1] == SLASH)]
    return token[(letter >= A) & (letter <= Z)]
