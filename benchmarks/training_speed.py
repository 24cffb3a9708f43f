"""Tokens a second of training by what a config may choose: attention, number format, dropout, compile.

    python -m benchmarks.training_speed [--size bert-6x384] [--threads 2] [--steps 12] [--lengths 160 512]
        [--compile]

An untrained encoder on made-up windows of mean lengths `--lengths`: 160 tokens is SQuAD 2.0 cut at
256, 512 full windows of Natural Questions. Settings alternate in rounds, medians count, unpadded tokens are
counted. The defaults of `compute` and `training` follow from this table. The lines with a teacher say what
kept logits save: distillation from logits that are read, against a teacher that computes along.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.workload import SEED, SIZES

if TYPE_CHECKING:
    from torch import nn

    from qaprune.data.features import Features

SETTINGS = {"lr": 1e-4, "weight_decay": 0.01, "clip": 1.0, "batch_tokens": 2048}
DISTIL = {"temperature": 2.0, "weight": 0.9}
VOCABULARY = 30522


@dataclass(frozen=True)
class Choice:
    """One way to train."""

    attention: str
    dtype: str
    dropout: float
    compile: str = "off"
    teacher: str = ""
    """`read`: distilled from kept logits; `computed`: the teacher computes along."""

    def __str__(self) -> str:
        text = f"{self.attention:<5} {self.dtype:<8} dropout {self.dropout:g}"
        text += f", compile {self.compile}" * (self.compile != "off")
        return text + (f", teacher {self.teacher}" if self.teacher else "")


def windows(mean: int, longest: int) -> Features:
    """Windows of random tokens; lengths spread as those of SQuAD 2.0, or all full."""
    from qaprune.data.features import Features

    generator = np.random.default_rng(SEED)
    drawn = generator.normal(mean, 0.27 * mean, 600).round().astype(int)
    lengths = np.full(600, longest) if mean >= longest else np.clip(drawn, 40, longest)
    row_ptr = np.concatenate([[0], np.cumsum(lengths)])
    total = int(row_ptr[-1])
    whole = np.arange(total, dtype=np.int32)
    ids = generator.integers(1000, VOCABULARY, total).astype(np.int32)
    fixed = np.full(600, 12, np.int32)
    count = np.arange(600, dtype=np.int32)
    names = [str(number) for number in count]
    meta = {"architecture": "bert", "pad_id": 0}
    answers = (fixed + 3, fixed + 5)
    ends = (lengths - 1).astype(np.int32)
    return Features(ids, whole, whole, row_ptr, fixed, ends, count, *answers, names, names, meta)


def make_model(size: str, choice: Choice) -> nn.Module:
    """An untrained model of that size."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    layers, hidden, heads, units = SIZES[size]
    torch.manual_seed(SEED)
    return BertForQuestionAnswering(
        BertConfig(
            num_hidden_layers=layers,
            hidden_size=hidden,
            num_attention_heads=heads,
            intermediate_size=units,
            hidden_dropout_prob=choice.dropout,
            attention_probs_dropout_prob=choice.dropout,
            attn_implementation=choice.attention,
        )
    )


def steps(size: str, choice: Choice, features: Features, device: str) -> Iterator[tuple[float, int]]:
    """Seconds and tokens of one step after another, forever."""
    import torch

    from qaprune.data.features import FlatLogits
    from qaprune.train.batches import labelled_batch, plan_epoch
    from qaprune.train.compute import Compute
    from qaprune.train.losses import batch_logits
    from qaprune.train.objectives import Finetune

    compute = Compute(torch.device(device), getattr(torch, choice.dtype), choice.attention)
    model = make_model(size, choice).to(device).train()
    teacher = make_model(size, choice).to(device).eval() if choice.teacher == "computed" else None
    settings = SETTINGS | (DISTIL if choice.teacher else {})
    objective = Finetune(model, settings, compute.autocast, choice.compile)
    logits = None
    if choice.teacher == "read":
        logits = FlatLogits(np.zeros((len(features.input_ids), 2), np.float32))
    lengths, epoch = features.lengths(), 0
    while True:
        for windows, length in plan_epoch(lengths, SETTINGS["batch_tokens"], np.random.default_rng(epoch)):
            wait(device)
            began = time.perf_counter()
            batch = labelled_batch(features, windows, device, logits, length)
            if teacher is not None:
                with torch.no_grad(), compute.autocast():
                    batch["teacher_spans"] = batch_logits(teacher, batch).spans
            objective.loss(batch).backward()
            torch.nn.utils.clip_grad_norm_(objective.weights, SETTINGS["clip"])
            for optimizer in objective.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            wait(device)
            yield time.perf_counter() - began, int(lengths[windows].sum())
        epoch += 1


def padding(features: Features) -> float:
    """Padded places of an epoch's batches, in per cent of its tokens."""
    from qaprune.train.batches import plan_epoch

    plans = plan_epoch(features.lengths(), SETTINGS["batch_tokens"], np.random.default_rng(SEED))
    places = sum(len(windows) * length for windows, length in plans)
    return 100 * (places / int(features.lengths().sum()) - 1)


def wait(device: str) -> None:
    """Until a GPU is done."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def rates(
    size: str, choices: list[Choice], features: Features, device: str, count: int
) -> dict[Choice, float]:
    """Median tokens a second of each choice; the first steps of each do not count."""
    running = {choice: steps(size, choice, features, device) for choice in choices}
    found: dict[Choice, list[float]] = {choice: [] for choice in choices}
    for number in range(count + 2):
        for choice, each in running.items():
            seconds, tokens = next(each)
            if number >= 2:
                found[choice].append(tokens / seconds)
    return {choice: statistics.median(values) for choice, values in found.items()}


def main(argv: list[str] | None = None) -> int:
    """Print a line a choice."""
    import torch

    from qaprune.train.compute import keep_freed_memory, repeat_sums

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="bert-6x384")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--lengths", type=int, nargs="+", default=[160, 512])
    parser.add_argument("--compile", action="store_true", help="compiled training too (minutes)")
    args = parser.parse_args(argv)
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        repeat_sums()
    choices = [Choice(*each) for each in product(("eager", "sdpa"), ("bfloat16", "float32"), (0.0, 0.1))]
    if args.compile:
        choices += [Choice(name, "bfloat16", 0.0, "default") for name in ("eager", "sdpa")]
    choices += [Choice("eager", "bfloat16", 0.0, teacher=teacher) for teacher in ("read", "computed")]
    for length in args.lengths:
        features = windows(length, 512 if length > 256 else 256)
        mean, padded = features.lengths().mean(), padding(features)
        print(f"{args.size}, {mean:.0f} tokens a window, {padded:.1f} % padding, {device}", flush=True)
        found = rates(args.size, choices, features, device, args.steps)
        for choice, rate in sorted(found.items(), key=lambda item: -item[1]):
            print(f"  {choice!s:<48} {rate:8,.0f} tokens/s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
