"""The one record that every reader yields and every later stage reads."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True)
class Answer:
    """A gold span: its text and the character offset in the context where it starts."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Example:
    """One question on one context. No answers means: not answerable from this context.

    `group` names the paragraph (SQuAD) or document (NQ), the unit that the bootstrap resamples;
    `article` is the unit by which the hold-out slice is cut from train.
    """

    id: str
    question: str
    context: str
    group: str
    article: str
    answers: tuple[Answer, ...] = ()


def open_text(path: Path | str, mode: str = "r") -> IO[str]:
    """Open a text file, gzipped when its name ends in .gz. Written bytes carry no time stamp."""
    path = Path(path)
    if path.suffix != ".gz":
        return path.open(mode, encoding="utf-8")
    if "w" in mode:
        import io

        raw = gzip.GzipFile(path, "wb", compresslevel=6, mtime=0)
        return io.TextIOWrapper(raw, encoding="utf-8")
    return gzip.open(path, mode + "t", encoding="utf-8")
