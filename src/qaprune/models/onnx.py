"""A question-answering model as an ONNX graph."""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from qaprune.models.encoder import heads_of

if TYPE_CHECKING:
    import torch
    from torch import nn

NEEDED = ("onnx", "onnxscript", "onnxruntime")
LARGE = 1_500_000_000
"""Bytes of weights above which they go into a file of their own: one ONNX file holds at most 2 GB."""


def missing_packages() -> str | None:
    """Which packages of the extra are not there, and how to get them; None where all are."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    return f"{', '.join(missing)} not installed; pip install -e '.[onnx]'" if missing else None


def input_names(model: nn.Module) -> list[str]:
    """What the model is called with: BERT has segments."""
    segments = ["token_type_ids"] if model.base_model_prefix == "bert" else []
    return ["input_ids", "attention_mask", *segments]


def output_names(model: nn.Module) -> list[str]:
    """What the model puts out: start and end logits, and answer types where it tells them apart."""
    types = ["answer_type_logits"] if "types" in heads_of(model) else []
    return ["start_logits", "end_logits", *types]


def write_onnx(model: nn.Module, path: Path) -> None:
    """Write one graph of any batch and length: PyTorch's inputs in, its logits out, by their names."""
    import torch
    from torch import nn

    names, outputs = input_names(model), output_names(model)

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            output = self.model(**dict(zip(names, inputs, strict=True)))
            return tuple(output[name] for name in outputs)

    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    example = tuple(torch.ones(2, 17, dtype=torch.long) for _ in names)
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operators that this model does not have
            torch.onnx.export(
                Logits(),
                example,
                path,
                dynamo=True,
                dynamic_shapes=(tuple(axes for _ in names),),
                input_names=names,
                output_names=outputs,
                external_data=weights > LARGE,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
