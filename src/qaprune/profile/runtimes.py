"""Backends outside torch: onnxruntime, with float32 numbers or with its matrix products in int8.

int8 is dynamic quantisation: weights are rounded once, by tensor, inputs of products at each pass. Both run
on a CPU alone, in float32 and uncompiled; `logit_difference_percent` says how far they are off.
"""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from qaprune.models.onnx import input_names, missing_packages, output_names, write_onnx
from qaprune.profile.settings import Setting

if TYPE_CHECKING:
    import torch
    from torch import nn


def why_not(setting: Setting, device: str) -> str | None:
    """Why onnxruntime cannot take a setting here; None where it can."""
    if device != "cpu":
        return "onnxruntime is timed on a CPU alone"
    if setting.dtype != "float32" or setting.compile != "off":
        return "onnxruntime runs in float32 and uncompiled alone"
    return missing_packages()


class OnnxPass:
    """A model's forward pass in onnxruntime, on as many threads as torch has now."""

    def __init__(self, model: nn.Module, int8: bool):
        import onnxruntime
        import torch

        # Outside inference mode and on weights of its own: torch.export traces neither inference tensors
        # nor fused attention that every runtime has its own form of.
        with torch.inference_mode(False):
            model = deepcopy(model)
            model.set_attn_implementation("eager")
        self._names, self._outputs = input_names(model), output_names(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        # Threads that spin on after a pass would slow down whatever is timed next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        with tempfile.TemporaryDirectory(prefix="qaprune-onnx-") as folder:
            path = Path(folder) / "model.onnx"
            with torch.inference_mode(False):
                write_onnx(model, path)
            if int8:
                path = quantised(path)
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, **inputs: torch.Tensor) -> SimpleNamespace:
        import torch

        found = self._session.run(None, {name: inputs[name].numpy() for name in self._names})
        return SimpleNamespace(**dict(zip(self._outputs, map(torch.from_numpy, found), strict=True)))


def quantised(path: Path) -> Path:
    """The same graph beside it with its matrix products in int8."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    out = path.with_name("int8.onnx")
    logging.disable(logging.WARNING)  # it asks for a preparation that this graph does not need
    try:
        quantize_dynamic(path, out, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
    return out
