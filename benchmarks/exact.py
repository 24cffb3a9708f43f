"""Figures that no clock decides, compared exactly: FLOPs, parameters, jobs, windows and bytes.

    python -m benchmarks.exact            # what differs from benchmarks/exact.json; exit code 3 if anything
    python -m benchmarks.exact --renew    # write it anew, and print what changed (`make exact`)

The default test suite compares them too. A difference is a fact about the code or a package: explain it in
the commit that renews the file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.workload import (
    ARCHITECTURES,
    DATASETS,
    SEED,
    SIZES,
    Embedded,
    make_embedded,
    random_mask,
    untrained,
)
from qaprune.errors import InputError
from qaprune.jsonfile import expect, read_json

ROOT = Path(__file__).parents[1]
EXACT = Path(__file__).with_name("exact.json")
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))

LENGTHS = (128, 384)
BUDGETS = ("h100-f100", "h50-f50", "h39.9-f21.6")
"""Unpruned, half of everything, and the paper's deepest cut."""
WINDOWS = {"length": 112, "stride": 32, "max_answer_tokens": 12}
QUESTIONS = 400
"""Training questions of the small embedded corpus."""
ENVIRONMENT = os.environ | {"NO_COLOR": "1"}
"""Of a dry run, whose table is read."""

Figures = dict[str, Any]


def read_exact() -> Figures:
    """The kept figures."""
    return expect(read_json(EXACT), dict, str(EXACT))


def all_figures() -> Figures:
    """Every figure as it is now."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            "jobs": {config.stem: dag_jobs(config) for config in CONFIGS},
            **model_figures(),
            **file_figures(Path(folder)),
        }


def model_figures() -> Figures:
    """FLOPs a window and parameters of the three sizes, whole and cut by the project's own slicing."""
    from qaprune.models.cost import encoder_flops, parameters
    from qaprune.models.encoder import model_shape
    from qaprune.prune.slice import slice_model

    found: Figures = {"flops": {}, "parameters": {}}
    for size in SIZES:
        model = untrained(size, device="meta")
        for budget in BUDGETS:
            smaller = slice_model(model, random_mask(model_shape(model), budget))
            found["parameters"][f"{size} {budget}"] = parameters(smaller)
            for length in LENGTHS:
                flops = encoder_flops(model_shape(smaller), length)
                found["flops"][f"{size} {budget} length {length}"] = flops
    return found


def file_figures(folder: Path) -> Figures:
    """Windows of a small embedded corpus; bytes of features, masks and checkpoints. Writes to `folder`."""
    made = make_embedded(folder, QUESTIONS)
    windows = {
        f"{architecture}-{dataset}": _window_figures(made.features(architecture, dataset))
        for architecture in ARCHITECTURES
        for dataset in DATASETS
    }
    files = {architecture: _checkpoint_bytes(made, architecture) for architecture in ARCHITECTURES}
    return {"windows": windows, "bytes": {"mask of bert-12x768": _mask_bytes(folder), **files}}


def _window_figures(features: Path) -> Figures:
    """Number of windows, their tokens, and the bytes that they take on disk."""
    from qaprune.data.features import load_features

    found: Figures = {}
    for split in ("train", "dev"):
        loaded = load_features(features / f"{split}.safetensors")
        found[split] = {
            "questions": loaded.questions,
            "windows": loaded.windows,
            "tokens": int(loaded.row_ptr[-1]),
            "bytes": (features / f"{split}.safetensors").stat().st_size,
        }
    return found


def _mask_bytes(folder: Path) -> int:
    """A mask file of bert-base as `prune` writes it."""
    from qaprune.models.encoder import model_shape
    from qaprune.prune.mask import save_mask

    mask = random_mask(model_shape(untrained("bert-12x768", device="meta")), "h50-f50")
    path = folder / "mask.safetensors"
    save_mask(path, mask, {"criterion": "random", "budget": "h50-f50", "draw": "0"})
    return path.stat().st_size


def _checkpoint_bytes(made: Embedded, architecture: str) -> Figures:
    """Weights of the from-scratch encoder as a question-answering model, whole and half."""
    from qaprune.models.checkpoint import save_checkpoint
    from qaprune.models.encoder import load_model, model_shape
    from qaprune.prune.slice import slice_model

    found: Figures = {}
    encoder = made.encoder(architecture)
    model = load_model(encoder)
    for budget in BUDGETS[:2]:
        out = made.folder / "sliced" / architecture / budget
        smaller = slice_model(model, random_mask(model_shape(model), budget))
        save_checkpoint(
            smaller,
            out,
            encoder,
            WINDOWS,
            {"variant": "pruned", "threshold": 0.0, "budget": budget, "seed": SEED},
        )
        found[f"checkpoint {budget}"] = (out / "model.safetensors").stat().st_size
    return found


def dag_jobs(config: Path) -> dict[str, int]:
    """Jobs of each rule that Snakemake would run for a config where nothing has been made yet."""
    with tempfile.TemporaryDirectory() as folder:
        command = dry_run(config, Path(folder))
        done = subprocess.run(
            [*command, "--quiet", "rules"], cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT
        )
    if done.returncode:
        raise InputError(
            f"{config.name}: the dry run failed: {(done.stderr or done.stdout).strip()[-300:]}"
        )
    return count_jobs(done.stdout + done.stderr)


def dry_run(config: Path, folder: Path) -> list[str]:
    """The command for a dry run in an empty folder: results that lie about change what is planned."""
    options = ["-n", "--nolock", "--cores", "1", "--snakefile", str(ROOT / "Snakefile")]
    options += ["--directory", str(folder), "--configfile", str(config)]
    return [sys.executable, "-m", "snakemake", *options]


def count_jobs(text: str) -> dict[str, int]:
    """Rule -> jobs from the table that ends a dry run; `total` counts the target rule `all` too."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, re.M)}


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """One line for each figure that is not the same: its name, what was expected, what was found."""
    before, after = dict(flat(expected)), dict(flat(found))
    return [
        f"{name}: expected {_shown(before, name)}, found {_shown(after, name)}"
        for name in sorted(before | after)
        if name not in before or name not in after or before[name] != after[name]
    ]


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(`jobs.small.teacher`, 1) of every figure."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(figures: Mapping[str, Any], name: str) -> str:
    value = figures.get(name)
    return "no such figure" if value is None else f"{value:,}"


def explain(lines: Iterable[str]) -> str:
    """What a failed comparison says."""
    return "\n  ".join(["exact figures differ; if that is meant: make exact", *lines])


def main(argv: list[str] | None = None) -> int:
    """Compare or renew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exact", description=__doc__.splitlines()[0])
    parser.add_argument("--renew", action="store_true", help=f"write {EXACT.name} anew")
    renew = parser.parse_args(argv).renew
    try:
        found = all_figures()
        known = {} if renew and not EXACT.exists() else read_exact()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    lines = differences(known, found)
    print("\n".join(lines) or f"all {len(list(flat(found)))} exact figures are as expected")
    if renew and lines:
        fresh = EXACT.with_name(f".{EXACT.name}")
        fresh.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        fresh.replace(EXACT)
    return 3 if lines and not renew else 0


if __name__ == "__main__":
    sys.exit(main())
