"""How fast Natural Questions becomes training features, and in how much memory.

    python -m benchmarks.nq_reader [--megabytes 100 2000] [--threads 2] [--folder DIR]

Generates files of the simplified layout (uncompressed sizes), runs the stages `data` and `features` on each
as the DAG does, and prints for each: megabytes of input a second and core, from JSON lines to training
windows, by the clock and, for a machine that does something else too, by CPU seconds; the most memory that
all processes held together; and how the time of the largest file compares with that of the smallest, byte
for byte. Bars: 10 MB/s a core by the clock, 1.5 GB, no more than 1.25 times.

Pages are made up of invented words, of which few are frequent and most are rare as in any language, and of
numbers that hardly ever come again; they have the size of real ones. They are about as hard to read: of 100
tokens in 100 MB 3.1 are new words, in Wikipedia text of the same layout 1.8, but a megabyte has 114,000
tokens, there 165,000; that text took 3 % more CPU seconds with a real WordPiece vocabulary. Linux
alone tells the memory. Exit code 3: a bar was missed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RATE, MEMORY, GROWTH = 10.0, 1.5, 1.25
SEED = 7
TYPES = 150_000
"""Different words of the language; one token in a hundred is a number of its own."""
NUMBERS = 0.01
PARTS, PART_WORDS = 60, 90
"""Mean top-level parts of a page, and words of each."""
WINDOWS = {"length": 512, "stride": 128, "max_question_tokens": 64, "null_windows": 0.02}
SYLLABLES = [a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "in", "os")]


class Language:
    """Words of one to four syllables; the frequent ones are short."""

    def __init__(self, rng: np.random.Generator):
        found: dict[str, None] = {}
        while len(found) < TYPES:
            length = 1 + min(3, int(len(found) > 60) + int(len(found) > 3000) + int(len(found) > 40_000))
            found["".join(rng.choice(SYLLABLES, length))] = None
        self.words = np.array(list(found), dtype=object)
        shares = 1 / (np.arange(TYPES) + 2.7)
        self._upto = np.cumsum(shares / shares.sum())
        self._rng = rng

    def draw(self, count: int) -> list[str]:
        """That many words of a text."""
        places = np.searchsorted(self._upto, self._rng.random(count))
        words = self.words[np.minimum(places, TYPES - 1)].tolist()
        for at in np.flatnonzero(self._rng.random(count) < NUMBERS):
            words[at] = str(self._rng.integers(10**7))
        words[::12] = [word + "," for word in words[::12]]
        words[7::20] = ["." for _ in words[7::20]]
        return words


def page(rng: np.random.Generator, language: Language, number: int) -> dict[str, Any]:
    """One record: paragraphs, tables with rows, lists with entries; half of them answered."""
    tokens, candidates = ["<H1>", *language.draw(4), "</H1>"], []
    for _ in range(int(rng.integers(PARTS // 3, PARTS * 5 // 3))):
        kind = rng.choice(["P", "P", "P", "Table", "Ul"])
        start, outer = len(tokens), len(candidates)
        candidates.append({"start_token": start, "top_level": True, "end_token": -1})
        tokens.append(f"<{kind}>")
        inner = {"P": None, "Table": "Tr", "Ul": "Li"}[kind]
        words = language.draw(int(rng.integers(PART_WORDS // 3, PART_WORDS * 5 // 3)))
        if inner is None:
            tokens += words
        else:
            for first in range(0, len(words), 12):
                begin = len(tokens)
                tokens += [f"<{inner}>", *words[first : first + 12], f"</{inner}>"]
                candidates.append({"start_token": begin, "top_level": False, "end_token": len(tokens)})
        tokens.append(f"</{kind}>")
        candidates[outer]["end_token"] = len(tokens)
    long, shorts = {"start_token": -1, "candidate_index": -1, "end_token": -1}, []
    top = [n for n, candidate in enumerate(candidates) if candidate["top_level"]]
    if rng.random() < 0.5:
        index = int(rng.choice(top[:8]))
        chosen = candidates[index]
        long = {"candidate_index": index} | {key: chosen[key] for key in ("start_token", "end_token")}
        if rng.random() < 0.7:
            first = chosen["start_token"] + 2
            shorts = [{"start_token": first, "end_token": first + 2}]
    return {
        "document_text": " ".join(tokens),
        "long_answer_candidates": candidates,
        "question_text": " ".join(language.draw(9)),
        "annotations": [
            {"yes_no_answer": "NONE", "long_answer": long, "short_answers": shorts, "annotation_id": number}
        ],
        "document_url": f"https://example.org/{number}",
        "document_title": f"page {number}",
        "example_id": number,
    }


def write_pages(path: Path, megabytes: float) -> int:
    """Write pages until the file has that size; returns its bytes."""
    rng = np.random.default_rng(SEED)
    language = Language(rng)
    size = number = 0
    with path.open("w", encoding="utf-8") as file:
        while size < megabytes * 1e6:
            size += file.write(json.dumps(page(rng, language, number)) + "\n")
            number += 1
    return size


def write_encoder(folder: Path) -> None:
    """What features need of an encoder: a WordPiece tokenizer, learnt on pages, and its positions."""
    from transformers import BertConfig

    from qaprune.data.scratch import bert_tokenizer

    language = Language(np.random.default_rng(SEED))
    texts = [" ".join(language.draw(1000)) for _ in range(1000)]
    bert_tokenizer(texts, 8000, 512).save_pretrained(folder)
    BertConfig(max_position_embeddings=512).save_pretrained(folder)


class Cost(NamedTuple):
    """Of a stage: by the clock, of the cores, and the most that its processes held together."""

    seconds: float
    cpu_seconds: float
    gigabytes: float


def run(stage: str, spec: dict[str, Any], out: Path, options: dict[str, Any]) -> Cost:
    """Call a stage."""
    command = [sys.executable, "-m", "qaprune", stage, "--spec", json.dumps(spec), "--out", str(out)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    began, used, most = time.perf_counter(), cpu_seconds(), 0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stderr=said)
        while process.poll() is None:
            most = max(most, sum(held(pid) for pid in family(process.pid)))
            time.sleep(0.1)
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read().strip() or f"qaprune {stage}: exit code {process.returncode}")
    return Cost(time.perf_counter() - began, cpu_seconds() - used, most * 1024 / 1e9)


def cpu_seconds() -> float:
    """What all processes that were started from here and have ended took of the cores."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it has just ended
            continue
        for child in children:
            yield from family(int(child))


def held(pid: int) -> int:
    """Kilobytes of a process; what it shares with others is counted in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def measure(folder: Path, encoder: Path, dev: Path, megabytes: float, threads: int) -> tuple[float, float]:
    """Seconds a megabyte from a file of that size to its training features, and gigabytes held."""
    source = folder / f"pages-{megabytes:g}.jsonl"
    size = write_pages(source, megabytes) / 1e6
    spec = {
        "task": "nq",
        "train": {"path": str(source)},
        "dev": {"path": str(dev)},
        "holdout_share": 0.01,
        "full_dev": False,
        "on_bad_example": "fail",
        **dict.fromkeys(("train_questions", "holdout_questions", "dev_questions")),
    }
    data, features = folder / "data", folder / "features"
    first = run("data", spec, data, {"threads": threads})
    spec = {"architecture": "bert", "task": "nq", "windows": WINDOWS}
    inputs = {name: data / f"{name}.jsonl.gz" for name in ("train", "holdout", "dev")}
    second = run("features", spec, features, inputs | {"encoder": encoder, "threads": threads})
    source.unlink()
    seconds, cpu = first.seconds + second.seconds, first.cpu_seconds + second.cpu_seconds
    most = max(first.gigabytes, second.gigabytes)
    print(
        f"{size:8,.0f} MB  data {first.seconds:6.1f} s, features {second.seconds:6.1f} s: "
        f"{size / seconds / threads:5.1f} MB/s a core, {size / cpu:5.1f} MB a CPU second, {most:.2f} GB",
        flush=True,
    )
    return seconds / size, most


def main(argv: list[str] | None = None) -> int:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, nargs="+", default=[100, 2000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the files go for a while; the system's default")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_encoder(folder / "encoder")
        write_pages(folder / "dev.jsonl", 1)
        found = [
            measure(folder, folder / "encoder", folder / "dev.jsonl", size, args.threads)
            for size in sorted(args.megabytes)
        ]
    slowest = max(seconds for seconds, _ in found)
    most = max(held for _, held in found)
    growth = found[-1][0] / found[0][0]
    print(f"the largest file took {growth:.2f} times as long a megabyte as the smallest")
    return 3 if 1 / slowest / args.threads < RATE or most > MEMORY or growth > GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
