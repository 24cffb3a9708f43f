"""Word pieces of texts whose words stand between single spaces, looked up word by word.

A language has few words and a document many: most are met again. What a word becomes does not depend on
its neighbours in any tokenizer of BERT or RoBERTa, so the pieces are the library's own (a test compares
them on whole documents), many times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KNOWN_WORDS = 500_000
"""Some 100 MB; when so many are known the memory starts anew."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Pieces of all known words, one word after the other: word w has `first[w]:first[w + 1]`."""

    first: np.ndarray
    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


_EMPTY = _Table(np.zeros(1, np.int64), *(np.empty(0, np.int32) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class Pieces:
    """The word pieces of a text, made as they are asked for. Word w has pieces `first[w]:first[w + 1]`."""

    first: np.ndarray
    _codes: np.ndarray
    _starts: np.ndarray
    _table: _Table

    def __len__(self) -> int:
        return int(self.first[-1])

    def ids(self, begin: int, end: int) -> np.ndarray:
        """Ids of pieces [begin, end); int32."""
        return self._table.ids[self._places(begin, end)[0]]

    def offsets(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """First and last character (exclusive) in the text of pieces [begin, end); int32."""
        places, base = self._places(begin, end)
        return base + self._table.starts[places], base + self._table.ends[places]

    def _places(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the pieces are in the table, and where the word of each starts in the text."""
        low = int(np.searchsorted(self.first, begin, side="right")) - 1
        high = int(np.searchsorted(self.first, end, side="left"))
        counts = np.diff(self.first[low : high + 1])
        shift = self._table.first[self._codes[low:high]] - self.first[low:high]
        places = np.repeat(shift, counts) + np.arange(self.first[low], self.first[high])
        base = np.repeat(self._starts[low:high], counts)
        cut = slice(begin - int(self.first[low]), end - int(self.first[low]))
        return places[cut], base[cut].astype(np.int32)


class WordPieces:
    """A tokenizer with a memory for words."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._codes: dict[str, int] = {}
        self._table = _EMPTY

    def encode(self, texts: Sequence[tuple[Sequence[str], np.ndarray]]) -> list[Pieces]:
        """The pieces of texts, each given as its words and the characters that they start at.

        Every word is read as if it stood behind a space.
        """
        found = [self._look_up(words) for words, _ in texts]
        missing = [np.flatnonzero(codes < 0) for codes in found]
        new = {words[at] for (words, _), places in zip(texts, missing, strict=True) for at in places}
        if len(self._codes) + len(new) > KNOWN_WORDS and self._codes:
            self._codes, self._table = {}, _EMPTY
            return self.encode(texts)
        if new:
            self._learn(sorted(new))
            for (words, _), codes, places in zip(texts, found, missing, strict=True):
                codes[places] = self._look_up([words[at] for at in places])
        table = self._table
        counts = np.diff(table.first)
        return [
            Pieces(np.concatenate([[0], np.cumsum(counts[codes])]), codes, starts, table)
            for (_, starts), codes in zip(texts, found, strict=True)
        ]

    def _look_up(self, words: Sequence[str]) -> np.ndarray:
        return np.fromiter(map(self._codes.get, words, repeat(-1)), np.int64, len(words))

    def _learn(self, words: list[str]) -> None:
        """Put these words at the end of the table; the library reads them as one text."""
        text = " " + " ".join(words)
        sizes = np.fromiter(map(len, words), np.int64, len(words))
        begins = np.cumsum(sizes + 1) - sizes
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        starts, ends = trimmed(text, encoding.offsets)
        # A piece belongs to the word of its last character, the space before a word to that word.
        last = np.array([end - 1 for _, end in encoding.offsets])
        owner = np.searchsorted(begins - 1, last, side="right") - 1
        counts = np.bincount(owner, minlength=len(words))
        old = self._table
        self._table = _Table(
            np.concatenate([old.first, old.first[-1] + np.cumsum(counts)]),
            np.concatenate([old.ids, np.array(encoding.ids, np.int32)]),
            np.concatenate([old.starts, (starts - begins[owner]).astype(np.int32)]),
            np.concatenate([old.ends, (ends - begins[owner]).astype(np.int32)]),
        )
        self._codes.update(zip(words, range(len(self._codes), len(self._codes) + len(words)), strict=True))


def trimmed(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """First and last characters of pieces without white space in front; int32.

    A byte-level piece may begin with the space before its word; answers never do.
    """
    found = np.array(offsets, np.int32).reshape(-1, 2)
    starts, ends = found[:, 0].copy(), found[:, 1]
    for at, (start, end) in enumerate(offsets):
        if start < end and text[start].isspace():
            while start < end and text[start].isspace():
                start += 1
            starts[at] = start
    return starts, ends
