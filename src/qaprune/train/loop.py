"""The one training loop: teacher, teacher+, retraining and distillation all run through `fit`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qaprune.data.features import Features, FlatLogits
from qaprune.errors import InputError
from qaprune.progress import progress
from qaprune.train.batches import labelled_batch, plan_batches
from qaprune.train.compute import Compute
from qaprune.train.losses import Logits, batch_logits, distillation_loss, gold_loss


@dataclass(frozen=True)
class FitResult:
    """What a training run cost and where its loss ended (mean of the last tenth of the steps)."""

    steps: int
    tokens: int
    seconds: float
    loss: float


def schedule(step: int, total: int, warmup: float) -> float:
    """Learning-rate factor: linear up over the first `warmup` share of the steps, linear down to zero."""
    rise = max(1, round(warmup * total))
    return min((step + 1) / rise, (total - step) / max(1, total - rise + 1), 1.0)


def make_optimizer(
    model: nn.Module, lr: float, weight_decay: float, beta2: float = 0.999
) -> torch.optim.Optimizer:
    """AdamW; biases and LayerNorms are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, beta2), fused=True)


def training_loss(
    settings: dict[str, Any],
) -> Callable[[Logits, dict[str, torch.Tensor]], torch.Tensor]:
    """The gold loss, or a mix of it with distillation where the settings have a temperature.

    `weight` is the share of the distillation term.
    """
    if "temperature" not in settings:
        return gold_loss
    temperature, weight = settings["temperature"], settings["weight"]

    def mixed(logits: Logits, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        teacher = Logits(batch["teacher_spans"], batch.get("teacher_types"))
        loss = weight * distillation_loss(logits, teacher, temperature)
        return loss + (1 - weight) * gold_loss(logits, batch) if weight < 1 else loss

    return mixed


def fit(
    model: nn.Module,
    features: Features,
    settings: dict[str, Any],
    seed: int,
    compute: Compute,
    log_file: Path,
    label: str,
    teacher: FlatLogits | None = None,
) -> FitResult:
    """Train in place for `epochs` over all windows; one line of `log_file` (JSON) every 50 steps.

    Settings: epochs, lr, warmup, batch_tokens, weight_decay, clip; temperature and weight to distil.
    """
    began = time.perf_counter()
    plans = _epoch_plans(features, settings, seed)
    total = len(plans)
    loss_of = training_loss(settings)
    beta2 = settings.get("beta2", 0.999)
    optimizer = make_optimizer(model, settings["lr"], settings["weight_decay"], beta2)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: schedule(step, total, settings["warmup"]) if step < total else 0.0
    )
    model.to(compute.device).train()
    tokens, losses = 0, []
    with log_file.open("w", encoding="utf-8") as log, progress(total, label) as bar:
        for step, windows in enumerate(plans):
            batch = labelled_batch(features, windows, compute.device, teacher)
            with compute.autocast():
                logits = batch_logits(model, batch)
            loss = loss_of(logits, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
            optimizer.step()
            rate.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
            tokens += int(features.lengths()[windows].sum())
            if (step + 1) % 50 == 0 or step + 1 == total:
                mean = torch.stack(losses[-50:]).mean().item()
                _check_finite(mean, label, step, features, windows)
                seconds = time.perf_counter() - began
                row = {
                    "step": step + 1,
                    "loss": round(mean, 5),
                    "tokens": tokens,
                    "seconds": round(seconds, 2),
                }
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.report(f"loss {mean:.3f}, {tokens / seconds:,.0f} tokens/s")
            bar.update()
    tail = torch.stack(losses[-max(1, total // 10) :]).mean().item()
    model.eval()
    return FitResult(total, tokens, time.perf_counter() - began, tail)


def _epoch_plans(features: Features, settings: dict[str, Any], seed: int) -> list[np.ndarray]:
    """The batches of all epochs, planned ahead so that the schedule knows the number of steps."""
    if not features.windows:
        raise InputError("features: no training windows; expected at least one")
    plans: list[np.ndarray] = []
    epochs = settings["epochs"]
    for epoch in range(int(np.ceil(epochs))):
        generator = np.random.default_rng([seed, epoch])
        batches = plan_batches(features.lengths(), settings["batch_tokens"], generator)
        share = min(1.0, epochs - epoch)
        plans += batches[: max(1, round(share * len(batches)))]
    return plans


def _check_finite(loss: float, label: str, step: int, features: Features, windows: np.ndarray) -> None:
    if not np.isfinite(loss):
        ids = [features.ids[i] for i in dict.fromkeys(features.question_index[windows].tolist())]
        shown = ", ".join(ids[:5])
        raise InputError(f"{label}: loss is not a number near step {step + 1}; questions {shown} ...")
