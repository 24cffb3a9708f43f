"""The stage `profile`: time the variants of one run, interleaved in one process, and keep raw samples."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from qaprune.data.examples import open_text
from qaprune.data.features import Features, batch_inputs, load_features
from qaprune.errors import InputError
from qaprune.profile.environment import capture, fingerprint
from qaprune.profile.foreign import POLICIES, ForeignWatch
from qaprune.profile.nvml import open_gpu
from qaprune.profile.power import Meter, energy_columns, make_meter
from qaprune.profile.timers import Sample, peak_memory_mb, synchroniser, time_interleaved

SCHEMA_VERSION = 2
SAMPLE_COLUMNS = ("variant", "batch", "length", "dtype", "backend", "compile", "round", "seconds")
DTYPES = ("auto", "float32", "bfloat16")
BACKENDS = ("eager", "sdpa")
DEVICES = ("auto", "cpu", "cuda")
BATCHES_A_CELL = 4
NO_CPU_MEMORY = "allocations of one variant are not counted on a CPU"


@dataclass(frozen=True, slots=True)
class Setting:
    """What one cell of the matrix is measured at. `compile` is off: eager-mode torch."""

    batch: int
    length: int
    dtype: str
    backend: str
    device: str
    threads: int
    compile: str = "off"


def profile(
    spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Callable[[str], None]
) -> dict[str, str]:
    """The stage as the command line calls it: `inputs` holds the features folder and the variants."""
    return {
        "summary": profile_run(spec, inputs["variants"], inputs["features"] / "dev.safetensors", out, log)
    }


def profile_run(
    spec: dict,
    variants: dict[str, Path],
    features: Path,
    out: Path,
    log: Callable[[str], None] = print,
) -> str:
    """Time every variant in every cell; write samples.csv.gz, cells.json and environment.json into `out`.

    Returns the stage's one-line summary.
    """
    check_spec(spec)
    import torch

    from qaprune.prune.stage import load_variant

    device = choose_device(spec["device"])
    dtype = choose_dtype(spec["dtype"], device)
    wait = synchroniser(device)
    with torch_threads(spec["threads"]), torch.inference_mode(), open_gpu(device) as gpu:
        models = {
            key: load_variant(Path(path), variants.get("teacher", Path(path)), spec["backend"])
            .eval()
            .to(device, getattr(torch, dtype))
            for key, path in variants.items()
        }
        windows = load_features(features)
        environment = capture(device)
        meter = make_meter(device, gpu, wait)
        foreign = ForeignWatch(gpu, spec["foreign_processes"])
        foreign.check()
        samples: list[tuple[Setting, Sample]] = []
        cells: list[dict] = []
        for cell in spec["cells"]:
            setting = Setting(
                int(cell["batch"]), int(cell["length"]), dtype, spec["backend"], device, spec["threads"]
            )
            cell_samples, described = _measure_cell(setting, spec, models, windows, meter)
            foreign.check()
            samples += [(setting, sample) for sample in cell_samples]
            cells += described
            if len(spec["cells"]) > 1:
                summary = _cell_summary(cell_samples, variants)
                log(f"  batch {setting.batch} x {setting.length}: {summary}")
    _write_samples(out / "samples.csv.gz", samples)
    _write_json(
        out / "cells.json",
        {
            "schema_version": SCHEMA_VERSION,
            "fingerprint": fingerprint(environment),
            "cells": cells,
            **foreign.columns(),
        },
    )
    _write_json(out / "environment.json", environment)
    headline = [sample for setting, sample in samples if setting == samples[0][0]]
    notes = [_cell_summary(headline, variants), _energy_summary(cells), foreign.describe()]
    return "; ".join(note for note in notes if note)


def check_spec(spec: dict) -> None:
    """Refuse a spec with a missing or impossible value, naming its key."""
    cells = spec.get("cells")
    if not isinstance(cells, list) or not cells:
        raise InputError("profile.cells: expected a list of {batch, length} with at least one cell")
    for number, cell in enumerate(cells):
        for key in ("batch", "length"):
            if not isinstance(cell.get(key), int) or cell[key] < 1:
                raise InputError(f"profile.cells[{number}].{key}: expected a whole number from 1 up")
    for key, least in (
        ("rounds", 1),
        ("warmup_rounds", 0),
        ("min_seconds", 0),
        ("threads", 1),
        ("seed", 0),
    ):
        if not isinstance(spec.get(key), int | float) or spec[key] < least:
            raise InputError(f"profile.{key}: expected a number from {least} up, got {spec.get(key)!r}")
    for key, allowed in (
        ("dtype", DTYPES),
        ("backend", BACKENDS),
        ("device", DEVICES),
        ("foreign_processes", POLICIES),
    ):
        if spec.get(key) not in allowed:
            raise InputError(f"profile.{key}: expected one of {', '.join(allowed)}, got {spec.get(key)!r}")


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


def pick_windows(windows: int, batch: int, seed: int) -> list[np.ndarray]:
    """Window indices of the timed batches: a seeded shuffle, used again from its start when it runs out."""
    if windows < 1:
        raise InputError("profile: the features file holds no windows")
    order = np.random.default_rng(seed).permutation(windows)
    batches = max(1, min(BATCHES_A_CELL, windows // batch))
    return [order[np.arange(number * batch, (number + 1) * batch) % windows] for number in range(batches)]


def _measure_cell(
    setting: Setting, spec: dict, models: dict[str, Any], windows: Features, meter: Meter
) -> tuple[list[Sample], list[dict]]:
    """Time all variants on the same real windows; then memory and energy of each, one after another."""
    picked = pick_windows(windows.windows, setting.batch, spec["seed"])
    inputs = [batch_inputs(windows, indices, setting.length, setting.device) for indices in picked]
    calls = {key: _forward(model, inputs) for key, model in models.items()}
    samples = time_interleaved(
        calls,
        int(spec["rounds"]),
        int(spec["warmup_rounds"]),
        spec["min_seconds"],
        meter.wait,
        int(spec["seed"]),
    )
    fill = float(np.mean([batch["attention_mask"].float().mean().item() for batch in inputs])) * 100
    shared = {
        "batch": setting.batch,
        "length": setting.length,
        "dtype": setting.dtype,
        "backend": setting.backend,
        "compile": setting.compile,
        "threads": setting.threads,
        "torch_device": setting.device.split(":")[0],
        "fill_percent": round(fill, 2),
        "windows_per_question": windows.windows / windows.questions,
    }
    questions = setting.batch / shared["windows_per_question"]
    idle = meter.idle()  # once a cell: all its variants are measured against the same rest
    return samples, [
        {
            "variant": key,
            **shared,
            **_memory(setting, model, calls[key]),
            **energy_columns(meter.measure(_endless(calls[key]), idle), questions),
        }
        for key, model in models.items()
    ]


def _memory(setting: Setting, model: Any, call: Callable[[int], object]) -> dict:
    """Peak memory (MiB) of one variant; null and why where not measured."""
    weights = sum(
        tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers())
    )
    memory = peak_memory_mb(call, weights, setting.device)
    return {
        "peak_memory_mb": memory,
        "peak_memory_reason": NO_CPU_MEMORY if memory is None else None,
    }


def _endless(call: Callable[[int], object]) -> Callable[[], object]:
    """The same passes as the timed ones, without a round's number."""
    numbers = count()
    return lambda: call(next(numbers))


def _forward(model: Any, inputs: list[dict]) -> Callable[[int], object]:
    return lambda number: model(**inputs[number % len(inputs)])


def _energy_summary(cells: list[dict]) -> str:
    """`energy measured, counter and power samples differ by up to 2.1 %`, or why the headline has none."""
    if cells[0]["energy_reason"]:
        return f"energy not measured ({cells[0]['energy_reason']})"
    apart = [cell["energy_disagreement_percent"] for cell in cells]
    known = [abs(percent) for percent in apart if percent is not None]
    if not known:
        return "energy measured, not cross-checked"
    return f"energy measured, counter and power samples differ by up to {max(known):.1f} %"


def _cell_summary(samples: list[Sample], variants: dict[str, Path]) -> str:
    """`median teacher 15.2 ms, fastest l0-h50-f50/pruned 1.9x` of one cell."""
    seconds: dict[str, dict[int, float]] = {key: {} for key in variants}
    for sample in samples:
        seconds[sample.name][sample.round] = sample.seconds
    medians = {key: statistics.median(rounds.values()) for key, rounds in seconds.items()}
    fastest = min(medians, key=medians.__getitem__)
    if "teacher" not in medians:
        return f"fastest {fastest} {medians[fastest] * 1000:.1f} ms"
    ratio = statistics.median(seconds["teacher"][at] / value for at, value in seconds[fastest].items())
    return f"median teacher {medians['teacher'] * 1000:.1f} ms, fastest {fastest} {ratio:.2f}x"


def _write_samples(path: Path, samples: list[tuple[Setting, Sample]]) -> None:
    with open_text(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(SAMPLE_COLUMNS)
        for at, sample in samples:
            writer.writerow(
                (
                    sample.name,
                    at.batch,
                    at.length,
                    at.dtype,
                    at.backend,
                    at.compile,
                    sample.round,
                    f"{sample.seconds:.9f}",
                )
            )


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
