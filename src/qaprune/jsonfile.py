"""Reading JSON and JSON lines, plain or gzipped, with errors that name file, line and what was expected."""

from __future__ import annotations

import contextlib
import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qaprune.data.examples import open_text
from qaprune.errors import InputError

UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError)
_KINDS = {dict: "an object", list: "a list", str: "a string", int: "an integer", bool: "true or false"}


def unreadable(path: Path | str, error: Exception) -> InputError:
    """The one-line error for a file that is missing, cut short or not text."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file")
    if isinstance(error, (EOFError, zlib.error)):
        return InputError(f"{path}: damaged or cut gzip file ({error})")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"{path}: cannot be read ({reason})")


def read_json(path: Path | str) -> Any:
    """The one JSON value of a file."""
    try:
        with open_text(path) as lines:
            text = lines.read()
    except UNREADABLE as error:
        raise unreadable(path, error) from None
    return _parse(text, str(path), lines=True)


def read_json_lines(path: Path | str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`file:line`, object) for every line that is not blank."""
    try:
        with open_text(path) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{path}:{number}", parse_object(line, f"{path}:{number}")
    except UNREADABLE as error:
        raise unreadable(path, error) from None


def parse_object(line: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object of one line; bytes must be UTF-8."""
    try:
        text = line if isinstance(line, str) else line.decode()
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text") from None
    return expect(_parse(text, where), dict, where)


def _parse(text: str, where: str, lines: bool = False) -> Any:
    """One JSON value; with `lines` an error names the text's line too."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}" if lines else where
        raise InputError(f"{place}: invalid JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise InputError(f"{where}: JSON nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{where}: invalid JSON: {error}") from None
    if "\\ud" in text or "\\uD" in text:
        _refuse_half_pairs(value, where)
    return value


def _refuse_half_pairs(value: Any, where: str) -> None:
    """JSON may escape half of a surrogate pair, which no file of text can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: an escape is half of a surrogate pair, not a character") from None


def expect(value: Any, kind: type, where: str) -> Any:
    """`value` if it is of that JSON kind, else an error that names the place."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{where}: expected {_KINDS[kind]}, found {_shown(value)}")
    return value


def field(record: Any, key: str, kind: type, where: str) -> Any:
    """`record[key]` if it is there and of that JSON kind, else an error that names the key."""
    if key not in expect(record, dict, where):
        raise InputError(f"{where}: missing key '{key}'")
    return expect(record[key], kind, f"{where}: '{key}'")


def number(value: Any, where: str) -> float:
    """`value` as a float if it is a finite number: others cannot be ranked, or be written as JSON again."""
    if not isinstance(value, bool) and isinstance(value, (int, float)):
        with contextlib.suppress(OverflowError):  # an integer past the largest float
            if math.isfinite(found := float(value)):
                return found
    raise InputError(f"{where}: expected a number, found {_shown(value)}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
