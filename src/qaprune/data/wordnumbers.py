"""A number for every word of a language, looked up for all words of many texts at once.

A dictionary of Python's waits for memory at every word. Here a word of up to 16 bytes is two integers, and
the table of them is an array that numpy reads for all words together: the same answers, five times as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qaprune.data.characters import between_spaces

LONGEST = 16
"""Bytes of a word that two integers hold; longer ones are in a dictionary."""
_UPTO = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
"""What keeps the first `size` bytes of eight."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a text in UTF-8, which stand between single spaces.

    `starts`, `ends`: int64 [words], in bytes. `low`, `high`: uint64 [words], their first and next eight
    bytes. `odd`: those that the two do not tell apart from all others.
    """

    text: bytes
    starts: np.ndarray
    ends: np.ndarray
    low: np.ndarray
    high: np.ndarray
    odd: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def bytes(self, at: int) -> bytes:
        """Word number `at`."""
        return self.text[self.starts[at] : self.ends[at]]

    def cut(self, at: list[int]) -> list[str]:
        """The words of those numbers."""
        spans = zip(self.starts[at].tolist(), self.ends[at].tolist(), strict=True)
        return b" ".join([self.text[start:end] for start, end in spans]).decode().split(" ")


def words_of(text: str) -> Words:
    """The words of a text."""
    data = text.encode()
    padded = np.frombuffer(data + bytes(LONGEST), np.uint8)
    codes = padded[: len(data)]
    starts, ends = between_spaces(codes)
    sizes = ends - starts
    # Eight bytes from every place of the text on; those behind the word's end are then cut off.
    eights = np.ndarray(len(padded) - 7, "<u8", padded.data, strides=(1,))
    low = eights[starts] & _UPTO[np.minimum(sizes, 8)]
    high = np.zeros_like(low)
    long = np.flatnonzero(sizes > 8)
    high[long] = eights[starts[long] + 8] & _UPTO[np.minimum(sizes[long] - 8, 8)]
    odd = sizes > LONGEST
    if b"\0" in data:  # a word's last zeros and what is behind it look alike
        odd[np.searchsorted(starts, np.flatnonzero(codes == 0), side="right") - 1] = True
    return Words(data, starts, ends, low, high, np.flatnonzero(odd))


class WordNumbers:
    """Numbers of words, from 0 in the order in which they are added; for `room` words and no more."""

    def __init__(self, room: int):
        self.room = room
        size = 1 << max(1, 2 * room - 1).bit_length()
        self._table = np.zeros((size, 3), np.uint64)
        """Of each place the word's `low` and `high`, and its number and one; 0 there where no word is. In
        rows, so that memory is waited for once a word."""
        self._shift = np.uint64(65 - size.bit_length())
        self._odd: dict[bytes, int] = {}
        self._known = 0

    def __len__(self) -> int:
        return self._known

    def find(self, words: Words) -> np.ndarray:
        """The number of each word, -1 for one that is not known; int64."""
        place = self._places(words.low, words.high)
        above, held = self._look(place, words.low, words.high)
        numbers = np.where(held, above, 0) - 1
        # What is not at its own place may be behind it.
        at = np.flatnonzero(~held & (above > 0))
        place = place[at]
        while len(at):
            place = (place + 1) & (len(self._table) - 1)
            above, held = self._look(place, words.low[at], words.high[at])
            numbers[at[held]] = above[held] - 1
            on = ~held & (above > 0)
            at, place = at[on], place[on]
        for at in words.odd.tolist():
            numbers[at] = self._odd.get(words.bytes(at), -1)
        return numbers

    def add(self, words: Words, numbers: np.ndarray) -> list[int]:
        """Give those words a number of which `numbers` says -1, and write it there.

        Returns where each new word stands, in the order of the new numbers.
        """
        new: list[int] = []
        odd = words.odd[numbers[words.odd] < 0]
        for at in odd.tolist():
            word = words.bytes(at)
            if word not in self._odd:
                self._odd[word] = self._known + len(new)
                new.append(at)
            numbers[at] = self._odd[word]
        at = np.flatnonzero(numbers < 0)
        place = self._places(words.low[at], words.high[at])
        while len(at):
            # A free place goes to the first word that asks for it; equal ones then find themselves there.
            free, first = np.unique(place, return_index=True)
            empty = self._table[free, 2] == 0
            free, first = free[empty], at[first[empty]]
            self._table[free, 0], self._table[free, 1] = words.low[first], words.high[first]
            self._table[free, 2] = self._known + len(new) + 1 + np.arange(len(free))
            new += first.tolist()
            above, held = self._look(place, words.low[at], words.high[at])
            numbers[at[held]] = above[held] - 1
            at, place = at[~held], (place[~held] + 1) & (len(self._table) - 1)
        self._known += len(new)
        return new

    def _look(self, place: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What stands above the number there (int64), and whether it is of that word (bool)."""
        rows = self._table.take(place, axis=0)
        above = rows[:, 2].astype(np.int64)
        return above, (rows[:, 0] == low) & (rows[:, 1] == high) & (above > 0)

    def _places(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Where a word is looked for first: its bits mixed, the uppermost of them."""
        mixed = low * np.uint64(0x9E3779B97F4A7C15) ^ high * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(0xD6E8FEB86659FD93)
        return (mixed >> self._shift).astype(np.int64)
