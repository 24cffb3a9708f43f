"""tables/rows.json: each row with the command that makes it again and the specs of all stages behind it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from qaprune.errors import InputError
from qaprune.report.checkpoints import FOLDER
from qaprune.report.columns import SCHEMA_VERSION, Row
from qaprune.report.provenance import Provenance
from qaprune.report.rows import name_of
from qaprune.stage import digest, read_stage

KEPT = ("stage", "spec", "git_commit", "packages", "compute", "seconds")
"""What is handed on of a stage's record."""


def rows_json(results: Path, rows: list[Row], origin: Provenance, data_root: str | None = None) -> str:
    """`rows`: run, row, command, and `stages`, the folders from the data to the row in the order they were
    made; `stages`: folder -> what it recorded. Folders that are gone, or changed since, are left out.

    Paths under `data_root` start with FOLDER, as in the commands: the table is for other machines too.
    """
    records, by_digest = _recorded(results)
    body, used = [], {}
    for row, entry in zip(rows, origin.origins, strict=True):
        folders = _behind(entry.folder, records, by_digest)
        used.update(dict.fromkeys(folders))
        line = {"run": entry.run, "row": name_of(row), "command": entry.command, "stages": folders}
        body.append(json.dumps(line))
    stages = [
        f"{json.dumps(folder)}: {json.dumps({key: records[folder].get(key) for key in KEPT})}"
        for folder in used
    ]
    if data_root:
        stages = [line.replace(f"{json.dumps(data_root)[:-1]}/", f'"{FOLDER}/') for line in stages]
    return (
        f'{{"schema_version": {SCHEMA_VERSION},\n"rows": [\n'
        + ",\n".join(body)
        + '\n],\n"stages": {\n'
        + ",\n".join(stages)
        + "\n}}\n"
    )


def _recorded(results: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """folder -> its record, and digest -> folder, of all stages of a results folder but the report."""
    records, by_digest = {}, {}
    for path in sorted(results.glob("*/**/stage.json")):
        with contextlib.suppress(InputError, KeyError):
            folder = path.parent.relative_to(results).as_posix()
            records[folder] = read_stage(path.parent)
            by_digest[digest(path.parent)] = folder
            if records[folder]["stage"] == "data":  # read split by split: a file's digest, not the stage's
                by_digest |= {digest(split): folder for split in path.parent.glob("*.jsonl.gz")}
    return records, by_digest


def _behind(folder: str, records: dict[str, dict[str, Any]], by_digest: dict[str, str]) -> list[str]:
    """A stage and all that it was made from, each after what it needs."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in found or name not in records:
            return
        inputs = records[name].get("inputs", {})
        for made in inputs.values():
            if made in by_digest:
                visit(by_digest[made])
        found[name] = None

    visit(folder)
    return list(found)
