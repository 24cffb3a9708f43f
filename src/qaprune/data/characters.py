"""Texts as arrays of characters: what is asked of all of them at once is asked of the array."""

from __future__ import annotations

import numpy as np

SPACE = ord(" ")
_LAST_SPACE = 0x3000
_SPACES = np.array([chr(code).isspace() for code in range(_LAST_SPACE + 2)])
"""Of each code, whether it is white space; the last one stands for all behind it, which are none."""


def characters(text: str) -> np.ndarray:
    """The code of each character: uint8 where all are ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def is_space(codes: np.ndarray) -> np.ndarray:
    """Which characters are white space, as `str.isspace` says; bool."""
    return _SPACES[codes if codes.dtype == np.uint8 else np.minimum(codes, _LAST_SPACE + 1)]


def between_spaces(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last (exclusive) of the characters, or bytes of UTF-8, of what stands between single
    spaces; int64, at least one."""
    ends = np.append(np.flatnonzero(codes == SPACE), len(codes))
    return np.concatenate([[0], ends[:-1] + 1]), ends
