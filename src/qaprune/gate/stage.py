"""The stage `gate`: run one criterion on a run's teacher and keep its scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from qaprune.budget import parse_budget
from qaprune.errors import InputError
from qaprune.gate.registry import KINDS, VALUES, GateTask, Scores, load_criterion
from qaprune.models.encoder import EncoderShape, read_config, shape_of_config
from qaprune.prune.costs import as_shares
from qaprune.prune.select import costs_of, multiples

SEED_STEP = 1_000_003
"""Between the seeds of a criterion's trainings: away from those of other runs, which are small numbers."""
TRAINED_WEIGHTS = "weights.safetensors"
"""Beside the scores of a criterion that trains weights: the teacher's tensors as they ended."""


def gate(
    spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Callable[[str], None]
) -> dict[str, Any]:
    """Write `scores.safetensors`: heads [draws, layers, heads], ff [draws, layers, units] and, where a
    budget asks for it, hidden [draws, hidden width]; a criterion that trains weights leaves those beside.
    """
    criterion = load_criterion(spec["criterion"], spec.get("settings"))
    shape = shape_of_config(read_config(inputs["teacher"]))
    task = GateTask(shape, spec["settings"], spec["run"]["seed"], log=log, hidden=spec.get("hidden", False))
    if spec["budget"]:
        asked = parse_budget(spec["budget"])
        costs = costs_of(asked, shape, spec["length"], inputs["teacher"], inputs.get("latency"))
        task = replace(
            task,
            budget=as_shares(asked, costs),
            asked=asked,
            costs=costs,
            round_to=multiples(spec),
            hidden=asked.hidden is not None,
        )
    earlier: list[float] = []
    if criterion.needs_model:
        task = _with_model(task, spec, inputs, out, earlier)
    began = time.perf_counter()
    scores = criterion.score(task)
    if criterion.trains_weights:
        from safetensors.torch import save_model

        save_model(task.model.to("cpu"), out / TRAINED_WEIGHTS)
    seconds = time.perf_counter() - began + sum(earlier) if criterion.needs_model else 0.0
    check_scores(scores, shape, spec["criterion"])
    save_scores(out / "scores.safetensors", scores)
    return {
        "summary": f"{scores.heads.shape[0]} draw(s), {scores.passes:,.0f} passes in {seconds:.1f} s",
        "gate_seconds": round(seconds, 2),
        "gate_passes": scores.passes,
        "gate_tokens": scores.tokens,
    }


def _with_model(
    task: GateTask, spec: dict[str, Any], inputs: dict[str, Path], out: Path, earlier: list[float]
) -> GateTask:
    """The task with its model and what trains it; seconds of killed processes go into `earlier`."""
    from qaprune.data.features import load_features
    from qaprune.models.encoder import load_model
    from qaprune.train.batches import train_batches
    from qaprune.train.checkpoints import of_stage
    from qaprune.train.compute import start
    from qaprune.train.loop import FitResult, Job, train
    from qaprune.train.objectives import Objective
    from qaprune.train.predict import load_logits

    compute = start(spec["compute"], task.seed)
    windows = load_features(inputs["features"] / "train.safetensors")
    training = spec.get("training")
    dropout = training["dropout"] if training else 0.0  # where weights train along, as in recovery
    model = load_model(inputs["teacher"], compute.attention, dropout).to(compute.device)

    logits = None
    if training and "temperature" in training:
        logits = load_logits(inputs["teacher"] / "logits.safetensors")

    def batches(tokens: int, number: int | None, seed: int):
        return train_batches(windows, tokens, seed, compute.device, number, logits)

    numbers = count()

    def fit(objective: Objective, settings: Mapping[str, Any]) -> FitResult:
        number = next(numbers)
        name = f"train-{number}" if number else "train"
        log_file, checkpoints = out / f"{name}.jsonl", of_stage(out, spec, inputs, name)
        # Each training draws its own batches: parts of an epoch would else be the same part each time.
        seed = task.seed + SEED_STEP * number
        job = Job(windows, seed, compute, log_file, spec["label"], logits, checkpoints)
        result = train(objective, job, settings)
        earlier.append(result.before)
        return result

    return replace(
        task, model=model, batches=batches, autocast=compute.autocast, fit=fit, training=training
    )


def check_scores(scores: Scores, shape: EncoderShape, name: str) -> None:
    """Refuse scores of another shape or that are not numbers: the contract of every criterion."""
    expected_shapes = ((shape.layers, shape.heads[0]), (shape.layers, shape.ff[0]), (shape.hidden,))
    for kind, gates in zip(KINDS + VALUES, expected_shapes * 2, strict=True):
        array = getattr(scores, kind)
        if array is None:
            continue
        if array.shape[1:] != gates or not len(array):
            expected = f"[draws, {', '.join(map(str, gates))}]"
            raise InputError(
                f"criteria: {name}: {kind}: expected shape {expected}, got {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise InputError(f"criteria: {name}: {kind}: scores are not all numbers")


def save_scores(path: Path, scores: Scores) -> None:
    """Write the arrays that are there, float32."""
    arrays = {name: getattr(scores, name) for name in KINDS + VALUES if getattr(scores, name) is not None}
    tensors = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    save_file(tensors | {"decided": np.array([scores.decided], np.uint8)}, path)


def load_scores(path: Path) -> Scores:
    """Read a scores file."""
    if not path.exists():
        raise InputError(f"{path}: no such scores file")
    arrays = load_file(path)
    decided = bool(arrays.pop("decided", [0])[0])
    return Scores(**arrays, decided=decided)
