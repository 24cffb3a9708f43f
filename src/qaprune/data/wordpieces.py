"""Word pieces of texts whose words stand between single spaces, looked up word by word.

A language has few words and a document many: most are met again. What a word becomes does not depend on
its neighbours in any tokenizer of BERT or RoBERTa, so the pieces are the library's own (a test compares
them on whole documents), many times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

from qaprune.data.characters import between_spaces, characters, is_space

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KNOWN_WORDS = 500_000
"""Some 50 MB; when so many are known the memory starts anew."""
LEARNT_AT_ONCE = 1_000
"""Words that the library reads as one text: of longer texts it takes half as long again for a word."""


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
    _words: np.ndarray
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
        shift = self._table.first[self._words[low:high]] - self.first[low:high]
        places = np.repeat(shift, counts) + np.arange(self.first[low], self.first[high])
        base = np.repeat(self._starts[low:high], counts)
        cut = slice(begin - int(self.first[low]), end - int(self.first[low]))
        return places[cut], base[cut].astype(np.int32)


class WordPieces:
    """A tokenizer with a memory for words."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._numbers: dict[bytes, int] = {}
        self._table = _EMPTY

    def encode(self, texts: Sequence[tuple[str, np.ndarray]]) -> list[Pieces]:
        """The pieces of texts, each given with the characters that its words start at; int32.

        Words stand between single spaces. Every one is read as if it stood behind a space.
        """
        if not texts:
            return []
        different, which = distinct_words(" ".join(text for text, _ in texts))
        found = np.fromiter(map(self._numbers.get, different, repeat(-1)), np.int64, len(different))
        new = np.flatnonzero(found < 0)
        if len(self._numbers) + len(new) > KNOWN_WORDS and self._numbers:
            self._numbers, self._table, new = {}, _EMPTY, np.arange(len(different))
        if len(new):
            found[new] = np.arange(len(self._numbers), len(self._numbers) + len(new))
            words = different[new].tolist()
            self._numbers.update(zip(words, found[new].tolist(), strict=True))
            self._learn(b"".join(words).decode()[:-1].split(" "))
        numbers = found[which]
        counts = np.diff(self._table.first)[numbers]
        ends = np.cumsum([len(starts) for _, starts in texts])
        return [
            Pieces(
                np.concatenate([[0], np.cumsum(counts[end - len(starts) : end])]),
                numbers[end - len(starts) : end],
                starts,
                self._table,
            )
            for (_, starts), end in zip(texts, ends.tolist(), strict=True)
        ]

    def _learn(self, words: list[str]) -> None:
        """Put these words at the end of the table."""
        old = self._table
        read = [self._read(words[at : at + LEARNT_AT_ONCE]) for at in range(0, len(words), LEARNT_AT_ONCE)]
        counts, ids, starts, ends = (np.concatenate(parts) for parts in zip(*read, strict=True))
        self._table = _Table(
            np.concatenate([old.first, old.first[-1] + np.cumsum(counts)]),
            np.concatenate([old.ids, ids]),
            np.concatenate([old.starts, starts]),
            np.concatenate([old.ends, ends]),
        )

    def _read(self, words: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """How many pieces each word has, and of all pieces ids and offsets in their words; int32."""
        text = " " + " ".join(words)
        sizes = np.fromiter(map(len, words), np.int64, len(words))
        begins = np.cumsum(sizes + 1) - sizes
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        starts, ends = trimmed(text, encoding.offsets)
        # A piece belongs to the word of its last character, the space before a word to that word.
        owner = np.searchsorted(begins - 1, ends - 1, side="right") - 1
        return (
            np.bincount(owner, minlength=len(words)),
            np.array(encoding.ids, np.int32),
            (starts - begins[owner]).astype(np.int32),
            (ends - begins[owner]).astype(np.int32),
        )


def distinct_words(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The different words of a text, which stand between single spaces, in the order in which they come
    first: UTF-8 with the space behind each; and for each word which of them it is, int32 [words].

    A dictionary of Python's waits for memory at every word; Arrow's hashes all of them at once, several
    times as fast, and leaves a question a different word.
    """
    import pyarrow

    data = (text + " ").encode()
    starts, _ = between_spaces(np.frombuffer(data, np.uint8, len(data) - 1))
    buffers = [None, pyarrow.py_buffer(np.append(starts, len(data))), pyarrow.py_buffer(data)]
    words = pyarrow.LargeBinaryArray.from_buffers(pyarrow.large_binary(), len(starts), buffers)
    encoded = words.dictionary_encode()
    return encoded.dictionary.to_numpy(zero_copy_only=False), encoded.indices.to_numpy()


def trimmed(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """First and last characters of pieces without white space in front; int32.

    A byte-level piece may begin with the space before its word; answers never do.
    """
    flat = np.fromiter(chain.from_iterable(offsets), np.int32, 2 * len(offsets))
    starts, ends = flat[::2].copy(), flat[1::2].copy()
    codes = characters(text)
    at = np.flatnonzero(starts < ends)
    while len(at := at[is_space(codes[starts[at]])]):
        starts[at] += 1
        at = at[starts[at] < ends[at]]
    return starts, ends
