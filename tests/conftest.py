"""Shared small models and data. Nothing here reaches the network."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# How long an example takes depends on what else the machine does; and the same tests run every time.
settings.register_profile("qaprune", deadline=None, derandomize=True)
settings.load_profile("qaprune")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Two workers on two cores: more threads would only wait for each other."""
    import torch

    torch.set_num_threads(1)


def make_model(
    architecture: str,
    seed: int = 0,
    dtype: str = "float32",
    layers: int = 3,
    scale: float = 0.3,
    types: int = 0,
    **changes,
):
    """A tiny question-answering model with every parameter random (fresh ones hide lost biases)."""
    import torch
    import transformers

    from qaprune.models.rebuild import with_answer_types

    shape = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "max_position_embeddings": 48,
    } | changes
    kind = {"bert": "Bert", "roberta": "Roberta"}[architecture]
    config = getattr(transformers, f"{kind}Config")(**shape)
    model = getattr(transformers, f"{kind}ForQuestionAnswering")(config)
    if types:
        model = with_answer_types(model, types, config.vocab_size, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight += 1 - scale
    return model.to(getattr(torch, dtype)).eval()


def types_of(architecture: str) -> int:
    """Answer types of the models of contract tests: RoBERTa's have them, BERT's have spans alone."""
    return 5 if architecture == "roberta" else 0


def closed_mask():
    """For `make_model`: one layer without heads, another without units, half of the hidden width."""
    from qaprune.prune.mask import Mask

    heads = tuple(np.array(row, np.float32) for row in ([1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]))
    ff = tuple((np.arange(24) % 2 == 0).astype(np.float32) * (layer != 2) for layer in range(3))
    return Mask(heads, ff, (np.arange(32) % 2).astype(np.float32))


def make_features(seed: int = 0, windows: int = 24, architecture: str = "bert", types: int = 0):
    """Windows of 12 to 30 random tokens, two a question for every third one. Token 59 stands where the
    answer starts and 58 where it ends, so that a model can learn the labels. With `types` answers are of
    type 3."""
    from qaprune.data.features import Features

    generator = np.random.default_rng(seed)
    lengths = generator.integers(12, 31, windows)
    questions = (np.arange(windows) * 3 // 4).astype(np.int32)
    start = np.array([generator.integers(5, length - 3) for length in lengths], np.int32)
    end = start + generator.integers(0, 2, windows).astype(np.int32)
    nulls = generator.random(windows) < 0.3
    total = int(lengths.sum())
    row_ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = generator.integers(5, 58, total).astype(np.int32)
    ids[(row_ptr[:-1] + end)[~nulls]] = 58
    ids[(row_ptr[:-1] + start)[~nulls]] = 59
    return Features(
        input_ids=ids,
        char_start=np.arange(total, dtype=np.int32),
        char_end=np.arange(total, dtype=np.int32) + 1,
        row_ptr=row_ptr,
        context_start=np.full(windows, 4, np.int32),
        context_end=(lengths - 1).astype(np.int32),
        question_index=questions,
        start_position=np.where(nulls, 0, start).astype(np.int32),
        end_position=np.where(nulls, 0, end).astype(np.int32),
        answer_type=np.where(nulls, 0, 3).astype(np.int32)[: windows * (types > 0)],
        ids=[f"q{i}" for i in range(int(questions[-1]) + 1)],
        groups=[f"g{i // 2}" for i in range(int(questions[-1]) + 1)],
        meta={
            "architecture": architecture,
            "pad_id": 0 if architecture == "bert" else 1,
            "length": 32,
            "stride": 4,
            "answerable": 0.7,
        },
    )


@pytest.fixture(scope="session")
def trained_weights(tmp_path_factory) -> dict:
    """Weights of tiny teachers that have learnt the labels of `make_features`, by architecture."""
    from qaprune.train.compute import start
    from qaprune.train.loop import Job, fit

    compute = start({"device": "cpu", "dtype": "float32", "attention": "eager", "threads": 1}, 3)
    settings = {
        "epochs": 150,
        "lr": 3e-3,
        "warmup": 0.1,
        "batch_tokens": 256,
        "weight_decay": 0.0,
        "clip": 1.0,
    }
    log, found = tmp_path_factory.mktemp("trained") / "log.jsonl", {}
    for architecture in ("bert", "roberta"):
        types = types_of(architecture)
        model = make_model(architecture, scale=0.1, types=types)
        features = make_features(architecture=architecture, types=types)
        result = fit(model, Job(features, 3, compute, log, architecture), settings)
        assert result.loss < 0.5
        found[architecture] = model.state_dict()
    return found
