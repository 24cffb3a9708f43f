"""The stages `corpus`, `data`, `encoder` and `features`."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from qaprune.data.features import Features, write_features
from qaprune.data.lines import Chunk, Damage, chunks, ordered_map, shards
from qaprune.data.prepare_nq import prepare_nq
from qaprune.data.prepared import write_examples
from qaprune.data.sources import fetch_encoder, pinned, read_squad2_source
from qaprune.data.split import sample_questions, split_holdout
from qaprune.data.squad2 import write_squad2_gold
from qaprune.data.windows import SPLITS, load_tokenizer, make_featurisers, start_windows, windows_of
from qaprune.errors import InputError
from qaprune.models.encoder import (
    TOKENIZER_FILES,
    WEIGHTS,
    architecture_of,
    longest_input,
    read_config,
    require_weights,
    require_whole,
)
from qaprune.stage import digest, source_digest

Log = Callable[[str], None]


def corpus(spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Log) -> dict[str, Any]:
    """Write the embedded corpus: both data sets in their official layouts, and its text."""
    from qaprune.data.embedded import write_corpus

    counts = write_corpus(out, spec["seed"], spec["train_questions"], spec["dev_questions"])
    return {"summary": ", ".join(f"{name} {count}" for name, count in sorted(counts.items())), **counts}


def data(spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Log) -> dict[str, Any]:
    """Prepare one data set: train and hold-out with answers, dev without, dev's gold apart."""
    sources = {split: pinned(_source(spec[split], inputs)) for split in ("train", "dev")}
    if spec["task"] == "nq":
        counts = prepare_nq(spec, sources, out, inputs.get("threads", 1))
    else:
        counts = prepare_squad2(spec, sources, out)
    summary = ", ".join(f"{name} {count:,}" for name, count in counts.items() if isinstance(count, int))
    return {
        "summary": summary,
        "digests": {split: _digest(source) for split, source in sources.items()},
        **counts,
    }


def prepare_squad2(spec: dict[str, Any], sources: dict[str, dict[str, Any]], out: Path) -> dict[str, int]:
    """Write train, hold-out, dev without answers (the sample first) and dev's gold; return the counts."""
    train = list(read_squad2_source(sources["train"], "train"))
    _require(train, sources["train"])
    train, holdout = split_holdout(train, spec["holdout_share"], mixed=True)
    train = sample_questions(train, spec["train_questions"])
    holdout = sample_questions(holdout, spec["holdout_questions"])
    dev = list(read_squad2_source(sources["dev"], "validation"))
    _require(dev, sources["dev"])
    sample = {example.id for example in sample_questions(dev, spec["dev_questions"])}
    for name, examples in (("train", train), ("holdout", holdout)):
        write_examples(out / f"{name}.jsonl.gz", examples)
    # The sample comes first, so that rows scored on it alone read a prefix of the windows.
    dev = [example for example in dev if example.id in sample] + [
        example for example in dev if spec["full_dev"] and example.id not in sample
    ]
    write_examples(out / "dev.jsonl.gz", (replace(example, answers=()) for example in dev))
    write_squad2_gold(out / "dev-gold.json.gz", dev)
    return {"train": len(train), "holdout": len(holdout), "dev_sample": len(sample), "dev": len(dev)}


def _digest(source: dict[str, Any]) -> str:
    """Of a local file; a hub source is named by its commit."""
    if "path" not in source:
        return source["revision"]
    return ",".join(digest(file) for file in shards(Path(source["path"])))


def _source(source: dict[str, Any], inputs: dict[str, Path]) -> dict[str, Any]:
    if "scratch" in source:
        return {"path": str(inputs["corpus"] / source["scratch"])}
    return source


def _require(examples: list[Any], source: dict[str, Any]) -> None:
    if not examples:
        raise InputError(f"{source}: empty data set, expected at least one question")


def encoder(spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Log) -> dict[str, Any]:
    """Bring an encoder into the results folder: built from scratch, or copied from path or hub."""
    source = spec["source"]
    read = {}
    if "scratch" in source:
        from qaprune.data.scratch import build_encoder

        texts = (inputs["corpus"] / "corpus.txt").read_text(encoding="utf-8").splitlines()
        weights = spec.get("weights", True)
        build_encoder(spec["architecture"], texts, out, spec["seed"], **source["scratch"], weights=weights)
        if not weights:
            return {"summary": f"{spec['architecture']}, config and tokenizer alone"}
    else:
        folder = fetch_encoder(source)
        read = {"revision": folder.name} if "hub" in source else {}
        _copy_checkpoint(folder, out)
    found = architecture_of(read_config(out)["model_type"])
    if found != spec["architecture"]:
        raise InputError(f"models: architecture {spec['architecture']!r}, but the checkpoint is {found!r}")
    require_whole(out)
    load_tokenizer(out)
    files = [out / name for name in ("config.json", WEIGHTS, *TOKENIZER_FILES) if (out / name).exists()]
    return {
        "summary": f"{found}, {(out / WEIGHTS).stat().st_size / 1e6:.1f} MB",
        "digest": source_digest(out, files)[:16],
        **read,
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


def features(spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Log) -> dict[str, Any]:
    """Windowed features of train, hold-out and dev for one encoder's tokenizer; dev has no labels."""
    counts, facts = {}, {}
    length, most = spec["windows"]["length"], longest_input(read_config(inputs["encoder"]))
    if length > most:
        raise InputError(f"windows.length: {length} tokens; the encoder has positions for {most}")
    settings = (inputs["encoder"], spec["architecture"], spec["task"], spec["windows"])
    metas = {split: featuriser.meta for split, featuriser in make_featurisers(*settings).items()}
    # One after the other through the same processes: words that train has taught them are known in dev.
    made = ordered_map(windows_of, _split_chunks(inputs), inputs.get("threads", 1), start_windows, settings)
    for split in SPLITS:
        tally: Counter[str] = Counter()
        parts = takewhile(lambda part: part is not None, made)
        write_features(out / f"{split}.safetensors", _tallied(parts, tally), metas[split] | facts)
        if split == "train":
            # The hold-out must know what train is like: it is cut from a part of its articles alone.
            facts = {"answerable": round(tally["answered"] / max(1, tally["questions"]), 6)}
        counts[split] = tally["windows"]
    summary = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    return {"summary": f"windows: {summary}", "windows": counts}


def _split_chunks(inputs: dict[str, Path]) -> Iterator[tuple[str, Chunk | Damage] | None]:
    """The chunks of all splits, None behind each split's last."""
    for split in SPLITS:
        for chunk in chunks(inputs[split]):
            yield split, chunk
        yield None


def _tallied(made: Iterable[tuple[Features, int]], tally: Counter[str]) -> Iterator[Features]:
    for part, answered in made:
        tally.update(questions=part.questions, windows=part.windows, answered=answered)
        yield part
