"""The matrix: what a timed pass is set to, which settings a config asks for, and which was fastest."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

from qaprune.errors import InputError
from qaprune.profile.foreign import POLICIES

DTYPES = ("auto", "float32", "bfloat16", "float16")
TORCH_BACKENDS = ("eager", "sdpa", "flash_attention_2")
INT8 = "onnxruntime_int8"
RUNTIMES = ("onnxruntime", INT8)
"""Backends outside torch (`runtimes.py`)."""
BACKENDS = TORCH_BACKENDS + RUNTIMES
COMPILE = ("off", "default", "max-autotune")
"""`max-autotune` times kernels while compiling and, on a GPU, replays the pass as a CUDA graph."""
AXES = {"dtype": DTYPES, "backend": BACKENDS, "compile": COMPILE}
DEVICES = ("auto", "cpu", "cuda")
ENERGY = ("all", "first", "off")


class Setting(NamedTuple):
    """One cell of the matrix: windows a pass, tokens a window, number format, attention, torch.compile."""

    batch: int
    length: int
    dtype: str
    backend: str
    compile: str


def settings_of(cell: Mapping[str, int], spec: Mapping[str, Any]) -> list[Setting]:
    """All settings of one batch and length, in the config's order."""
    return [
        Setting(cell["batch"], cell["length"], *rest) for rest in product(*(spec[axis] for axis in AXES))
    ]


def fastest(seconds: Mapping[Setting, Mapping[int, float]]) -> Setting:
    """The setting with the lowest median over its rounds; of equal ones the first.

    One in int8 only where there is no other: F1 is that of the numbers before they were rounded.
    """
    exact = [setting for setting in seconds if setting.backend != INT8]
    return min(exact or seconds, key=lambda setting: statistics.median(seconds[setting].values()))


def _check_cells(cells: Any) -> None:
    """Refuse a list of batches and lengths that cannot be timed, naming its key."""
    if not isinstance(cells, list) or not cells:
        raise InputError("profile.cells: expected a list of {batch, length} with at least one cell")
    for number, cell in enumerate(cells):
        for key in ("batch", "length"):
            if not isinstance(cell.get(key), int) or cell[key] < 1:
                raise InputError(f"profile.cells[{number}].{key}: expected a whole number from 1 up")


def _check_axes(spec: Mapping[str, Any]) -> None:
    """Refuse an unknown number format, attention backend or compile mode."""
    for axis, allowed in AXES.items():
        values = spec.get(axis)
        if not isinstance(values, list) or not values:
            raise InputError(f"profile.{axis}: expected a list of {', '.join(allowed)}, got {values!r}")
        for value in values:
            if value not in allowed:
                raise InputError(f"profile.{axis}: expected one of {', '.join(allowed)}, got {value!r}")


def check_spec(spec: dict) -> None:
    """Refuse a spec with a missing or impossible value, naming its key."""
    _check_cells(spec.get("cells"))
    _check_axes(spec)
    warmup = spec.get("warmup")
    if not isinstance(warmup, dict):
        raise InputError("profile.warmup: expected {least, most, cv_percent}")
    for where, block, limits in (
        ("profile", spec, (("rounds", 1), ("min_seconds", 0), ("threads", 1), ("seed", 0))),
        ("profile.warmup", warmup, (("least", 2), ("most", 2), ("cv_percent", 0))),
    ):
        for key, low in limits:
            if not isinstance(block.get(key), int | float) or block[key] < low:
                raise InputError(f"{where}.{key}: expected a number from {low} up, got {block.get(key)!r}")
    if warmup["most"] < warmup["least"]:
        raise InputError(f"profile.warmup.most: expected at least {warmup['least']}, got {warmup['most']}")
    if spec.get("energy", "all") not in ENERGY:
        raise InputError(f"profile.energy: expected one of {', '.join(ENERGY)}, got {spec['energy']!r}")
    for key, allowed in (("device", DEVICES), ("foreign_processes", POLICIES)):
        if spec.get(key) not in allowed:
            raise InputError(f"profile.{key}: expected one of {', '.join(allowed)}, got {spec.get(key)!r}")
