"""The stage `latency`: what every width costs on this device, measured before anything is cut to a time.

Models of the encoder's shape with initial weights are timed as `profile` times: real windows, the same
stopwatch, rounds that interleave all. One series has k heads in every layer and all units, another all
heads and k units in every layer. A layer's share is the difference to none at all, divided by the layers:

    T(h, f) = fixed + sum over layers of heads[h_l] + ff[f_l]

Times that fall where a width grows are noise and are levelled (isotonic regression). Two models with half
and with a quarter of both kinds are timed beside them, to show how far sums are from the truth.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qaprune.errors import InputError
from qaprune.jsonfile import field, read_json

if TYPE_CHECKING:
    from qaprune.models.encoder import EncoderShape
    from qaprune.prune.costs import Costs
    from qaprune.prune.mask import Mask

TABLE = "table.json"
SCHEMA_VERSION = 1
SHARES = (0, 1 / 32, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 1)
"""Of a feed-forward part's units: the widths that are timed; those between them are interpolated."""
CHECKED = (0.5, 0.25)
Widths = tuple[int, int]
"""Heads and units of every layer."""


def latency(
    spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Callable[[str], None]
) -> dict[str, Any]:
    """Time the grid and write `table.json`: milliseconds a batch."""
    import torch

    from qaprune.data.features import load_features
    from qaprune.models.encoder import model_shape
    from qaprune.profile.device import choose_device, choose_dtype, torch_threads
    from qaprune.profile.environment import capture, fingerprint
    from qaprune.profile.inputs import in_turn, timed_batches
    from qaprune.profile.models import Untrained
    from qaprune.profile.nvml import open_gpu
    from qaprune.profile.outputs import write_record, write_samples
    from qaprune.profile.settings import Setting
    from qaprune.profile.timers import make_stopwatch, time_interleaved, warm_up
    from qaprune.prune.slice import slice_model
    from qaprune.train.compute import keep_freed_memory

    device = choose_device(spec["device"])
    keep_freed_memory()
    cell, stopwatch = spec["cell"], make_stopwatch(device)
    dtype = choose_dtype(spec["dtype"], device)
    with torch_threads(spec["threads"]), torch.inference_mode(), open_gpu(device) as gpu:
        windows = load_features(inputs["features"] / "dev.safetensors")
        batches = timed_batches(windows, cell["batch"], cell["length"], spec["seed"], device)
        untrained = Untrained(
            inputs["encoder"],
            "uniform",
            (),
            spec["seed"],
            spec["backend"],
            cell["length"],
            windows.meta.get("vocabulary"),
        )
        full = untrained.loaders(device)["teacher"]()
        shape = model_shape(full)
        setting = Setting(cell["batch"], cell["length"], dtype, spec["backend"], "off")
        calls = {
            (widths, setting): in_turn(
                slice_model(full, _same(shape, widths)).eval().to(device, getattr(torch, dtype)), batches
            )
            for widths in grid(shape)
        }
        wanted = spec["warmup"]
        steady = warm_up(
            calls, wanted["least"], wanted["most"], wanted["cv_percent"], stopwatch, spec["seed"]
        )
        samples = time_interleaved(calls, spec["rounds"], 0, stopwatch, spec["seed"])
        environment = capture(device, gpu)
    times: dict[Widths, list[float]] = {}
    for sample in samples:
        times.setdefault(sample.name[0], []).append(1000 * sample.seconds)
    table = make_table({widths: statistics.median(values) for widths, values in times.items()}, shape)
    record = {
        "schema_version": SCHEMA_VERSION,
        "setting": setting._asdict() | {"threads": spec["threads"], "device": environment["device"]},
        "fingerprint": fingerprint(environment),
        "warmup_steady": steady.steady,
        **table,
    }
    named = (s._replace(name=(f"h{s.name[0][0]}-f{s.name[0][1]}", s.name[1])) for s in samples)
    write_samples(out / "samples.csv.gz", named)
    write_record(out / TABLE, record)
    write_record(out / "environment.json", environment)
    apart = max(abs(check["apart_percent"]) for check in table["checks"])
    return {
        "summary": f"{len(calls)} models, {table['full']:.1f} ms unpruned, {table['fixed']:.1f} ms fixed, "
        f"sums of parts off by up to {apart:.1f} %"
    }


def grid(shape: EncoderShape) -> list[Widths]:
    """The widths that are timed."""
    heads, ff = shape.heads[0], shape.ff[0]
    found = [(k, ff) for k in range(heads + 1)] + [(heads, k) for k in _units(shape)]
    return list(dict.fromkeys(found + _checked(shape)))


def _units(shape: EncoderShape) -> list[int]:
    return sorted({round(share * shape.ff[0]) for share in SHARES})


def make_table(times: dict[Widths, float], shape: EncoderShape) -> dict[str, Any]:
    """Costs by width from the medians of `grid`, in milliseconds, and how far they are from the checks."""
    heads, ff = shape.heads[0], shape.ff[0]
    units = _units(shape)
    by_heads = _levelled([times[k, ff] for k in range(heads + 1)])
    by_units = _levelled([times[heads, k] for k in units])
    full = times[heads, ff]
    table = {
        "unit": "ms",
        "layers": shape.layers,
        "heads": [(value - by_heads[0]) / shape.layers for value in by_heads],
        "ff_widths": units,
        "ff": [(value - by_units[0]) / shape.layers for value in by_units],
        "full": full,
    }
    table["fixed"] = full - shape.layers * (table["heads"][-1] + table["ff"][-1])
    checks = []
    for h, k in _checked(shape):
        predicted = table["fixed"] + shape.layers * (
            table["heads"][h] + float(np.interp(k, units, table["ff"]))
        )
        apart = 100 * (predicted / times[h, k] - 1)
        checks.append(
            {"heads": h, "ff": k, "measured": times[h, k], "predicted": predicted, "apart_percent": apart}
        )
    return table | {"checks": checks}


def _checked(shape: EncoderShape) -> list[Widths]:
    return [
        (max(1, round(share * shape.heads[0])), max(1, round(share * shape.ff[0]))) for share in CHECKED
    ]


def _levelled(values: list[float]) -> list[float]:
    """The nearest times, in the least-squares sense, among which no wider part is cheaper."""
    from scipy.optimize import isotonic_regression

    return isotonic_regression(values).x.tolist()


def load_costs(folder: Path, shape: EncoderShape) -> Costs:
    """The table as costs of every width of this shape."""
    from qaprune.prune.costs import Costs

    path = folder / TABLE
    record = read_json(path)
    heads, widths, ff = (field(record, name, list, str(path)) for name in ("heads", "ff_widths", "ff"))
    fits = len(heads) == shape.heads[0] + 1 and widths[-1] == shape.ff[0]
    if not fits or record.get("layers") != shape.layers:
        raise InputError(
            f"{path}: a table of another encoder: {record.get('layers')} layers of "
            f"{len(heads) - 1} heads and {widths[-1]} units"
        )
    units = np.interp(np.arange(shape.ff[0] + 1), widths, ff)
    return Costs("ms", shape.layers, float(record["fixed"]), np.array(heads), units)


def _same(shape: EncoderShape, widths: Widths) -> Mask:
    """The first heads and units of every layer."""
    from qaprune.prune.mask import Mask

    return Mask(
        *(
            tuple((np.arange(most) < kept).astype(np.float32) for most in layers)
            for layers, kept in zip((shape.heads, shape.ff), widths, strict=True)
        )
    )
