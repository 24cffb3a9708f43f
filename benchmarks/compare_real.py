"""Does `qaprune compare` see a planted slowdown in real timings, and leave unchanged pairs alone?

Times a small from-scratch teacher and a half-size variant again and again in this process, makes pairs of
runs from it, and lets the gate judge them: `--pairs` unchanged ones, and as many whose second run waits
20 % longer after each pass of the variant. Prints how many were caught and how many were false alarms.

    python -m benchmarks.compare_real --pairs 20 --rounds 60 --threads 2

Run it by hand on an otherwise idle machine; it takes a few minutes and writes nothing. With the defaults a
pass takes 10 to 50 ms on a CPU. Other work on the machine shows as "too noisy to tell" and missed pairs:
that is the answer to whether this machine can serve as a gate.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from qaprune.errors import InputError
from qaprune.profile.settings import Setting
from qaprune.profile.timers import ForwardPass, make_stopwatch, time_interleaved
from qaprune.report.compare_speed import compare_timings
from qaprune.report.findings import REGRESSION, UNCLEAR, Comparison, Tolerances
from qaprune.report.timings import Timings

SLOWDOWN = 1.2
VARIANT = "half"
SETTING = Setting(8, 128, "float32", "sdpa", "off")
Clock = Callable[[], float]


def busy_wait(until: float) -> None:
    """Keep the core busy, as slower code would; sleeping would let it clock down."""
    while time.perf_counter() < until:
        pass


def slowed(model: ForwardPass, wait: Callable[[float], None], clock: Clock) -> ForwardPass:
    """The same pass, SLOWDOWN times as long whatever it took."""

    def forward(number: int) -> object:
        started = clock()
        output = model(number)
        ended = clock()
        wait(ended + (SLOWDOWN - 1) * (ended - started))
        return output

    return forward


def one_run(
    models: Mapping[str, ForwardPass], rounds: int, seed: int, device: str, clock: Clock
) -> Timings:
    """One run of the profile's own timer, as the report would read it."""
    stopwatch = replace(make_stopwatch(device), clock=clock)
    for number in range(3):
        time_interleaved(models, 1, 0, stopwatch, seed + number)
    samples = time_interleaved(models, rounds, 0, stopwatch, seed)
    seconds: dict = {}
    for sample in samples:
        seconds.setdefault((SETTING, sample.name), {})[sample.round] = sample.seconds
    environment = {"gpu": device if device.startswith("cuda") else None}
    return Timings(seconds, {}, SETTING[:2], device, "same", environment)


def count_pairs(
    models: Mapping[str, ForwardPass],
    planted: str,
    pairs: int,
    rounds: int,
    wait: Callable[[float], None] = busy_wait,
    clock: Clock = time.perf_counter,
    device: str = "cpu",
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[int, int]:
    """How many of `pairs` planted slowdowns were caught, and how many of `pairs` unchanged ones alarmed."""
    slower = dict(models) | {planted: slowed(models[planted], wait, clock)}
    caught = alarms = 0
    for number in range(pairs):
        first, same, slow = (
            one_run(which, rounds, 3 * number + place, device, clock)
            for place, which in enumerate((models, models, slower))
        )
        unchanged, changed = (
            compare_timings("real", first, second, Tolerances()) for second in (same, slow)
        )
        alarms += bool(unchanged.having(REGRESSION))
        caught += any(finding.variant == planted for finding in changed.having(REGRESSION))
        tell(f"pair {number + 1}: unchanged {described(unchanged)} | planted {described(changed)}")
    return caught, alarms


def described(found: Comparison) -> str:
    """`half +19.8 % (+18.1 to +21.4), 2 regressions, 0 unclear`."""
    latency = next(f for f in found.findings if (f.variant, f.measure) == (VARIANT, "latency_ms"))
    return (
        f"{VARIANT} {latency.change:+.1f} % ({latency.low:+.1f} to {latency.high:+.1f}), "
        f"{len(found.having(REGRESSION))} regressions, {len(found.having(UNCLEAR))} unclear"
    )


def make_models(device: str) -> dict[str, ForwardPass]:
    """An untrained BERT of six layers, and one of three, on the same random windows."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    torch.manual_seed(13)
    shape = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "vocab_size": 4000}
    ids = torch.randint(4000, SETTING[:2], device=device)

    def forward(layers: int) -> ForwardPass:
        model = BertForQuestionAnswering(BertConfig(num_hidden_layers=layers, **shape)).eval().to(device)
        return lambda number: model(input_ids=ids)

    return {"teacher": forward(6), VARIANT: forward(3)}


def main() -> int:
    """Time the pairs and print the two counts."""
    import torch

    from qaprune.profile.device import choose_device
    from qaprune.train.compute import keep_freed_memory

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args()
    try:
        device = choose_device(args.device)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    keep_freed_memory()
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        caught, alarms = count_pairs(
            make_models(device), VARIANT, args.pairs, args.rounds, device=device, tell=print
        )
    print(f"planted slowdowns of 20 % caught: {caught} of {args.pairs}")
    print(f"false alarms in unchanged pairs: {alarms} of {args.pairs}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
