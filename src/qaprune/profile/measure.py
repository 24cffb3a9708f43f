"""One cell after another: every variant in every setting, in rounds; then memory, questions and energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from qaprune.data.features import Features
from qaprune.profile.end_to_end import Service
from qaprune.profile.energy import energy_columns, no_energy
from qaprune.profile.foreign import ForeignWatch
from qaprune.profile.inputs import in_turn, timed_batches
from qaprune.profile.models import CannotRun, Fleet, try_out
from qaprune.profile.outcome import NotMeasured
from qaprune.profile.outputs import NOT_FASTEST, by_variant, summary_of
from qaprune.profile.power import Meter
from qaprune.profile.settings import Setting, fastest, settings_of
from qaprune.profile.timers import (
    ForwardPass,
    Sample,
    Stopwatch,
    peak_memory_mb,
    time_interleaved,
    warm_up,
)

if TYPE_CHECKING:
    import torch

NO_CPU_MEMORY = "allocations of one variant are not counted on a CPU"
GRAPH_MEMORY = "a CUDA graph's memory is set aside once, while it is captured"

Timed = tuple[str, Setting]
"""A variant and what it is set to."""


@dataclass
class Profile:
    """All that the stage measures, cell by cell."""

    spec: dict[str, Any]
    fleet: Fleet
    windows: Features
    service: Service | None
    device: str
    stopwatch: Stopwatch
    meter: Meter
    foreign: ForeignWatch
    log: Callable[[str], None]
    samples: list[Sample] = field(default_factory=list)
    end_to_end: list[tuple[Sample, int]] = field(default_factory=list)
    cells: list[dict] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def measure(self, cell: dict[str, int]) -> None:
        """Time every variant in every setting of one batch and length; then memory and energy of each."""
        self.fleet.next_cell()
        inputs = timed_batches(self.windows, cell["batch"], cell["length"], self.spec["seed"], self.device)
        calls, described = self._try_all(settings_of(cell, self.spec), inputs)
        self.cells += described.values()
        if not calls:
            self.log(f"  batch {cell['batch']} x {cell['length']}: nothing runs")
            return
        timed = self.fleet.unless_it_fails(lambda: self._time(calls))
        if isinstance(timed, NotMeasured):
            for at in calls:
                described[at]["not_measured"] = f"{timed.reason}, beside the other variants"
            self.log(
                f"  batch {cell['batch']} x {cell['length']}: {timed.reason}, all variants side by side"
            )
            return
        warmup, samples = timed
        shared = self._shared(inputs) | warmup
        self.samples += samples
        self.foreign.check()
        best = {key: fastest(found) for key, found in by_variant(samples).items()}
        for (key, setting), row in described.items():
            row |= shared
            if (key, setting) in calls:
                row |= self._memory(key, setting, calls[key, setting])
        self._time_questions(best)
        self._measure_energy(best, calls, described, cell["batch"] / shared["windows_per_question"])
        self.foreign.check()
        self.log(f"  batch {cell['batch']} x {cell['length']}: {summary_of(samples)}")

    def _time(self, calls: dict[Timed, ForwardPass]) -> tuple[dict[str, Any], list[Sample]]:
        """How warm-up went, and the timed passes."""
        warmup = self._warm_up(calls)
        rounds, seconds = int(self.spec["rounds"]), self.spec["min_seconds"]
        return warmup, time_interleaved(calls, rounds, seconds, self.stopwatch, self.spec["seed"])

    def _try_all(
        self, settings: list[Setting], inputs: list[dict[str, torch.Tensor]]
    ) -> tuple[dict[Timed, ForwardPass], dict[Timed, dict]]:
        """A call for every variant and setting that runs; a cell for each, with the reason of those that
        do not, and by how much a setting's logits differ from the variant's first one.
        """
        calls: dict[Timed, ForwardPass] = {}
        cells: dict[Timed, dict] = {}
        self.fleet.load(settings)
        for key in self.fleet.names:
            reference = None
            for setting in settings:
                row: dict[str, Any] = {"variant": key, **setting._asdict(), "not_measured": None}
                cells[key, setting] = row | no_energy(NOT_FASTEST)
                reason = None
                try:
                    logits = try_out(self.fleet, key, setting, inputs)
                except CannotRun as error:
                    reason = str(error)
                if reason:
                    self.fleet.free_memory()
                    cells[key, setting]["not_measured"] = reason
                    self._tell_once(f"  {', '.join(setting[2:])}: {reason} (first with {key})", reason)
                    continue
                reference = logits if reference is None else reference
                apart = (logits - reference).abs().max() / reference.abs().max()
                cells[key, setting]["logit_difference_percent"] = round(100 * apart.item(), 4)
                calls[key, setting] = in_turn(self.fleet.forward(key, setting), inputs)
        return calls, cells

    def _tell_once(self, line: str, reason: str) -> None:
        if reason not in self.told:
            self.told.add(reason)
            self.log(line)

    def _shared(self, inputs: list[dict[str, torch.Tensor]]) -> dict[str, Any]:
        """What all variants of a batch and length have in common."""
        fill = float(np.mean([batch["attention_mask"].float().mean().item() for batch in inputs]))
        return {
            "threads": self.spec["threads"],
            "torch_device": self.device.split(":")[0],
            "fill_percent": round(100 * fill, 2),
            "windows_per_question": 1.0
            if self.spec["untrained"]
            else self.windows.windows / self.windows.questions,
        }

    def _warm_up(self, calls: dict[Timed, ForwardPass]) -> dict[str, Any]:
        wanted = self.spec["warmup"]
        done = warm_up(
            calls, wanted["least"], wanted["most"], wanted["cv_percent"], self.stopwatch, self.spec["seed"]
        )
        if not done.steady:
            self.log(
                f"  not steady after {done.rounds} warm-up rounds: they vary by {done.cv_percent:.1f} %, "
                f"asked were {wanted['cv_percent']} %"
            )
        return {
            "warmup_rounds": done.rounds,
            "warmup_cv_percent": round(done.cv_percent, 3),
            "warmup_steady": done.steady,
        }

    def _memory(self, key: str, setting: Setting, call: ForwardPass) -> dict:
        """Peak memory (MiB) of one variant; null and why where not measured."""
        on_gpu = self.device.startswith("cuda")
        if on_gpu and setting.compile == "max-autotune":
            return {"peak_memory_mb": None, "peak_memory_reason": GRAPH_MEMORY}
        model = self.fleet.model(key, setting)
        weights = sum(
            tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers())
        )
        memory = self.fleet.unless_it_fails(lambda: peak_memory_mb(call, weights, self.device))
        if isinstance(memory, NotMeasured):
            return {"peak_memory_mb": None, "peak_memory_reason": memory.reason}
        return {"peak_memory_mb": memory, "peak_memory_reason": None if on_gpu else NO_CPU_MEMORY}

    def _time_questions(self, best: dict[str, Setting]) -> None:
        """Questions end to end, each variant at its fastest setting."""
        if self.service is None:
            return
        batch, length = next(iter(best.values()))[:2]
        sets = self.service.calls(batch, np.bincount(self.windows.question_index), self.spec["seed"])
        calls = {
            (key, setting): _answering(self.service, self.fleet.forward(key, setting), sets, batch, length)
            for key, setting in best.items()
        }

        def answered() -> list[Sample]:
            for number in range(len(sets)):
                for call in calls.values():
                    call(number)
            return time_interleaved(calls, int(self.spec["rounds"]), 0, self.stopwatch, self.spec["seed"])

        samples = self.fleet.unless_it_fails(answered)
        if isinstance(samples, NotMeasured):
            self.log(f"  batch {batch} x {length}, questions end to end: {samples.reason}")
            return
        self.end_to_end += [(sample, len(sets[sample.round % len(sets)])) for sample in samples]

    def _spared(self) -> str | None:
        """Why no energy is measured at the cell that was just timed, where the spec wants none there."""
        wanted = self.spec.get("energy", "all")
        first = self.samples[0].name[1][:2] == self.samples[-1].name[1][:2]
        if wanted == "all" or (wanted == "first" and first):
            return None
        return f"profile.energy: {wanted}"

    def _measure_energy(
        self,
        best: dict[str, Setting],
        calls: dict[Timed, ForwardPass],
        described: dict[Timed, dict],
        questions: float,
    ) -> None:
        """Energy of each variant at its fastest setting; all are measured against the same rest."""
        if reason := self._spared():
            for at in best.items():
                described[at] |= no_energy(reason)
            return
        idle = self.meter.idle()
        for key, setting in best.items():
            call = _endless(calls[key, setting])
            measured = self.fleet.unless_it_fails(partial(self.meter.measure, call, idle))
            described[key, setting] |= (
                no_energy(measured.reason)
                if isinstance(measured, NotMeasured)
                else energy_columns(measured, questions)
            )


def _answering(
    service: Service, forward: Callable[..., object], sets: list, batch: int, length: int
) -> ForwardPass:
    return lambda number: service.answer(forward, sets[number % len(sets)], batch, length)


def _endless(call: ForwardPass) -> Callable[[], object]:
    """The same passes as the timed ones, without a round's number."""
    numbers = count()
    return lambda: call(next(numbers))
