"""Asked, predicted and measured speedup of models cut to a target, on this device.

Makes the latency table of a 6-layer 384-wide encoder with the stage `latency`, cuts it by random scores
(uneven layers, as real criteria make them) to each target within that table, and times the cuts beside
the unpruned model with the profile's own timer, twice.

    python -m benchmarks.speed_targets [--targets 1.5 2 3] [--batch 8] [--length 128] [--rounds 60]

The bar at batch 8 x 128: all three agree within 7 % on a CPU, within 5 % on a GPU. Run it on an otherwise
idle machine; it takes a few minutes and writes nothing. Exit code 3: beyond the bar.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.workload import SEED, make_embedded
from qaprune.budget import parse_budget
from qaprune.data import stages
from qaprune.errors import InputError
from qaprune.report.intervals import paired_ratios

if TYPE_CHECKING:
    from torch import nn

SCRATCH = {
    "vocab_size": 1500,
    "layers": 6,
    "hidden": 384,
    "heads": 12,
    "intermediate": 1536,
    "max_positions": 512,
}
BARS = {"cpu": 7.0, "cuda": 5.0}
"""Per cent that any two of the three may be apart."""


def make_inputs(folder: Path, questions: int) -> dict[str, Path]:
    """An untrained encoder's folder and features of the embedded corpus."""
    made = make_embedded(folder, questions)
    spec = {
        "architecture": "bert",
        "source": {"scratch": SCRATCH},
        "seed": SEED,
        "weights": False,
    }
    encoder = folder / "wide"
    encoder.mkdir()
    stages.encoder(spec, {"corpus": folder / "corpus"}, encoder, lambda line: None)
    return {"encoder": encoder, "features": made.features("bert", "squad2")}


def latency_spec(args: argparse.Namespace) -> dict[str, Any]:
    """The stage's spec, as a plan would write it."""
    from qaprune.specs import LATENCY

    return {
        "label": "speed targets",
        "seed": 0,
        "device": "auto",
        "cell": {"batch": args.batch, "length": args.length},
        "dtype": "auto",
        "backend": "sdpa",
        "threads": args.threads,
        **LATENCY | {"rounds": args.rounds},
    }


def cut(full: nn.Module, targets: list[float], folder: Path) -> dict[float, tuple[nn.Module, float]]:
    """target -> (the model cut to it, the speedup that the table promises)."""
    from qaprune.gate.registry import GateTask, load_criterion
    from qaprune.models.encoder import model_shape
    from qaprune.profile.latency import load_costs
    from qaprune.prune.select import select
    from qaprune.prune.slice import slice_model

    shape = model_shape(full)
    costs = load_costs(folder, shape)
    scores = load_criterion("random").score(GateTask(shape, {"draws": 1}, SEED))
    found = {}
    for target in targets:
        mask = select(scores, 0, parse_budget(f"x{target:g}"), shape, "random", costs)
        found[target] = (slice_model(full, mask), costs.full / costs.of(*mask.widths()))
    return found


def speedups(
    models: dict[Any, nn.Module], inputs: dict[str, Path], spec: dict[str, Any]
) -> dict[Any, float]:
    """Median of the paired ratio to the model `full`, of every other one."""
    import torch

    from qaprune.data.features import load_features
    from qaprune.profile.device import choose_device, torch_threads
    from qaprune.profile.inputs import in_turn, timed_batches
    from qaprune.profile.timers import make_stopwatch, time_interleaved, warm_up

    device = choose_device(spec["device"])
    windows = load_features(inputs["features"] / "dev.safetensors")
    cell = spec["cell"]
    batches = timed_batches(windows, cell["batch"], cell["length"], spec["seed"] + 1, device)
    calls = {name: in_turn(model, batches) for name, model in models.items()}
    stopwatch, warm = make_stopwatch(device), spec["warmup"]
    with torch_threads(spec["threads"]), torch.inference_mode():
        warm_up(calls, warm["least"], warm["most"], warm["cv_percent"], stopwatch)
        samples = time_interleaved(calls, spec["rounds"], 0, stopwatch, spec["seed"])
    seconds: dict[Any, dict[int, float]] = {}
    for sample in samples:
        seconds.setdefault(sample.name, {})[sample.round] = sample.seconds
    full = seconds.pop("full")
    return {name: float(np.median(paired_ratios(full, rounds))) for name, rounds in seconds.items()}


def main(argv: list[str] | None = None) -> int:
    """Print a line a target."""
    import torch

    from qaprune.profile.device import choose_device, choose_dtype
    from qaprune.profile.latency import latency
    from qaprune.profile.models import Untrained
    from qaprune.train.compute import keep_freed_memory

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", type=float, nargs="+", default=[1.5, 2.0, 3.0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    if args.length > SCRATCH["max_positions"]:
        parser.error(
            f"--length: expected at most the encoder's {SCRATCH['max_positions']}, got {args.length}"
        )
    keep_freed_memory()
    spec = latency_spec(args)
    device = choose_device("auto")
    dtype = getattr(torch, choose_dtype("auto", device))
    within = BARS[device.split(":")[0]]
    with tempfile.TemporaryDirectory(prefix="qaprune-targets-") as name:
        folder = Path(name)
        inputs = make_inputs(folder / "made", 200)
        print(latency(spec, inputs, folder, print)["summary"], flush=True)
        untrained = Untrained(inputs["encoder"], "uniform", (), SEED, "sdpa", args.length)
        full = untrained.loaders(device)["teacher"]()
        try:
            cuts = cut(full, args.targets, folder)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        models = {"full": full} | {target: model for target, (model, _) in cuts.items()}
        models = {name: model.eval().to(device, dtype) for name, model in models.items()}
        measured = [speedups(models, inputs, spec) for _ in range(2)]
    worst = 0.0
    for target, (_, predicted) in cuts.items():
        first, second = (found[target] for found in measured)
        three = (target, predicted, first)
        apart = 100 * (max(three) / min(three) - 1)
        worst = max(worst, apart)
        print(
            f"asked {target:.2f}x, predicted {predicted:.2f}x, measured {first:.2f}x "
            f"(again {second:.2f}x): {apart:.1f} % apart"
        )
    print(f"largest {worst:.1f} %, the bar is {within:g} % on {device}")
    return 3 if worst > within else 0


if __name__ == "__main__":
    sys.exit(main())
