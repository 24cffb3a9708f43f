"""Where and how a stage computes: device, number format, threads."""

from __future__ import annotations

import ctypes
import os
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch

from qaprune import stage
from qaprune.errors import InputError
from qaprune.profile.environment import bf16_instructions, cpu_model
from qaprune.train.processes import ALONE, Processes, join


@dataclass(frozen=True)
class Compute:
    """The resolved settings of one process. `autocast()` wraps forward passes in mixed precision."""

    device: torch.device
    dtype: torch.dtype
    attention: str
    processes: Processes = ALONE
    compile: str = "off"

    def autocast(self) -> AbstractContextManager:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(bf16_instructions())


def resolve_device(name: str) -> torch.device:
    """`auto` takes the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("compute.device: 'cuda' was asked for, but torch finds no GPU here")
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` takes bfloat16 where the device has it in hardware, float32 elsewhere."""
    if name == "auto":
        name = "bfloat16" if has_bfloat16(device) else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def resolve_attention(name: str, device: torch.device) -> str:
    """`auto` takes torch's fused attention on a GPU, and on a CPU the plain products, which train faster
    there up to 512 tokens (`python -m benchmarks.training_speed`)."""
    if name == "auto":
        name = "sdpa" if device.type == "cuda" else "eager"
    return name


def keep_freed_memory() -> None:
    """Let the allocator reuse freed blocks instead of handing them back to the system.

    Every step frees and asks for the same large activations; giving them back costs a page fault for each
    page, measured at 5 to 18 % of a training step on a virtual machine. glibc only; harmless elsewhere.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: no block is mapped on its own
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap is not trimmed


def repeat_sums() -> None:
    """Have a GPU add up in the same order each time. Before its first product."""
    # cuBLAS repeats its sums only with a workspace of fixed size, set before its first call.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Not `warn_only`: fused attention then adds up its gradients in another order each time.
    torch.use_deterministic_algorithms(True)
    # Else each new tensor is filled before it is written: a launch each, and no other result.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False


def start(settings: dict[str, Any], seed: int) -> Compute:
    """Set threads, seed and determinism of this process, once, from a spec's `compute` block."""
    keep_freed_memory()
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(seed)
    # Attention that is nearly sure leaves gradients below 1e-38, and the processor takes such numbers in a
    # slow path: they cost a tenth of a training step.
    torch.set_flush_denormal(True)
    processes, device = join(settings.get("processes", 1), resolve_device(settings["device"]))
    if device.type == "cuda":
        repeat_sums()
    compute = Compute(
        device,
        resolve_dtype(settings["dtype"], device),
        resolve_attention(settings["attention"], device),
        processes,
        settings.get("compile", "off"),
    )
    stage.COMPUTE.update(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model(),
        dtype=str(compute.dtype).removeprefix("torch."),
        attention=compute.attention,
        threads=settings["threads"],
        processes=processes.count,
        compile=compute.compile,
        seed=seed,
    )
    return compute
