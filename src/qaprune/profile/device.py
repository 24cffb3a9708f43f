"""Where to time, in which numbers, on how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qaprune.errors import InputError


def choose_device(wanted: str) -> str:
    """The torch device to time on: `auto` takes the GPU where there is one."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("profile.device: 'cuda' was asked for, but torch finds no GPU here")
    if wanted == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{torch.cuda.current_device()}"


def choose_dtype(wanted: str, device: str) -> str:
    """The numbers' type: `auto` is bfloat16 on a GPU that has it in hardware, float32 elsewhere."""
    if wanted != "auto":
        return wanted
    import torch

    from qaprune.train.compute import has_bfloat16

    return "bfloat16" if device.startswith("cuda") and has_bfloat16(torch.device(device)) else "float32"


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
