"""JSON lines too large for memory: files, gzipped files, folders of shards, some megabytes at a time."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from qaprune.errors import InputError
from qaprune.jsonfile import UNREADABLE, unreadable

CHUNK_BYTES = 4_000_000
BLOCK_BYTES = 65_536
"""Read at once; a gzipped file gives less."""
SHARDS = (".jsonl", ".jsonl.gz")
AHEAD = 2
"""Chunks a process that wait for it or for whoever takes its results: what bounds the memory."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of a file, as bytes; the first one is number `first` (from 1) of `source`."""

    source: str
    first: int
    data: bytes

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """(`file:line`, line) of every line that is not blank."""
        for number, line in enumerate(self.data.split(b"\n"), self.first):
            if line.strip():
                yield f"{self.source}:{number}", line


@dataclass(frozen=True, slots=True)
class Damage:
    """Stands behind the last chunk of a file that cannot be read to its end."""

    error: str


def shards(path: Path) -> list[Path]:
    """The files of a data set: the file itself, or all .jsonl and .jsonl.gz files of a folder by name."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    found = sorted(file for file in path.iterdir() if file.name.endswith(SHARDS) and file.is_file())
    if not found:
        raise InputError(f"{path}: no shards in this folder; expected files named *.jsonl or *.jsonl.gz")
    return found


def chunks(path: Path, name: str | None = None, size: int = 0) -> Iterator[Chunk | Damage]:
    """The chunks of one file in its order; `size` in uncompressed bytes (0: `CHUNK_BYTES`), exceeded by
    less than a line.

    `name` is what the file is called in messages, its path where not given.
    """
    name, size = name or str(path), size or CHUNK_BYTES
    held: list[bytes] = []
    left, first = size, 1
    try:
        with _open(path) as file:
            # Blocks up to the size, then the rest of a line.
            while part := file.read1(min(left, BLOCK_BYTES)) if left > 0 else file.readline():
                held.append(part)
                left -= len(part)
                if left <= 0 and part.endswith(b"\n"):
                    chunk = Chunk(name, first, b"".join(held))
                    yield chunk
                    held, left, first = [], size, first + chunk.data.count(b"\n")
    except UNREADABLE as error:
        whole = b"".join(held)
        whole = whole[: whole.rfind(b"\n") + 1]
        if whole:
            yield Chunk(name, first, whole)
        last = first - 1 + whole.count(b"\n")
        yield Damage(f"{unreadable(name, error)}, behind line {last:,}")
    else:
        if held:
            yield Chunk(name, first, b"".join(held))


def _open(path: Path) -> BufferedReader | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def ordered_map(
    function: Callable[[Any], Result],
    items: Iterator[Any],
    processes: int = 1,
    start: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """`function` of every item, in the order of the items, by that many processes.

    `start(*arguments)` runs once in each of them. No more than `AHEAD` items a process are read ahead. The
    result does not depend on the number of processes.
    """
    if processes <= 1:
        if start is not None:
            start(*arguments)
        yield from map(function, items)
        return
    with ProcessPoolExecutor(processes, initializer=start, initargs=arguments) as pool:
        waiting = []
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AHEAD * processes:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
