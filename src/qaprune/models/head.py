"""The span head of a checkpoint, looked for before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from qaprune.data.stages import WEIGHTS
from qaprune.errors import InputError


def require_span_head(checkpoint: Path) -> None:
    """Refuse a checkpoint without safetensors weights or span head: a missing head would be random."""
    from safetensors import SafetensorError, safe_open

    weights = checkpoint / WEIGHTS
    if not weights.exists():
        raise InputError(f"{checkpoint}: no {WEIGHTS}; only safetensors weights are read")
    try:
        with safe_open(weights, "numpy") as file:
            names = set(file.keys())
    except SafetensorError as error:
        raise InputError(f"{weights}: not a safetensors file, or cut short ({error})") from None
    if "qa_outputs.weight" not in names:
        raise InputError(f"{checkpoint}: no span head (qa_outputs); expected a question-answering model")
