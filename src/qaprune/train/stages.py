"""The stages `teacher` and `recover`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from qaprune.data.features import Features, FlatLogits, load_features
from qaprune.data.nq import ANSWER_TYPES
from qaprune.data.sources import fetch_encoder
from qaprune.data.structure import add_structure_tokens
from qaprune.data.windows import load_tokenizer
from qaprune.errors import InputError
from qaprune.evaluate.holdout import Holdout
from qaprune.models.checkpoint import read_variant, save_checkpoint
from qaprune.models.encoder import (
    WEIGHTS,
    architecture_of,
    load_model,
    read_config,
    require_span_head,
    require_whole,
    shape_of_config,
)
from qaprune.models.rebuild import with_answer_types
from qaprune.stage import digest
from qaprune.train.checkpoints import of_stage
from qaprune.train.compute import Compute, start
from qaprune.train.loop import FitResult, Job, fit
from qaprune.train.predict import load_logits, predict_logits, save_logits

Log = Callable[[str], None]


def _holdout(spec: dict[str, Any], inputs: dict[str, Path]) -> Holdout:
    return Holdout(
        inputs["features"] / "holdout.safetensors",
        inputs["holdout"],
        spec["task"],
        spec["max_answer_tokens"],
    )


def _summary(steps: FitResult | None, f1: float) -> str:
    trained = f"{steps.steps} steps, {steps.tokens / steps.seconds:,.0f} tokens/s, " if steps else ""
    return f"{trained}hold-out F1 {f1:.1f}"


def teacher(spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Log) -> dict[str, Any]:
    """Fine-tune an encoder into the unpruned teacher, or take an existing checkpoint as it is.

    Also writes the teacher's logits over the training windows, which all distillation of the run reads.
    """
    compute = start(spec["compute"], spec["run"]["seed"])
    given = spec["checkpoint"]
    train = load_features(inputs["features"] / "train.safetensors")
    settings = spec["training"]
    source = inputs["encoder"]
    if given:
        source = fetch_encoder(given)
        check_teacher(source, inputs["encoder"], spec["task"], train.meta)
        log(f"{spec['label']}: {source} taken as it is; it may have been trained on the hold-out")
    model = load_model(source, compute.attention, settings["dropout"])
    if spec["task"] == "nq":
        model = with_answer_types(model, len(ANSWER_TYPES), train.meta["vocabulary"], spec["run"]["seed"])
    steps = None
    if not given:
        checkpoints, seed = of_stage(out, spec, inputs), spec["run"]["seed"]
        log_file = out / "train.jsonl"
        job = Job(train, seed, compute, log_file, spec["label"], checkpoints=checkpoints)
        steps = fit(model, job, settings)
    holdout = _holdout(spec, inputs)
    # Without a distilled student the file stays empty: the rule has promised one.
    none = FlatLogits(np.empty((0, 2), np.float32))
    logits = predict_logits(model, train, compute) if spec["teacher_logits"] else none
    save_logits(out / "logits.safetensors", logits)
    variant = {"variant": "teacher", **holdout.fit(model, compute), **_cost(steps)}
    save_checkpoint(model, out, inputs["encoder"], holdout.windows, variant)
    if spec["task"] == "nq":
        add_structure_tokens(load_tokenizer(inputs["encoder"])).save(str(out / "tokenizer.json"))
    read = {"digest": digest(source / WEIGHTS)} if given else {}
    return {"summary": _summary(steps, variant["holdout_f1"]), **variant, **read}


def check_teacher(checkpoint: Path, encoder: Path, task: str, meta: dict[str, Any]) -> None:
    """An existing teacher must have all heads and read the same tokens as the model's encoder.

    Its features come from the encoder's tokenizer, and a missing head would be initialised at random.
    """
    found, expected = (read_config(folder) for folder in (checkpoint, encoder))
    kinds = [architecture_of(config["model_type"]) for config in (found, expected)]
    if kinds[0] != kinds[1]:
        raise InputError(f"{checkpoint}: model_type {kinds[0]!r}; the model's source has {kinds[1]!r}")
    vocabulary = meta.get("vocabulary", expected["vocab_size"])
    if found["vocab_size"] != vocabulary:
        raise InputError(
            f"{checkpoint}: vocab_size {found['vocab_size']}; the data set's features have {vocabulary}"
        )
    if task == "nq" and found.get("answer_types") != len(ANSWER_TYPES):
        raise InputError(
            f"{checkpoint}: no answer types; expected a teacher that this suite trained for this task"
        )
    require_whole(checkpoint)
    if shape_of_config(found) != shape_of_config(expected):
        raise InputError(f"{checkpoint}: other layers or widths than the model's source has")
    require_span_head(checkpoint)


def _cost(steps: FitResult | None) -> dict[str, Any]:
    if steps is None:
        return {}
    return {"teacher_tokens": steps.tokens, "teacher_seconds": round(steps.seconds, 2)}


def epochs_left(epochs: float, train: Features, variant: dict[str, Any]) -> float:
    """What choosing its mask left a row of the epochs that gate and recovery have together."""
    read = variant.get("train_tokens", 0)
    left = epochs - read / int(train.lengths().sum())
    if left <= 0:
        raise InputError(
            f"recovery.include_gate: {variant.get('criterion')} read {read:,} tokens for its mask; "
            "expected fewer than recovery.training.epochs has"
        )
    return left


def recover(spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Log) -> dict[str, Any]:
    """Continue training a sliced model, on gold labels (`retrained`) or also on the teacher's logits
    (`distilled`), and on its hidden states where the settings have a `hidden_weight`; for `teacher+`, the
    unpruned teacher on gold labels by the same schedule."""
    compute = start(spec["compute"], spec["run"]["seed"])
    train = load_features(inputs["features"] / "train.safetensors")
    settings, kind = spec["training"], spec["kind"]
    if kind == "distilled" and "logits" not in inputs:
        raise InputError("expected --logits, the teacher's, to distil from")
    logits = load_logits(inputs["logits"]) if kind == "distilled" else None
    if logits is not None and not len(logits.spans):
        raise InputError(f"{inputs['logits']}: no logits, for the config distils nothing from this teacher")
    before = read_variant(inputs["model"])
    if settings.get("include_gate"):
        settings = settings | {"epochs": epochs_left(settings["epochs"], train, before)}
    model = load_model(inputs["model"], compute.attention, settings["dropout"])
    checkpoints, seed = of_stage(out, spec, inputs), spec["run"]["seed"] + 1
    job = Job(train, seed, compute, out / "train.jsonl", spec["label"], logits, checkpoints)
    steps = fit(model, job, settings, _teacher_layers(spec, inputs, compute))
    holdout = _holdout(spec, inputs)
    variant = before | {
        "variant": kind,
        **holdout.fit(model, compute),
        "train_tokens": before.get("train_tokens", 0) + steps.tokens,
        "recover_seconds": round(steps.seconds, 2),
    }
    save_checkpoint(model, out, inputs["model"], holdout.windows, variant)
    return {"summary": _summary(steps, variant["holdout_f1"]), **variant}


def _teacher_layers(spec: dict[str, Any], inputs: dict[str, Path], compute: Compute) -> nn.Module | None:
    """The teacher, where its hidden states are asked for: too many to keep, it computes along."""
    if not spec["training"].get("hidden_weight"):
        return None
    if "teacher" not in inputs:
        raise InputError("expected --teacher, whose hidden states recovery.hidden_weight asks for")
    return load_model(inputs["teacher"], compute.attention, 0.0).to(compute.device)
