"""The one record that every reader yields and every later stage reads."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from qaprune.errors import InputError


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


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write one JSON object a line; returns how many."""
    count = 0
    with open_text(path, "w") as out:
        for example in examples:
            out.write(json.dumps(asdict(example), ensure_ascii=False) + "\n")
            count += 1
    return count


def read_examples(path: Path) -> Iterator[Example]:
    """Yield the examples of a prepared file, in its order."""
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                row["answers"] = tuple(Answer(**answer) for answer in row["answers"])
                yield Example(**row)
            except (json.JSONDecodeError, TypeError, KeyError) as error:
                raise InputError(f"{path}:{number}: not a prepared example ({error})") from None
