"""CSV files of any size as columns of text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from qaprune.data.examples import open_text
from qaprune.errors import InputError
from qaprune.jsonfile import UNREADABLE, unreadable


def read_columns(path: Path) -> dict[str, list[str]]:
    """A (gzipped) CSV file as lists, one a column."""
    try:
        with open_text(path) as stream:
            text = stream.read()
        found = split_plain(text) or split_quoted(text, path)
    except FileNotFoundError:
        raise InputError(f"{path}: expected this file; the stage before the report writes it") from None
    except UNREADABLE as error:
        raise unreadable(path, error) from None
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None
    return found


def split_plain(text: str) -> dict[str, list[str]] | None:
    """The columns of a table without quotes whose lines all have as many fields as its header, else None.

    The per-question scores of 500 rows are millions of lines: one split is several times faster than a
    reader that makes a list of each.
    """
    header, _, body = text.partition("\n")
    names, lines = header.split(","), body.count("\n")
    if '"' in text or not body.endswith("\n"):
        return None
    fields = body.replace("\n", "\n,").split(",")  # a line's last field keeps its end
    ends = "".join(fields[len(names) - 1 :: len(names)])
    if len(fields) != lines * len(names) + 1 or ends.count("\n") != lines:
        return None
    columns = [fields[place : -1 : len(names)] for place in range(len(names) - 1)]
    return dict(zip(names, [*columns, ends.split("\n")[:-1]], strict=True))


def split_quoted(text: str, path: Path) -> dict[str, list[str]]:
    """The columns of any table; errors name the line."""
    rows = list(csv.reader(io.StringIO(text)))
    if not rows:
        raise InputError(f"{path}: expected a header line")
    header, *body = rows
    for line, row in enumerate(body, 2):
        if len(row) != len(header):
            raise InputError(f"{path}:{line}: expected {len(header)} fields, found {len(row)}")
    return {name: [row[index] for row in body] for index, name in enumerate(header)}
