"""The stages `teacher` and `recover`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from qaprune.data.features import Features, load_features
from qaprune.data.sources import fetch_encoder
from qaprune.errors import InputError
from qaprune.evaluate.holdout import Holdout
from qaprune.models.checkpoint import read_variant, save_checkpoint
from qaprune.models.encoder import load_model, read_config, require_span_head
from qaprune.train.compute import start
from qaprune.train.loop import FitResult, fit
from qaprune.train.predict import predict_logits

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
        check_teacher(source, inputs["encoder"])
        log(f"{spec['label']}: {source} taken as it is; it may have been trained on the hold-out")
    model = load_model(source, compute.attention, settings["dropout"])
    steps = None
    if not given:
        steps = fit(
            model, train, settings, spec["run"]["seed"], compute, out / "train.jsonl", spec["label"]
        )
    holdout = _holdout(spec, inputs)
    threshold, f1 = holdout.fit_threshold(model, compute)
    # Without a distilled student the file stays empty: the rule has promised one.
    logits = (
        predict_logits(model, train, compute) if spec["teacher_logits"] else np.empty((0, 2), np.float32)
    )
    save_logits(out / "logits.safetensors", logits)
    variant = {"variant": "teacher", "holdout_f1": round(f1, 4), "threshold": threshold, **_cost(steps)}
    save_checkpoint(model, out, inputs["encoder"], threshold, holdout.windows, variant)
    return {"summary": _summary(steps, f1), **variant}


def check_teacher(checkpoint: Path, encoder: Path) -> None:
    """An existing teacher must have a span head and read the same tokens as the model's encoder.

    Its features come from the encoder's tokenizer, and a missing head would be initialised at random.
    """
    found, expected = (read_config(folder) for folder in (checkpoint, encoder))
    for key in ("model_type", "vocab_size"):
        if found.get(key) != expected.get(key):
            raise InputError(
                f"{checkpoint}: {key} {found.get(key)!r}; the model's source has {expected.get(key)!r}"
            )
    require_span_head(checkpoint)


def _cost(steps: FitResult | None) -> dict[str, Any]:
    if steps is None:
        return {}
    return {"teacher_tokens": steps.tokens, "teacher_seconds": round(steps.seconds, 2)}


def save_logits(path: Path, logits: np.ndarray) -> None:
    """Flat logits [T, 2], float32."""
    save_file({"logits": logits}, path)


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
    (`distilled`); for `teacher+`, the unpruned teacher on gold labels by the same schedule."""
    compute = start(spec["compute"], spec["run"]["seed"])
    train = load_features(inputs["features"] / "train.safetensors")
    settings, kind = spec["training"], spec["kind"]
    if kind == "distilled" and "logits" not in inputs:
        raise InputError("expected --logits, the teacher's, to distil from")
    before = read_variant(inputs["model"])
    if settings.get("include_gate"):
        settings = settings | {"epochs": epochs_left(settings["epochs"], train, before)}
    model = load_model(inputs["model"], compute.attention, settings["dropout"])
    logits = load_file(inputs["logits"])["logits"] if kind == "distilled" else None
    steps = fit(
        model, train, settings, spec["run"]["seed"] + 1, compute, out / "train.jsonl", spec["label"], logits
    )
    holdout = _holdout(spec, inputs)
    threshold, f1 = holdout.fit_threshold(model, compute)
    variant = before | {
        "variant": kind,
        "holdout_f1": round(f1, 4),
        "threshold": threshold,
        "train_tokens": before.get("train_tokens", 0) + steps.tokens,
        "recover_seconds": round(steps.seconds, 2),
    }
    save_checkpoint(model, out, inputs["model"], threshold, holdout.windows, variant)
    return {"summary": _summary(steps, f1), **variant}
