"""`qaprune export`: a checkpoint as an ONNX model, checked against PyTorch before it is handed over."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qaprune.data.stages import copy_tokenizer
from qaprune.errors import InputError
from qaprune.models.onnx import input_names, missing_packages, output_names, write_onnx
from qaprune.serve.folder import new_folder

if TYPE_CHECKING:
    import torch
    from torch import nn

MODEL = "model.onnx"
SPANS = ("start_logits", "end_logits")
TOLERANCE = 1e-4
"""How far onnxruntime's logits may be from PyTorch's."""
CHECKED = ((1, 9), (3, 40))
"""Batches and lengths that the exported model is run at; neither is the one it was traced with."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--format", choices=("onnx",), default="onnx")
    parser.add_argument("--model", required=True, type=Path, help="a checkpoint folder")
    parser.add_argument("--out", required=True, type=Path, help="the folder to make; must not exist yet")


def main(args: argparse.Namespace) -> int:
    """Write the folder and say how close it is."""
    apart = export_onnx(args.model, args.out)
    print(f"{args.out / MODEL}: logits within {apart:.1e} of PyTorch's, any batch and length")
    return 0


def export_onnx(checkpoint: Path, out: Path) -> float:
    """Write `model.onnx` (inputs and logits named as in PyTorch), config and tokenizer.

    Returns the largest difference to PyTorch's logits found. Raises InputError, with nothing written, where
    packages are missing, the checkpoint is not whole, `out` is taken, or the difference exceeds 1e-4.
    """
    if missing := missing_packages():
        raise InputError(f"export: {missing}")
    from qaprune.models.encoder import load_model, require_span_head

    if not checkpoint.is_dir():
        raise InputError(f"{checkpoint}: no such folder; expected a checkpoint")
    require_span_head(checkpoint)
    with new_folder(out) as scratch:
        # Eager attention: plain matrix products, which every runtime fuses by its own rules.
        model = load_model(checkpoint, "eager").eval()
        write_onnx(model, scratch / MODEL)
        apart = largest_difference(model, scratch / MODEL)
        if not apart <= TOLERANCE:
            raise InputError(
                f"export: logits are {apart:.1e} from PyTorch's, expected at most {TOLERANCE:.0e}"
            )
        shutil.copyfile(checkpoint / "config.json", scratch / "config.json")
        copy_tokenizer(checkpoint, scratch)
    return apart


def largest_difference(model: nn.Module, path: Path) -> float:
    """The largest difference of a logit between onnxruntime and PyTorch, over random padded batches."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    apart = 0.0
    for batch, length in CHECKED:
        inputs = _random_inputs(model, batch, length)
        found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        with torch.no_grad():
            output: Any = model(**inputs)
        real = inputs["attention_mask"].bool()
        for name, logits in zip(output_names(model), found, strict=True):
            difference = (torch.from_numpy(logits) - output[name]).abs()
            # What a model puts out at padding is nobody's logit.
            apart = max(apart, float((difference[real] if name in SPANS else difference).max()))
    return apart


def _random_inputs(model: nn.Module, batch: int, length: int) -> dict[str, torch.Tensor]:
    import torch

    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(5, model.config.vocab_size, (batch, length), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["attention_mask"][0, length - length // 3 :] = 0
    if "token_type_ids" in input_names(model):
        inputs["token_type_ids"] = (torch.arange(length) > length // 3).long().repeat(batch, 1)
    return inputs
