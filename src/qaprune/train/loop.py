"""The one training loop: teacher, teacher+, retraining, distillation and gates all run through `train`.

A step is a batch that was planned ahead, cut into micro-batches where memory asks for it and shared among
processes where there are several; its gradient is that of the whole batch either way. Everything that
is random hangs on the seed and the number of the step, so that a run which was killed goes on from its last
checkpoint as if nothing had happened, bit for bit on the same machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qaprune.data.features import Features, FlatLogits
from qaprune.errors import InputError, out_of_memory
from qaprune.progress import progress
from qaprune.train.batches import Planned, ahead, labelled_batch, plan_epoch
from qaprune.train.checkpoints import Checkpoints, State
from qaprune.train.compute import Compute
from qaprune.train.hidden import HiddenMatch
from qaprune.train.objectives import Batch, Finetune, Objective
from qaprune.train.optimizers import schedule

REPORT_STEPS = 50
"""Steps between two lines of the log."""


@dataclass(frozen=True)
class FitResult:
    """What a training run cost and where its loss ended (mean of the last tenth of the steps).

    `seconds` include `before`, those of earlier processes that were killed.
    """

    steps: int
    tokens: int
    seconds: float
    loss: float
    windows: int
    before: float = 0.0


@dataclass(frozen=True)
class Job:
    """What a training reads, where it computes, what it is called in messages, and what it leaves.

    `teacher`: the logits that a distilled loss reads; `checkpoints`: None where it cannot be resumed.
    """

    features: Features
    seed: int
    compute: Compute
    log_file: Path
    label: str
    teacher: FlatLogits | None = None
    checkpoints: Checkpoints | None = None


def plan_steps(features: Features, settings: Mapping[str, Any], seed: int) -> list[Planned]:
    """The batches of all steps, planned ahead so that the schedule knows their number.

    `steps` of them, or `epochs` epochs; part of an epoch is part of its batches.
    """
    if not features.windows:
        raise InputError("features: no training windows; expected at least one")
    lengths, tokens = features.lengths(), settings["batch_tokens"]
    steps, epochs = settings.get("steps"), settings.get("epochs", np.inf)
    plans: list[Planned] = []
    epoch = 0
    while len(plans) < steps if steps else epoch < epochs:
        batches = plan_epoch(lengths, tokens, np.random.default_rng([seed, epoch]))
        share = min(1.0, epochs - epoch)
        plans += batches[: max(1, round(share * len(batches)))]
        epoch += 1
    return plans[:steps]


def train(objective: Objective, job: Job, settings: Mapping[str, Any]) -> FitResult:
    """Train in place; one line of the job's log (JSON) every 50 steps.

    Settings: `batch_tokens`, and `epochs` or `steps`; `warmup` (share of the steps in which scheduled
    learning rates rise; without it they stay), `clip` (largest norm of the model's gradient, none without
    it), `micro_tokens` (most padded tokens of one pass; all of the batch without it).
    """
    compute, checkpoints = job.compute, job.checkpoints
    run = _Run(objective, job, settings, plan_steps(job.features, settings, job.seed))
    if checkpoints is not None:
        run.resume(checkpoints)
    plans = run.plans[run.step :]

    def make(planned: Planned) -> Batch:
        windows = compute.processes.part(planned.windows)
        if not len(windows):
            return {}
        return labelled_batch(job.features, windows, compute.device, job.teacher, planned.length)

    quiet = not compute.processes.main
    with (
        job.log_file.open("w", encoding="utf-8") as log,
        progress(len(run.plans), job.label, run.step, quiet) as bar,
    ):
        log.writelines(json.dumps(row) + "\n" for row in run.rows)
        for planned, batch in ahead(plans, make, thread=compute.device.type != "cpu"):
            run.one_step(planned, batch)
            if run.step % REPORT_STEPS == 0 or run.step == len(run.plans):
                bar.report(run.report())
                log.write(json.dumps(run.rows[-1]) + "\n")
                log.flush()
            bar.update()
            if checkpoints is not None and compute.processes.main:
                run.keep(checkpoints)
    return run.result()


@dataclass
class _Run:
    """Where a training is."""

    objective: Objective
    job: Job
    settings: Mapping[str, Any]
    plans: list[Planned]
    step: int = 0
    tokens: int = 0
    windows: int = 0
    splits: int = 1
    """Micro-batches that a batch is cut into at the least; doubled when memory runs out."""
    before: float = 0.0
    """Seconds of the processes that were killed."""
    losses: list[torch.Tensor] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = time.perf_counter()
        self._lengths = self.job.features.lengths()

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self._began

    def one_step(self, planned: Planned, batch: Batch) -> None:
        """One step of the optimizers."""
        objective, progress = self.objective, (self.step + 1) / len(self.plans)
        if "warmup" in self.settings:
            objective.set_rate(schedule(self.step, len(self.plans), self.settings["warmup"]))
        loss = self._gradients(planned, batch, progress)
        objective.penalise(progress)
        if self.settings.get("clip") and objective.weights:
            nn.utils.clip_grad_norm_(objective.weights, self.settings["clip"])
        self._update()
        self._forget()
        objective.end()
        self.losses.append(loss)
        self.step += 1
        self.tokens += int(self._lengths[planned.windows].sum())
        self.windows += len(planned.windows)
        # Looking at a loss waits for a GPU: there it is done with the reports.
        if loss.device.type == "cpu":
            self._check(1)

    def _update(self) -> None:
        """Let the optimizers make their step; the first one takes memory for their moments."""
        try:
            for optimizer in self.objective.optimizers:
                optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            device = self.job.compute.device
            raise InputError(
                f"{self.job.label}: out of memory for the optimizer's moments on {device}"
            ) from error

    def _gradients(self, planned: Planned, batch: Batch, progress: float) -> torch.Tensor:
        """Fill in the gradients of the mean loss of the whole batch, and return it."""
        while True:
            # Dropout draws by step and process, so that a checkpoint needs no generator's state.
            torch.manual_seed(_derived_seed(self.job.seed, self.step, 1 + self.job.compute.processes.index))
            try:
                self.objective.begin(progress, _derived_seed(self.job.seed, self.step))
                loss = self._passes(planned, batch)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                self._split(planned)
        self.objective.collect()
        self.job.compute.processes.add_up(self.objective.parameters, loss)
        return loss

    def _passes(self, planned: Planned, batch: Batch) -> torch.Tensor:
        loss = torch.zeros((), device=self.job.compute.device)
        if not batch:
            return loss
        rows = batch["input_ids"].shape[0]
        most = self.settings.get("micro_tokens")
        size = -(-rows // self.splits)
        if most:
            size = min(size, max(1, most // planned.length))
        for first in range(0, rows, size):
            part = _rows(batch, first, first + size)
            share = part["input_ids"].shape[0] / len(planned.windows)
            found = self.objective.loss(part) * share
            found.backward()
            loss += found.detach()
        return loss

    def _split(self, planned: Planned) -> None:
        """Halve the micro-batches after memory ran out; the batch and its gradient stay what they are."""
        self._forget()
        rows = len(self.job.compute.processes.part(planned.windows))
        if self.splits >= rows:
            raise InputError(
                f"{self.job.label}: out of memory with a single window of {planned.length} tokens on "
                f"{self.job.compute.device}"
            )
        self.splits *= 2
        if self.job.compute.device.type == "cuda":
            torch.cuda.empty_cache()

    def _forget(self) -> None:
        for parameter in self.objective.parameters:
            parameter.grad = None

    def _check(self, count: int) -> None:
        """Stop where one of the last `count` losses is no number, and say which questions were read."""
        good = torch.isfinite(torch.stack(self.losses[-count:])).cpu()
        if good.all():
            return
        step = self.step - len(good) + int((~good).nonzero()[0])
        questions = self.job.features.question_index[self.plans[step].windows]
        ids = [self.job.features.ids[at] for at in dict.fromkeys(questions.tolist())]
        shown = ", ".join(ids[:5]) + (" ..." if len(ids) > 5 else "")
        raise InputError(f"{self.job.label}: loss is not a number in step {step + 1}; questions {shown}")

    def report(self) -> str:
        """Add a row to the log; what to show beside the bar."""
        count = min(REPORT_STEPS, len(self.losses))
        self._check(count)
        loss = torch.stack(self.losses[-count:]).mean().item()
        row = {
            "step": self.step,
            "loss": round(loss, 5),
            "tokens": self.tokens,
            "seconds": round(self.seconds, 2),
        }
        self.rows.append(row)
        more = self.objective.describe()
        return f"loss {loss:.3f}, {self.tokens / self.seconds:,.0f} tokens/s" + (
            f", {more}" if more else ""
        )

    def keep(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint, where it is time for one or the training is done."""
        if not checkpoints.due() and self.step < len(self.plans):
            return
        if not checkpoints.due() and not checkpoints.written:
            return  # a training this quick is as quickly done again
        self._check(len(self.losses) % REPORT_STEPS or min(REPORT_STEPS, len(self.losses)))
        names = ("step", "tokens", "windows", "splits", "rows")
        facts = {name: getattr(self, name) for name in names} | {"seconds": self.seconds}
        tensors = self.objective.tensors() | {"losses": torch.stack(self.losses)}
        checkpoints.save(self.step, State(tensors, facts))

    def resume(self, checkpoints: Checkpoints) -> None:
        """Go on from the last checkpoint, if there is one."""
        state = checkpoints.load()
        if not self.job.compute.processes.agree(state.facts["step"] if state else 0):
            raise InputError(
                f"{self.job.label}: the processes found checkpoints of different steps in "
                f"{checkpoints.folder}, because one of an earlier run still writes there; "
                "run the same command again"
            )
        if state is None:
            return
        self.losses = list(state.tensors.pop("losses").to(self.job.compute.device))
        self.objective.restore(state.tensors)
        self.before = state.facts.pop("seconds")
        for name, value in state.facts.items():
            setattr(self, name, value)

    def result(self) -> FitResult:
        # The last step's loss was taken before its update.
        if not all(torch.isfinite(parameter).all() for parameter in self.objective.parameters):
            raise InputError(f"{self.job.label}: a weight is not a number after the last step")
        tail = torch.stack(self.losses[-max(1, len(self.plans) // 10) :]).mean().item()
        return FitResult(len(self.plans), self.tokens, self.seconds, tail, self.windows, self.before)


def _derived_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _rows(batch: Batch, first: int, last: int) -> Batch:
    """Some windows of a batch."""
    return {
        name: tensor[:, first:last] if name == "teacher_spans" else tensor[first:last]
        for name, tensor in batch.items()
    }


def fit(
    model: nn.Module, job: Job, settings: Mapping[str, Any], teacher_model: nn.Module | None = None
) -> FitResult:
    """Train all weights of a model: `train` with the objective `Finetune`, whose settings these are too;
    with a `teacher_model` its hidden states are matched (`HiddenMatch`)."""
    compute = job.compute
    model.to(compute.device).train()
    if teacher_model is None:
        objective = Finetune(model, settings, compute.autocast, compute.compile)
    else:
        objective = HiddenMatch(model, teacher_model, settings, compute.autocast)
    result = train(objective, job, settings)
    model.eval()
    return result
