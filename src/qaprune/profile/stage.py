"""The stage `profile`: time the variants of one run, interleaved in one process, and keep raw samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from qaprune.data.features import load_features
from qaprune.errors import InputError
from qaprune.profile.device import choose_device, choose_dtype, torch_threads
from qaprune.profile.end_to_end import make_service
from qaprune.profile.environment import capture, fingerprint
from qaprune.profile.foreign import ForeignWatch
from qaprune.profile.inputs import pack_windows
from qaprune.profile.measure import Profile
from qaprune.profile.models import Fleet, Untrained, trained_loaders
from qaprune.profile.nvml import open_gpu
from qaprune.profile.outputs import (
    SCHEMA_VERSION,
    energy_summary,
    summary_of,
    write_end_to_end,
    write_record,
    write_samples,
)
from qaprune.profile.power import make_meter
from qaprune.profile.settings import check_spec
from qaprune.profile.timers import make_stopwatch
from qaprune.prune.select import multiples


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
        windows = load_features(features)
        if untrained:
            untrained = replace(untrained, vocabulary=windows.meta.get("vocabulary"))
        loaders = untrained.loaders(device) if untrained else trained_loaders(variants, backend)
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
        round_to=multiples(spec["untrained"]),
    )


def _facts(run: Profile, untrained: Untrained) -> dict[str, dict]:
    """What `evaluate` would have said of each variant, one that ran nowhere too: sizes, without quality."""
    from qaprune.models.cost import encoder_flops, kept_shares, parameters
    from qaprune.models.encoder import model_shape

    length = run.samples[0].name[1].length
    ran = dict(sample.name for sample in run.samples)
    rows = {}
    for key in run.fleet.names:
        # One that fits nowhere is made once more, in the host's memory.
        model = run.fleet.model(key, ran[key]) if key in ran else untrained.loaders("cpu")[key]()
        rows[key] = (
            untrained.identity(key)
            | {"params": parameters(model), "flops": encoder_flops(model_shape(model), length)}
            | kept_shares(model_shape(model), model.config.to_dict())
        )
    return rows
