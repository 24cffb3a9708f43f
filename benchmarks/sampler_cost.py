"""What does the GPU sampler cost the passes that run beside it?

Times blocks of forward passes with the sampler polling and without, in shuffled order, and prints the ratio
of their medians with its interval. Latencies are never timed beside the sampler; energy windows are.

    python -m benchmarks.sampler_cost --blocks 60 --milliseconds 5

The bar on a GPU: under 1 % of a 5 ms forward pass. Without a GPU the queries go to a simulated card that
answers at once, and the passes run on the CPU: that counts Python's own share and nothing of the driver's.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np

from qaprune.profile.nvml import Gpu, open_gpu
from qaprune.profile.outcome import NotMeasured
from qaprune.profile.sampler import Sampler
from qaprune.profile.timers import make_stopwatch
from qaprune.report.intervals import ratio_of_medians

BLOCK_SECONDS = 0.5
"""Ten polls, and one of each slower reading."""


@contextmanager
def some_gpu(device: str) -> Iterator[tuple[Gpu, str]]:
    """The card and what it is: NVML's, or a simulated one."""
    with open_gpu(device) as gpu:
        if not isinstance(gpu, NotMeasured):
            yield gpu, "NVML"
            return
        if device.startswith("cuda"):
            raise SystemExit(f"error: {gpu.reason}")
    from tests.unit.fake_nvml import UUID, FakeNvml

    yield Gpu(FakeNvml(), f"GPU-{UUID}", f"GPU-{UUID}"), "a simulated card"


def make_pass(device: str, milliseconds: float) -> Callable[[], object]:
    """A chain of matrix products that takes about so long."""
    import torch

    size = 4096 if device.startswith("cuda") else 256
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    matrix = torch.randn(size, size, device=device, dtype=dtype) / size**0.5
    stopwatch = make_stopwatch(device)

    def products(count: int) -> None:
        product = matrix
        for _ in range(count):
            product = product @ matrix

    products(10)
    one = min(stopwatch.measure(lambda: products(20))[0] for _ in range(5)) / 20
    count = max(1, round(milliseconds / 1000 / one))
    return lambda: products(count)


def block(call: Callable[[], object], device: str) -> list[float]:
    """Seconds of each pass of a block."""
    stopwatch = make_stopwatch(device)
    found: list[float] = []
    until = time.perf_counter() + BLOCK_SECONDS
    while time.perf_counter() < until:
        found.append(stopwatch.measure(call)[0])
    return found


def main() -> None:
    """Time the blocks and print the cost."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=60, help="of each kind")
    parser.add_argument("--milliseconds", type=float, default=5.0, help="length of a pass")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of passes on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    order = [True, False] * args.blocks
    random.Random(13).shuffle(order)
    with torch.inference_mode(), some_gpu(device) as (gpu, what):
        call = make_pass(device, args.milliseconds)
        block(call, device)
        medians: dict[bool, list[float]] = {True: [], False: []}
        for sampled in order:
            with Sampler(gpu) if sampled else nullcontext():
                medians[sampled].append(float(np.mean(block(call, device))))
    ratio, low, high = ratio_of_medians(np.array(medians[False]), np.array(medians[True]))
    print(f"passes of {1000 * float(np.median(medians[False])):.2f} ms on {device}, polling {what}")
    print(f"sampler costs {100 * (ratio - 1):+.2f} % ({100 * (low - 1):+.2f} to {100 * (high - 1):+.2f})")


if __name__ == "__main__":
    main()
