"""`qaprune answer`: one question, or a file of them, answered by a checkpoint."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import IO, Any

from qaprune.errors import InputError
from qaprune.evaluate.predictions import shown_score
from qaprune.jsonfile import field, read_json_lines
from qaprune.serve.answer import Answerer, load

CHUNK = 64
"""Questions answered together: enough to fill batches, few enough to hold in memory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--model", required=True, help="a checkpoint folder, or the name of one on the hub")
    parser.add_argument("--question", help="one question; then --context is needed")
    parser.add_argument("--context", help="a text file, or - for standard input")
    parser.add_argument(
        "--jsonl", type=Path, help="a file of questions, an object a line: question, context, id if wanted"
    )
    parser.add_argument("--out", type=Path, help="write here instead of standard output")
    parser.add_argument("--threshold", type=float, help="replaces the checkpoint's no-answer threshold")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def main(args: argparse.Namespace) -> int:
    """Print one JSON object a question; a wrong combination of options returns 2."""
    if (args.jsonl is None) == (args.question is None) or (args.question is None) != (args.context is None):
        print(
            "qaprune answer: expected either --jsonl, or --question with --context",
            file=sys.stderr,
        )
        return 2
    if args.jsonl is not None:
        records = _records(args.jsonl)
    else:
        try:
            args.question.encode()
        except UnicodeEncodeError:
            raise InputError("--question: not UTF-8 text") from None
        records = iter([{"question": args.question, "context": _read_context(args.context)}])
    first = next(records, None)
    if first is None:
        raise InputError(f"{args.jsonl}: expected at least one question")
    answerer = load(args.model, args.device, threshold=args.threshold)
    with _output(args.out) as out:
        _answer(answerer, _chained(first, records), out)
    return 0


def _chained(first: dict[str, Any], rest: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    yield from rest


def _answer(answerer: Answerer, records: Iterator[dict[str, Any]], out: IO[str]) -> None:
    while chunk := list(islice(records, CHUNK)):
        pairs = [(record["question"], record["context"]) for record in chunk]
        for record, answer in zip(chunk, answerer.answer_many(pairs), strict=True):
            found = asdict(answer) | {
                name: shown_score(getattr(answer, name), 4) for name in ("score", "null_score")
            }
            if answer.answer_type is None:
                del found["answer_type"]
            identity = {"id": record["id"]} if "id" in record else {}
            out.write(json.dumps(identity | found, ensure_ascii=False, allow_nan=False) + "\n")


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The questions of a file, checked line by line."""
    for where, record in read_json_lines(path):
        for name in ("question", "context"):
            if not field(record, name, str, where).strip():
                raise InputError(f"{where}: {name}: expected text, got none")
        if not isinstance(record.get("id", ""), (str, int)):
            raise InputError(f"{where}: id: expected a string or an integer")
        yield record


def _standard_input() -> str:
    """As UTF-8 whatever the locale is; Python's own wrapper lets other bytes through."""
    return io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8").read()


def _read_context(name: str) -> str:
    try:
        text = _standard_input() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"--context: {name}: {reason}") from None
    if not text.strip():
        raise InputError(f"--context: {name}: expected text, got none")
    return text


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that appears only when it is complete."""
    if path is None:
        yield sys.stdout
        return
    if path.is_dir():
        raise InputError(f"--out: {path}: is a folder; expected a file to write")
    try:
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise InputError(f"--out: {path}: cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            yield out
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
