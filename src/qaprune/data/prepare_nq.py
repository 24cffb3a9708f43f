"""Natural Questions made ready: checked, split by document, dev's annotations put apart.

Never all in memory: files are read twice, once to check every line and learn its id and document, from
which the split follows, once to write each line where it belongs. Both passes work on chunks of lines, in
several processes.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from qaprune.data.lines import Chunk, Damage, chunks, ordered_map, shards
from qaprune.data.nq import check_readable, page_of
from qaprune.data.nq_layouts import check_record, simplified, simplify_hub_row
from qaprune.data.split import sample_questions, split_holdout
from qaprune.errors import InputError
from qaprune.jsonfile import parse_object

SHOWN = 10
"""Bad examples that are listed; the others are counted."""
FILES = {
    "train": "train.jsonl.gz",
    "holdout": "holdout.jsonl.gz",
    "dev": "dev.jsonl.gz",
    "gold": "dev-gold.json.gz",
}


Target = tuple[str, bool] | None
"""Where a line goes, and whether it is in the simplified layout; None: nowhere."""


class Row(NamedTuple):
    """What the split needs to know of a line."""

    id: str
    article: str
    where: str
    simplified: bool


@dataclass
class Bad:
    """Lines that are no good examples. By default the first one ends the run."""

    skip: bool
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, error: str) -> None:
        """Count a bad line, or raise it."""
        if not self.skip:
            raise InputError(error)
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(error)


def prepare_nq(
    spec: dict[str, Any], sources: dict[str, dict[str, Any]], out: Path, processes: int
) -> dict[str, Any]:
    """Write train, hold-out, dev without annotations (the sample first) and dev's gold; return the counts.

    `sources`: of train and dev, each a path (file or folder of shards) or a hub name.
    """
    bad = Bad(spec["on_bad_example"] == "skip")
    with _local(sources["train"], "train", out) as files:
        rows = survey(files, bad, processes, labels=True)
        found = _examples(rows, files)
        train, holdout = split_holdout(found, spec["holdout_share"])
        place = {row.id: "train" for row in sample_questions(train, spec["train_questions"])}
        place |= {row.id: "holdout" for row in sample_questions(holdout, spec["holdout_questions"])}
        counts = _write(files, rows, place, out, processes, routed)
    with _local(sources["dev"], "validation", out) as files:
        rows = survey(files, bad, processes, labels=False)
        found = _examples(rows, files)
        place = {row.id: "rest" for row in found} if spec["full_dev"] else {}
        place |= {row.id: "sample" for row in sample_questions(found, spec["dev_questions"])}
        places = ("sample", "sample-gold", "rest", "rest-gold")
        counts |= _write(files, rows, place, out, processes, without_gold, places)
    # The sample comes first, so that rows scored on it alone read a prefix of the windows.
    for name, parts in (("dev", ("sample", "rest")), ("gold", ("sample-gold", "rest-gold"))):
        with (out / FILES[name]).open("wb") as target:
            for part in (out / f"{part}.part" for part in parts):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target)
                part.unlink()
    for name in ("train", "holdout"):
        (out / f"{name}.part").rename(out / FILES[name])
    return {
        "train": counts["train"],
        "holdout": counts["holdout"],
        "dev_sample": counts["sample"],
        "dev": counts["sample"] + counts["rest"],
        "bad_examples": bad.count,
        "bad_examples_first": bad.first,
    }


@contextmanager
def _local(source: dict[str, Any], split: str, out: Path) -> Iterator[list[tuple[Path, str]]]:
    """The files of a source with their names in messages; the hub's rows are first written to a file."""
    if "path" in source:
        yield [(path, str(path)) for path in shards(Path(source["path"]))]
        return
    from qaprune.data.sources import hub_errors, hub_rows

    spool = out / f"{split}.spool.gz"
    with gzip.open(spool, "wt", compresslevel=1, encoding="utf-8") as file:
        with hub_errors(source["hub"]):
            rows = iter(hub_rows(source, split))
        while True:
            with hub_errors(source["hub"]):
                row = next(rows, None)
            if row is None:
                break
            file.write(json.dumps(_simplified_row(row)) + "\n")
    try:
        yield [(spool, f"{source['hub']}: {split}")]
    finally:
        spool.unlink()


def _simplified_row(row: Any) -> dict[str, Any]:
    try:
        return simplify_hub_row(row)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return {}  # a line without any key: the survey names it


def survey(files: list[tuple[Path, str]], bad: Bad, processes: int, labels: bool) -> list[Row | None]:
    """A row for every line of the files in their order, None for a bad one.

    With `labels` (train) an answer must be text that a model reads; without (dev) there must be some.
    """
    rows: list[Row | None] = []
    seen: dict[str, str] = {}
    for found in ordered_map(partial(survey_chunk, labels=labels), _all_chunks(files), processes):
        for row in found:
            if isinstance(row, Row) and row.id in seen:
                row = f"{row.where}: example_id {row.id} again; it is also in {seen[row.id]}"
            if isinstance(row, Row):
                seen[row.id] = row.where
                rows.append(row)
            else:
                bad.add(row)
                rows.append(None)
    return rows


def survey_chunk(chunk: Chunk | Damage, labels: bool) -> list[Row | str]:
    """A row for each line of a chunk, or what is wrong with it."""
    if isinstance(chunk, Damage):
        return [chunk.error]
    return [_survey_line(line, where, labels) for where, line in chunk.lines()]


def _survey_line(line: bytes, where: str, labels: bool) -> Row | str:
    try:
        given = parse_object(line, where)
        record = simplified(given, where)
        check_record(record, where)
        if not labels and not record["annotations"]:
            raise InputError(f"{where}: annotations: expected at least one of a dev example")
        check_readable(record, where, labels)
    except InputError as error:
        return str(error)
    return Row(str(record["example_id"]), page_of(record), where, record is given)


def _all_chunks(files: list[tuple[Path, str]]) -> Iterator[Chunk | Damage]:
    for path, name in files:
        yield from chunks(path, name)


def _examples(rows: Iterable[Row | None], files: list[tuple[Path, str]]) -> list[Row]:
    found = [row for row in rows if row is not None]
    if not found:
        raise InputError(f"{files[0][1]}: empty data set, expected at least one example")
    return found


def _write(
    files: list[tuple[Path, str]],
    rows: list[Row | None],
    place: dict[str, str],
    out: Path,
    processes: int,
    work: Callable[[Any], dict[str, bytes]],
    places: tuple[str, ...] = ("train", "holdout"),
) -> dict[str, int]:
    """Write every placed line to `PLACE.part`, gzipped chunk by chunk; how many went to each place."""
    left = iter(rows)

    def items() -> Iterator[tuple[Chunk, list[Target]]]:
        for chunk in _all_chunks(files):
            if isinstance(chunk, Damage):
                next(left)
            else:
                yield chunk, [target(next(left)) for _ in chunk.lines()]

    def target(row: Row | None) -> Target:
        return (place[row.id], row.simplified) if row is not None and row.id in place else None

    with _parts(out, places) as targets:
        for written in ordered_map(work, items(), processes):
            for name, data in written.items():
                targets[name].write(data)
    return {name: sum(where == name for where in place.values()) for name in places}


@contextmanager
def _parts(out: Path, places: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    targets = {name: (out / f"{name}.part").open("wb") for name in places}
    try:
        yield targets
    finally:
        for target in targets.values():
            target.close()


def routed(item: tuple[Chunk, list[Target]]) -> dict[str, bytes]:
    """The lines of a chunk by place, gzipped; those of the simplified layout as they are."""
    chunk, targets = item
    lines: dict[str, list[bytes]] = {}
    for (where, line), target in zip(chunk.lines(), targets, strict=True):
        if target:
            name, as_it_is = target
            lines.setdefault(name, []).append(
                line.rstrip(b"\r") + b"\n" if as_it_is else _dumped(simplified(json.loads(line), where))
            )
    return _gzipped(lines)


def without_gold(item: tuple[Chunk, list[Target]]) -> dict[str, bytes]:
    """The lines of a chunk of dev by place, without annotations; under `PLACE-gold` without their texts."""
    chunk, targets = item
    lines: dict[str, list[bytes]] = {}
    for (where, line), target in zip(chunk.lines(), targets, strict=True):
        if target:
            record = simplified(json.loads(line), where)
            gold = {key: value for key, value in record.items() if key != "document_text"}
            lines.setdefault(target[0], []).append(_dumped(record | {"annotations": []}))
            lines.setdefault(f"{target[0]}-gold", []).append(_dumped(gold))
    return _gzipped(lines)


def _dumped(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _gzipped(lines: dict[str, list[bytes]]) -> dict[str, bytes]:
    """Each a gzip member of its own, without a time stamp: put together they are one file."""
    pack = partial(gzip.compress, compresslevel=1, mtime=0)
    return {name: pack(b"".join(found)) for name, found in lines.items()}
