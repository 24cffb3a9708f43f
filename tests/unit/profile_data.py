"""Tiny inputs of the stage `profile`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qaprune.data.examples import Example
from qaprune.data.features import Features, save_features
from qaprune.data.prepared import write_examples

SPEC = {
    "cells": [{"batch": 2, "length": 32}, {"batch": 1, "length": 16}],
    "dtype": ["auto"],
    "backend": ["eager"],
    "compile": ["off"],
    "rounds": 5,
    "warmup": {"least": 2, "most": 3, "cv_percent": 1e6},
    "min_seconds": 0,
    "threads": 1,
    "seed": 3,
    "device": "cpu",
    "foreign_processes": "abort",
    "untrained": None,
    "run": {"model": "tiny", "dataset": "squad2", "seed": 3},
    "windows": {"length": 16, "stride": 4, "max_question_tokens": 6},
    "max_answer_tokens": 4,
}

WORDS = ["who", "what", "bought", "sold", "the", "red", "old", "house", "boat", "of", "mara", "kell"]


def write_tokenizer(path: Path) -> None:
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path))


def write_dev(path: Path) -> Path:
    """Six questions without answers, two of them on a context of several windows."""
    contexts = ["mara bought the old house", "kell sold the red boat of mara " * 3]
    write_examples(
        path,
        [Example(f"q{n}", "who bought the house", contexts[n % 3 == 0], f"p{n}", "a") for n in range(6)],
    )
    return path


def tiny_features() -> Features:
    """Six questions in nine windows of 10 to 18 tokens."""
    lengths = np.arange(10, 19)
    row_ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens, windows = int(row_ptr[-1]), len(lengths)
    return Features(
        input_ids=(np.arange(tokens) % 50).astype(np.int32),
        char_start=np.zeros(tokens, np.int32),
        char_end=np.zeros(tokens, np.int32),
        row_ptr=row_ptr,
        context_start=np.full(windows, 5, np.int32),
        context_end=lengths.astype(np.int32),
        question_index=np.array([0, 0, 1, 1, 2, 2, 3, 4, 5], np.int32),
        start_position=np.empty(0, np.int32),
        end_position=np.empty(0, np.int32),
        ids=[f"q{number}" for number in range(6)],
        groups=[f"p{number}" for number in range(6)],
        meta={"architecture": "bert", "pad_id": 0, "length": 32, "stride": 4},
    )


def write_checkpoints(folder: Path) -> tuple[Path, dict[str, Path]]:
    """A features file, a teacher of four layers and a variant of one."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    variants = {}
    torch.manual_seed(0)
    for key, layers in (("teacher", 4), ("l0-h50-f50/pruned", 1)):
        config = BertConfig(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        variants[key] = folder / key.replace("/", "-")
        BertForQuestionAnswering(config).save_pretrained(variants[key])
        write_tokenizer(variants[key] / "tokenizer.json")
    save_features(folder / "dev.safetensors", tiny_features())
    return folder / "dev.safetensors", variants
