"""The stage `profile`: time the variants of one run, interleaved in one process, and keep raw samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qaprune.data.features import Features, batch_inputs, load_features
from qaprune.errors import InputError
from qaprune.profile.end_to_end import Service, make_service
from qaprune.profile.environment import capture, fingerprint
from qaprune.profile.foreign import ForeignWatch
from qaprune.profile.inputs import pack_windows, pick_windows
from qaprune.profile.models import CannotRun, Fleet, Untrained, trained_loaders, try_out
from qaprune.profile.nvml import open_gpu
from qaprune.profile.outputs import (
    NOT_FASTEST,
    SCHEMA_VERSION,
    energy_summary,
    summary_of,
    write_end_to_end,
    write_record,
    write_samples,
)
from qaprune.profile.power import Meter, energy_columns, make_meter, no_energy
from qaprune.profile.settings import Setting, check_spec, fastest, settings_of
from qaprune.profile.timers import (
    ForwardPass,
    Sample,
    Stopwatch,
    make_stopwatch,
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
        picked = pick_windows(self.windows.windows, cell["batch"], self.spec["seed"])
        inputs = [batch_inputs(self.windows, rows, cell["length"], self.device) for rows in picked]
        calls, described = self._try_all(settings_of(cell, self.spec), inputs)
        self.cells += described.values()
        if not calls:
            self.log(f"  batch {cell['batch']} x {cell['length']}: nothing runs")
            return
        shared = self._shared(inputs) | self._warm_up(calls)
        samples = time_interleaved(
            calls, int(self.spec["rounds"]), self.spec["min_seconds"], self.stopwatch, self.spec["seed"]
        )
        self.samples += samples
        self.foreign.check()
        best = self._fastest(samples)
        for (key, setting), row in described.items():
            row |= shared
            if (key, setting) in calls:
                row |= self._memory(key, setting, calls[key, setting])
        self._time_questions(best)
        self._measure_energy(best, calls, described, cell["batch"] / shared["windows_per_question"])
        self.foreign.check()
        self.log(f"  batch {cell['batch']} x {cell['length']}: {summary_of(samples)}")

    def _try_all(
        self, settings: list[Setting], inputs: list[dict[str, torch.Tensor]]
    ) -> tuple[dict[Timed, ForwardPass], dict[Timed, dict]]:
        """A call for every variant and setting that runs; a cell for each, with the reason of those that
        do not, and by how much a setting's logits differ from the variant's first one.
        """
        calls: dict[Timed, ForwardPass] = {}
        cells: dict[Timed, dict] = {}
        for key in self.fleet.names:
            reference = None
            for setting in settings:
                row: dict[str, Any] = {"variant": key, **setting._asdict(), "not_measured": None}
                cells[key, setting] = row | no_energy(NOT_FASTEST)
                try:
                    logits = try_out(self.fleet, key, setting, inputs)
                except CannotRun as error:
                    cells[key, setting]["not_measured"] = str(error)
                    self._tell_once(f"  {', '.join(setting[2:])}: {error} (first with {key})", str(error))
                    continue
                reference = logits if reference is None else reference
                apart = (logits - reference).abs().max() / reference.abs().max()
                cells[key, setting]["logit_difference_percent"] = round(100 * apart.item(), 4)
                calls[key, setting] = _repeated(self.fleet.forward(key, setting), inputs)
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

    def _fastest(self, samples: list[Sample]) -> dict[str, Setting]:
        """Each variant's fastest setting."""
        seconds: dict[str, dict[Setting, list[float]]] = {}
        for sample in samples:
            key, setting = sample.name
            seconds.setdefault(key, {}).setdefault(setting, []).append(sample.seconds)
        return {key: fastest(found) for key, found in seconds.items()}

    def _memory(self, key: str, setting: Setting, call: ForwardPass) -> dict:
        """Peak memory (MiB) of one variant; null and why where not measured."""
        on_gpu = self.device.startswith("cuda")
        if on_gpu and setting.compile == "max-autotune":
            return {"peak_memory_mb": None, "peak_memory_reason": GRAPH_MEMORY}
        model = self.fleet.model(key, setting)
        weights = sum(
            tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers())
        )
        memory = peak_memory_mb(call, weights, self.device)
        return {"peak_memory_mb": memory, "peak_memory_reason": None if on_gpu else NO_CPU_MEMORY}

    def _time_questions(self, best: dict[str, Setting]) -> None:
        """Questions end to end, each variant at its fastest setting."""
        if self.service is None:
            return
        batch, length = next(iter(best.values()))[:2]
        per_question = self.windows.windows / self.windows.questions
        sets = self.service.calls(max(1, int(batch / per_question)), self.spec["seed"])
        calls = {
            (key, setting): _answering(self.service, self.fleet.forward(key, setting), sets, batch, length)
            for key, setting in best.items()
        }
        for number in range(len(sets)):
            for call in calls.values():
                call(number)
        for sample in time_interleaved(
            calls, int(self.spec["rounds"]), 0, self.stopwatch, self.spec["seed"]
        ):
            self.end_to_end.append((sample, len(sets[sample.round % len(sets)])))

    def _measure_energy(
        self,
        best: dict[str, Setting],
        calls: dict[Timed, ForwardPass],
        described: dict[Timed, dict],
        questions: float,
    ) -> None:
        """Energy of each variant at its fastest setting; all are measured against the same rest."""
        idle = self.meter.idle()
        for key, setting in best.items():
            measured = self.meter.measure(_endless(calls[key, setting]), idle)
            described[key, setting] |= energy_columns(measured, questions)


def profile(
    spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Callable[[str], None]
) -> dict[str, str]:
    """The stage as the command line calls it: the features folder, the variants or the untrained encoder,
    and dev's questions for the passes end to end.
    """
    summary = profile_run(
        spec,
        inputs.get("variants") or {},
        inputs["features"] / "dev.safetensors",
        out,
        log,
        inputs.get("dev"),
        inputs.get("encoder"),
    )
    return {"summary": summary}


def profile_run(
    spec: dict,
    variants: dict[str, Path],
    features: Path,
    out: Path,
    log: Callable[[str], None] = print,
    dev: Path | None = None,
    encoder: Path | None = None,
) -> str:
    """Time every variant in every cell; write samples, cells.json and environment.json into `out`.

    Without `variants` the models are built from `encoder`'s config with initial weights, as
    `spec.untrained` says, and timed on packed windows. Returns the stage's one-line summary.
    """
    check_spec(spec)
    # The tokenizers of the passes end to end get as many threads as torch.
    os.environ.setdefault("RAYON_NUM_THREADS", str(spec["threads"]))
    import torch

    from qaprune.train.compute import keep_freed_memory

    device = choose_device(spec["device"])
    keep_freed_memory()
    spec = spec | {"dtype": list(dict.fromkeys(choose_dtype(dtype, device) for dtype in spec["dtype"]))}
    # Another backend than these two may not be installed: it is tried later, on the loaded model.
    backend = next((name for name in spec["backend"] if name in ("eager", "sdpa")), "sdpa")
    untrained = _untrained(spec, variants, encoder, backend)
    with torch_threads(spec["threads"]), torch.inference_mode(), open_gpu(device) as gpu:
        loaders = untrained.loaders(device) if untrained else trained_loaders(variants, backend)
        windows = load_features(features)
        if untrained:
            windows = pack_windows(windows, max(cell["length"] for cell in spec["cells"]))
        service = None
        if dev is not None and not untrained:
            checkpoint = Path(variants.get("teacher") or next(iter(variants.values())))
            service = make_service(spec, dev, checkpoint, windows.meta["architecture"], device)
        environment = capture(device, gpu)
        stopwatch = make_stopwatch(device)
        run = Profile(
            spec,
            Fleet(loaders, device, spec["dtype"]),
            windows,
            service,
            device,
            stopwatch,
            make_meter(device, gpu, stopwatch.wait),
            ForeignWatch(gpu, spec["foreign_processes"]),
            log,
        )
        torch.zeros(1, device=device)  # the driver lists only processes that computed something
        run.foreign.check()
        for cell in spec["cells"]:
            run.measure(cell)
        if not run.samples:
            raise InputError(f"profile: nothing runs on {device}: {run.cells[0]['not_measured']}")
        facts = _facts(run, untrained) if untrained else None
    write_samples(out / "samples.csv.gz", run.samples)
    if service:
        write_end_to_end(out / "end_to_end.csv.gz", run.end_to_end)
    described = {"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint(environment)}
    write_record(out / "cells.json", described | {"cells": run.cells} | run.foreign.columns())
    if facts:
        write_record(out / "variants.json", {"run": spec["run"], "variants": facts})
    write_record(out / "environment.json", environment)
    headline = [sample for sample in run.samples if sample.name[1][:2] == run.samples[0].name[1][:2]]
    notes = [summary_of(headline), energy_summary(run.cells), run.foreign.describe()]
    return "; ".join(note for note in notes if note)


def _untrained(
    spec: dict, variants: dict[str, Path], encoder: Path | None, backend: str
) -> Untrained | None:
    if not spec["untrained"]:
        if not variants:
            raise InputError("profile: expected at least one --variant KEY=DIR")
        return None
    if encoder is None or variants:
        raise InputError("profile: untrained models come from --encoder, not from --variant")
    return Untrained(
        encoder,
        spec["untrained"]["criterion"],
        tuple(spec["untrained"]["budgets"]),
        spec["seed"],
        backend,
        spec["cells"][0]["length"],
    )


def choose_device(wanted: str) -> str:
    """The torch device to time on: `auto` takes the GPU where there is one."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("profile.device: 'cuda' was asked for, but torch finds no GPU here")
    if wanted == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.current_device()}"


def choose_dtype(wanted: str, device: str) -> str:
    """The numbers' type: `auto` is bfloat16 on a GPU that computes in it, float32 elsewhere."""
    import torch

    if wanted != "auto":
        return wanted
    return "bfloat16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "float32"


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run with this many torch threads, and put the old number back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _repeated(forward: Callable[..., object], inputs: list[dict]) -> ForwardPass:
    return lambda number: forward(**inputs[number % len(inputs)])


def _answering(
    service: Service, forward: Callable[..., object], sets: list, batch: int, length: int
) -> ForwardPass:
    return lambda number: service.answer(forward, sets[number % len(sets)], batch, length)


def _endless(call: ForwardPass) -> Callable[[], object]:
    """The same passes as the timed ones, without a round's number."""
    numbers = count()
    return lambda: call(next(numbers))


def _facts(run: Profile, untrained: Untrained) -> dict[str, dict]:
    """What `evaluate` would have said of each variant: sizes and shares, without any quality."""
    from qaprune.models.cost import encoder_flops, kept_shares, parameters
    from qaprune.models.encoder import model_shape

    first = run.samples[0].name[1]
    rows = {}
    for key in dict.fromkeys(sample.name[0] for sample in run.samples):
        model = run.fleet.model(key, next(s.name[1] for s in run.samples if s.name[0] == key))
        rows[key] = (
            untrained.identity(key)
            | {"params": parameters(model), "flops": encoder_flops(model_shape(model), first.length)}
            | kept_shares(model_shape(model), model.config.to_dict())
        )
    return rows
