"""Synthetic outputs of `evaluate` and `profile`, for the report's tests."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np

from qaprune.data.examples import open_text
from qaprune.profile.outputs import END_TO_END_COLUMNS, SAMPLE_COLUMNS

TEACHER_MS = 16.0


def scores_entry(variant: str, f1: float, **more: object) -> dict:
    """One variant of scores.json, with what all models have; points add `criterion`, `budget`, `draw`."""
    entry = {
        "variant": variant,
        "f1": f1,
        "holdout_f1": f1 + 0.4,
        "f1_best": f1 + 0.6,
        "em": f1 - 3,
        "hasans_f1": f1 - 4,
        "noans_f1": f1 + 5,
        "params": 1_900_000,
        "flops": 410_000_000,
        "heads_kept": 100.0,
        "ff_kept": 100.0,
        "hidden_kept": 100.0,
        "stride": 16,
        "windows_per_question": 1.25,
        "train_tokens": 0,
    }
    return entry | more


SHARES = {
    ("l0", "h50-f50"): (0.80, 0.875, 0.88, 1.74),
    ("l0", "h25-f25"): (0.66, 0.84, 0.855, 2.71),
    ("gain", "h50-f50"): (0.74, 0.85, 0.862, 1.71),
    ("gain", "h25-f25"): (0.55, 0.80, 0.815, 2.63),
    ("random", "h50-f50"): (0.60, 0.825, 0.83, 1.76),
    ("random", "h25-f25"): (0.42, 0.74, 0.75, 2.66),
    ("first_layers", "h50-f50"): (0.45, 0.81, 0.82, 1.92),
}
"""(criterion, budget) -> share of questions right when pruned, retrained and distilled, and the speedup."""
LAYERS, HEADS, UNITS = 6, 12, 1536


def many_points() -> dict[tuple[str, str], tuple[float, float, float, float]]:
    """Thirty operating points, six criteria at five budgets, as `SHARES`."""
    criteria = ("l0", "gain", "random", "fisher", "movement", "first_layers")
    kept = (75, 60, 50, 40, 25)
    return {
        (criterion, f"h{share}-f{share}"): (
            0.88 - (1 + worse / 2) * 0.5 * (1 - share / 100) ** 1.5,
            0.89 - 0.03 * worse * (1 - share / 100) - 0.25 * (1 - share / 100) ** 2,
            0.90 - 0.03 * worse * (1 - share / 100) - 0.25 * (1 - share / 100) ** 2,
            0.95 / (0.15 + 0.85 * share / 100) * (1 + 0.01 * worse),
        )
        for worse, criterion in enumerate(criteria)
        for share in kept
    }


def variant_table(shares: dict = SHARES) -> dict[str, tuple[float, float, dict]]:
    """Variant key -> (share of questions right, speedup or 0 for untimed, identity)."""
    table: dict[str, tuple[float, float, dict]] = {
        "no-answer": (0.34, 0.0, {}),
        "teacher": (0.88, 1.0, {}),
        "teacher+": (0.89, 0.0, {}),
    }
    for (criterion, budget), (pruned, retrained, distilled, speed) in shares.items():
        for variant, share in (("pruned", pruned), ("retrained", retrained), ("distilled", distilled)):
            identity = {"criterion": criterion, "budget": budget, "draw": 0, "variant": variant}
            table[f"{criterion}-{budget}/{variant}"] = (share, speed, identity)
        for draw in range(1, 5) if criterion == "random" else ():
            identity = {"criterion": criterion, "budget": budget, "draw": draw, "variant": "pruned"}
            table[f"{criterion}-{budget}/pruned#{draw}"] = (pruned - 0.02 * draw, 0.0, identity)
    return table


def widths(budget: str | None, random: np.random.Generator) -> dict[str, list[int]]:
    """heads_per_layer and ff_per_layer of one point; all without a budget."""
    kept = int(budget.partition("-f")[2]) / 100 if budget else 1.0
    uneven = random.permutation(np.linspace(-0.3, 0.3, LAYERS)) * (1 - kept)
    shares = np.clip(kept + uneven, 0, 1)
    return {
        "heads_per_layer": [round(HEADS * share) for share in shares],
        "ff_per_layer": [round(UNITS * share) for share in shares],
    }


def write_evaluate(
    folder: Path,
    model: str,
    dataset: str,
    seed: int = 13,
    questions: int = 400,
    shares: dict = SHARES,
    older: bool = False,
) -> Path:
    """An `evaluate/<run>/` folder; paragraphs of four questions.

    `older`: as before widths, training logs and sums of long answers were kept.
    """
    run = folder / "evaluate" / f"{model}-{dataset}-s{seed}"
    (run / "training").mkdir(parents=True)
    random = np.random.default_rng(seed)
    luck = random.random(questions)
    nq = dataset == "nq"
    counts = ("tp", "n_pred", "n_gold", *(() if older else ("long_tp", "long_n_pred", "long_n_gold")))
    variants = {}
    with open_text(run / "questions.csv.gz", "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["variant", "id", "group", *(counts if nq else ("em", "f1", "has_answer"))])
        table = variant_table(shares)
        if nq:
            table["longest_candidate"] = (0.0, 0.0, {})
        for key, (share, _, identity) in table.items():
            own = np.random.default_rng(len(variants))
            right = (luck + 0.08 * random.standard_normal(questions) < share).astype(int)
            for number, good in enumerate(right):
                tail = (good, 1, 1, good * (number % 2), 1, 1) if nq else (good, good, int(number % 3 > 0))
                writer.writerow([key, f"q{number}", f"p{number // 4}", *tail[: len(counts)]])
            variants[key] = scores_entry(**({"variant": key} | identity), f1=100 * float(right.mean()))
            if nq:
                long = 100 * float(right[1::2].sum()) / questions
                variants[key] |= {"long_f1": long, "long_f1_best": long + 1, "hasans_f1": None, "em": None}
            if key not in ("no-answer", "longest_candidate") and not older:
                variants[key] |= widths(identity.get("budget"), own)
            if identity.get("variant") in ("retrained", "distilled") or key.startswith("teacher"):
                write_curve(run / "training" / f"{key.replace('/', '.')}.jsonl", 4 * (1 - share), own)
    if older:
        shutil.rmtree(run / "training")
    header = {"model": model, "dataset": dataset, "seed": seed}
    (run / "scores.json").write_text(json.dumps({"run": header, "variants": variants}))
    return run


def write_curve(path: Path, end: float, random: np.random.Generator) -> None:
    """A training log whose loss falls towards `end`."""
    lines = (
        {
            "step": 50 * number,
            "loss": round(end + 4 * 0.75**number + 0.05 * random.random(), 5),
            "tokens": 200_000 * number,
            "seconds": 20.0 * number,
        }
        for number in range(1, 21)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_profile(
    folder: Path,
    run: str,
    rounds: int = 40,
    seed: int = 1,
    settings: tuple[tuple[str, float], ...] = (),
    shares: dict = SHARES,
    teacher_joules: float | None = None,
) -> Path:
    """A `profile/<run>/` folder, 8 x 128 on a CPU. `settings`: attention backends, each with its factor on
    every time; eager alone where none is given. `teacher_joules`: what a question costs the teacher, where
    energy was measured.
    """
    path = folder / "profile" / run
    path.mkdir(parents=True)
    random = np.random.default_rng(seed)
    timed = {key: speed for key, (_, speed, _) in variant_table(shares).items() if speed}
    settings = settings or (("eager", 1.0),)
    passes, questions = [], []
    for number in range(rounds):
        drift = 1 + 0.2 * number / rounds
        for key, speed in timed.items():
            for backend, factor in settings:
                seconds = factor * TEACHER_MS / 1000 / speed * drift * (1 + 0.02 * random.random())
                where = (key, 8, 128, "float32", backend, "off", number)
                passes.append((*where, f"{seconds:.9f}", ""))
                if factor == min(factor for _, factor in settings):
                    questions.append((*where, 6, f"{seconds + 0.006:.9f}"))
    for name, header, rows in (
        ("samples", SAMPLE_COLUMNS, passes),
        ("end_to_end", END_TO_END_COLUMNS, questions),
    ):
        with open_text(path / f"{name}.csv.gz", "w") as stream:
            csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    cells = [
        {
            "variant": key,
            "batch": 8,
            "length": 128,
            "dtype": "float32",
            "backend": backend,
            "compile": "off",
            "threads": 2,
            "windows_per_question": 1.25,
            "peak_memory_mb": None,
            "energy_j": teacher_joules / timed[key] ** 0.9 if teacher_joules else None,
            "energy_reason": None if teacher_joules else "no GPU: timed on the CPU",
            "peak_memory_reason": "not counted on a CPU",
            "warmup_rounds": 5,
            "warmup_cv_percent": 0.8,
            "warmup_steady": True,
            "not_measured": None,
        }
        for key in timed
        for backend, _ in settings
    ]
    (path / "cells.json").write_text(
        json.dumps({"schema_version": 3, "fingerprint": "abc", "cells": cells})
    )
    (path / "environment.json").write_text(json.dumps({"device": "Example CPU 3000"}))
    return path
