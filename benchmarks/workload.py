"""The work that benchmarks time and whose exact figures are kept: from seeds, the same at each call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qaprune.budget import parse_budget
from qaprune.data import stages
from qaprune.data.prepared import read_examples
from qaprune.prune.mask import Mask, keep_highest

if TYPE_CHECKING:
    from torch import nn

    from qaprune.models.encoder import EncoderShape

THREADS = 1
"""Threads of every benchmark: another core is left for what else runs, so that less of it is timed."""
SEED = 13

SIZES = {
    "bert-2x128": (2, 128, 2, 512),
    "bert-6x384": (6, 384, 12, 1536),
    "bert-12x768": (12, 768, 12, 3072),
}
"""Layers, hidden width, heads and feed-forward units of the three sizes; the last one is bert-base."""
LARGE = {"bert-24x1024": (24, 1024, 16, 4096)}
"""bert-large, for what is not timed at every size."""

ARCHITECTURES = ("bert", "roberta")
DATASETS = ("squad2", "nq")
WINDOWS = {
    "squad2": {"length": 112, "stride": 32, "max_question_tokens": 32, "null_windows": 1.0},
    "nq": {"length": 96, "stride": 24, "max_question_tokens": 32, "null_windows": 0.25},
}
"""As in config/embedded.yaml today, but fixed here: a change of that config is not a change of the code."""
SCRATCH = {
    "vocab_size": 1500,
    "layers": 2,
    "hidden": 128,
    "heads": 8,
    "intermediate": 128,
    "max_positions": 128,
}


@dataclass(frozen=True)
class Embedded:
    """The first stages of the DAG, run on a small embedded corpus under `folder`."""

    folder: Path

    def encoder(self, architecture: str) -> Path:
        """The from-scratch encoder with its tokenizer."""
        return self.folder / "encoder" / architecture

    def features(self, architecture: str, dataset: str) -> Path:
        """The features folder of one encoder and data set."""
        return self.folder / "features" / f"{architecture}-{dataset}"

    def examples(self, dataset: str) -> list[Any]:
        """The training questions."""
        return list(read_examples(self.folder / "data" / dataset / "train.jsonl.gz"))


def make_embedded(folder: Path, questions: int) -> Embedded:
    """Run `corpus`, `data`, `encoder` and `features` on that many training questions a data set."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    made = Embedded(folder)
    spec = {"seed": 41, "train_questions": questions, "dev_questions": max(4, questions // 4)}
    stages.corpus(spec, {}, folder / "corpus", _silent)
    inputs = {"corpus": folder / "corpus"}
    for dataset in DATASETS:
        spec = {
            "task": dataset,
            "train": {"scratch": f"{dataset}/train.json" + "l" * (dataset == "nq")},
            "dev": {"scratch": f"{dataset}/dev.json" + "l" * (dataset == "nq")},
            "holdout_share": 0.02,
            "full_dev": False,
            "on_bad_example": "fail",
            **dict.fromkeys(("train_questions", "holdout_questions", "dev_questions")),
        }
        out = folder / "data" / dataset
        out.mkdir(parents=True)
        stages.data(spec, inputs, out, _silent)
    for architecture in ARCHITECTURES:
        spec = {"architecture": architecture, "source": {"scratch": SCRATCH}, "seed": SEED}
        stages.encoder(spec, inputs, made.encoder(architecture), _silent)
        for dataset in DATASETS:
            files = {
                split: folder / "data" / dataset / f"{split}.jsonl.gz"
                for split in ("train", "holdout", "dev")
            }
            out = made.features(architecture, dataset)
            out.mkdir(parents=True)
            spec = {"architecture": architecture, "task": dataset, "windows": WINDOWS[dataset]}
            stages.features(spec, files | {"encoder": made.encoder(architecture)}, out, _silent)
    return made


def _silent(line: str) -> None:
    """The stages' lines are for the person who watches a run."""


def untrained(size: str, device: str = "cpu") -> nn.Module:
    """A BERT of `SIZES` or `LARGE` with random weights; on the device `meta` it has shapes alone."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    layers, hidden, heads, units = (SIZES | LARGE)[size]
    config = BertConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=units,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(SEED)
        return BertForQuestionAnswering(config).eval()


def random_mask(shape: EncoderShape, budget: str) -> Mask:
    """What the criterion `random` would keep of an encoder: uneven layers, as after real pruning."""
    generator = np.random.default_rng(SEED)
    kept = parse_budget(budget)
    heads, ff = (
        keep_highest(tuple(generator.random(width) for width in widths), share)
        for widths, share in ((shape.heads, kept.heads), (shape.ff, kept.ff))
    )
    return Mask(heads, ff)
