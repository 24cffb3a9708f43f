"""The stages `corpus`, `data`, `encoder` and `features`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from qaprune.data.examples import Example, read_examples, write_examples
from qaprune.data.features import WindowSettings, featurise, load_tokenizer, save_features
from qaprune.data.nq import write_nq_gold
from qaprune.data.sources import fetch_encoder, read_dataset
from qaprune.data.squad2 import write_squad2_gold
from qaprune.errors import InputError
from qaprune.models.encoder import WEIGHTS, architecture_of, read_config, require_weights
from qaprune.stage import digest

Log = Callable[[str], None]


def corpus(spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Log) -> dict[str, Any]:
    """Write the embedded corpus: both data sets in their official layouts, and its text."""
    from qaprune.data.embedded import write_corpus

    counts = write_corpus(out, spec["seed"], spec["train_questions"], spec["dev_questions"])
    return {"summary": ", ".join(f"{name} {count}" for name, count in sorted(counts.items())), **counts}


def data(spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Log) -> dict[str, Any]:
    """Prepare one data set: train and hold-out with answers, dev without, dev's gold apart."""
    task = spec["task"]
    train = [example for example, _ in read_dataset(task, _source(spec["train"], inputs), "train")]
    _require(train, spec["train"])
    train, holdout = split_holdout(train, spec["holdout_share"], mixed=task == "squad2")
    train = sample_questions(train, spec["train_questions"])
    holdout = sample_questions(holdout, spec["holdout_questions"])
    dev = list(read_dataset(task, _source(spec["dev"], inputs), "validation"))
    _require(dev, spec["dev"])
    sample = {
        example.id for example in sample_questions([example for example, _ in dev], spec["dev_questions"])
    }
    for name, examples in (("train", train), ("holdout", holdout)):
        write_examples(out / f"{name}.jsonl.gz", examples)
    # The sample comes first, so that rows scored on it alone read a prefix of the windows.
    dev = [row for row in dev if row[0].id in sample] + [
        row for row in dev if spec["full_dev"] and row[0].id not in sample
    ]
    write_examples(out / "dev.jsonl.gz", (replace(example, answers=()) for example, _ in dev))
    if task == "squad2":
        write_squad2_gold(out / "dev-gold.json.gz", (example for example, _ in dev))
    else:
        write_nq_gold(out / "dev-gold.json.gz", (record for _, record in dev))
    counts = {"train": len(train), "holdout": len(holdout), "dev_sample": len(sample), "dev": len(dev)}
    return {
        "summary": ", ".join(f"{name} {count:,}" for name, count in counts.items()),
        "digests": {split: _digest(_source(spec[split], inputs)) for split in ("train", "dev")},
        **counts,
    }


def _digest(source: dict[str, Any]) -> str | None:
    """Of a local file; a hub source is named by its revision."""
    path = Path(source["path"]) if "path" in source else None
    return digest(path) if path is not None and path.is_file() else source.get("revision")


def _source(source: dict[str, Any], inputs: dict[str, Path]) -> dict[str, Any]:
    if "scratch" in source:
        return {"path": str(inputs["corpus"] / source["scratch"])}
    return source


def _require(examples: list[Any], source: dict[str, Any]) -> None:
    if not examples:
        raise InputError(f"{source}: empty data set, expected at least one question")


def _rank(text: str) -> bytes:
    """A fixed pseudo-random order that does not depend on the file's order or on a seed."""
    return sha256(text.encode()).digest()


def split_holdout(
    examples: list[Example], share: float, mixed: bool = False
) -> tuple[list[Example], list[Example]]:
    """Cut off whole articles until at least `share` of the questions is held out.

    The same slice for every run of a data set: thresholds and choices read it, training never does. With
    `mixed` only articles with answerable and unanswerable questions are held out, where there are any:
    SQuAD 2.0's dev and test consist of such articles, a third of train's has no unanswerable question
    (Rajpurkar, Jia and Liang 2018, section 4), and a threshold chosen on those would answer everything.
    """
    by_article: dict[str, list[bool]] = {}
    for example in examples:
        by_article.setdefault(example.article, []).append(bool(example.answers))
    if len(by_article) < 2:
        raise InputError(
            "train: expected at least two articles (titles), to cut a hold-out slice from them"
        )
    order = sorted(by_article, key=_rank)
    if mixed:
        order = [article for article in order if len(set(by_article[article])) == 2] or order
    held: set[str] = set()
    count = 0
    for article in order if len(order) < len(by_article) else order[:-1]:
        if count >= share * len(examples):
            break
        held.add(article)
        count += len(by_article[article])
    train = [example for example in examples if example.article not in held]
    return train, [example for example in examples if example.article in held]


def sample_questions(examples: list[Example], count: int | None) -> list[Example]:
    """At most `count` questions by the fixed order, returned in the order of the file."""
    if count is None or count >= len(examples):
        return examples
    chosen = set(sorted((example.id for example in examples), key=_rank)[:count])
    return [example for example in examples if example.id in chosen]


TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


def encoder(spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Log) -> dict[str, Any]:
    """Bring an encoder into the results folder: built from scratch, or copied from path or hub."""
    source = spec["source"]
    if "scratch" in source:
        from qaprune.data.scratch import build_encoder

        texts = (inputs["corpus"] / "corpus.txt").read_text(encoding="utf-8").splitlines()
        weights = spec.get("weights", True)
        build_encoder(spec["architecture"], texts, out, spec["seed"], **source["scratch"], weights=weights)
        if not weights:
            return {"summary": f"{spec['architecture']}, config and tokenizer alone"}
    else:
        _copy_checkpoint(fetch_encoder(source), out)
    found = architecture_of(read_config(out)["model_type"])
    if found != spec["architecture"]:
        raise InputError(f"models: architecture {spec['architecture']!r}, but the checkpoint is {found!r}")
    load_tokenizer(out)
    return {
        "summary": f"{found}, {(out / WEIGHTS).stat().st_size / 1e6:.1f} MB",
        "digest": digest(out / WEIGHTS),
    }


def _copy_checkpoint(folder: Path, out: Path) -> None:
    read_config(folder)
    require_weights(folder)
    for name in ("config.json", WEIGHTS, *TOKENIZER_FILES):
        if (folder / name).exists():
            shutil.copyfile(folder / name, out / name)
    if not (out / "tokenizer.json").exists():
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(folder, local_files_only=True).save_pretrained(out)


def copy_tokenizer(source: Path, out: Path) -> None:
    """A checkpoint is usable only with its tokenizer beside it."""
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, out / name)


def features(spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Log) -> dict[str, Any]:
    """Windowed features of train, hold-out and dev for one encoder's tokenizer; dev has no labels."""
    tokenizer = load_tokenizer(inputs["encoder"])
    settings = WindowSettings(**spec["windows"])
    counts, answerable = {}, 0.0
    for split in ("train", "holdout", "dev"):
        examples = list(read_examples(inputs[split]))
        if split == "train":
            answerable = sum(bool(example.answers) for example in examples) / max(1, len(examples))
        # Only training drops null windows: hold-out and dev see every window of a question.
        windows = settings if split == "train" else replace(settings, null_windows=1.0)
        made = featurise(examples, tokenizer, spec["architecture"], windows, labels=split != "dev")
        # The hold-out must know what train is like: it is cut from a part of its articles alone.
        meta = made.meta | {"answerable": round(answerable, 6)}
        save_features(out / f"{split}.safetensors", replace(made, meta=meta))
        counts[split] = made.windows
    summary = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    return {"summary": f"windows: {summary}", "windows": counts}
