"""Prepared files: what the stage `data` writes and every later stage reads, an example a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from qaprune.data.examples import Answer, Example, open_text
from qaprune.data.nq import nq_example
from qaprune.errors import InputError


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
            yield prepared_example(line, f"{path}:{number}")


def prepared_example(line: str | bytes, where: str) -> Example:
    """The example of one line: one of ours, or a record of Natural Questions in its simplified layout."""
    try:
        row = json.loads(line)
        if "document_text" in row:
            return nq_example(row, where)
        row["answers"] = tuple(Answer(**answer) for answer in row["answers"])
        return Example(**row)
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise InputError(f"{where}: not a prepared example ({error})") from None
