"""Where the checkpoints behind a row lie, and what Snakemake is asked for to make them again."""

from __future__ import annotations

import contextlib
import glob
from pathlib import Path

from qaprune.config import ROOT, read_yaml
from qaprune.errors import InputError
from qaprune.stage import digest, read_stage

CONFIG = "CONFIG"
"""Stands for a config that is not one of this checkout: an overlay of the user's own."""


def run_id(model: object, dataset: object, seed: object) -> str:
    """The folder of a run in every stage."""
    return f"{model}-{dataset}-s{seed}"


def trained_run(results: Path, model: object, dataset: str, seed: object) -> str:
    """The run whose checkpoints a row's run scored: itself, or that of the data set which `checkpoints_of`
    named. `evaluate` recorded what its teacher was made from; where that is gone the config says it.
    """
    own = run_id(model, dataset, seed)
    if (results / "teacher" / own).is_dir():
        return own
    with contextlib.suppress(InputError, KeyError, TypeError):
        made = read_stage(results / "evaluate" / own)["inputs"]["variant teacher"]
        for folder in sorted((results / "teacher").glob(glob.escape(f"{model}-") + f"*-s{seed}")):
            with contextlib.suppress(InputError, KeyError):
                if digest(folder) == made:
                    return folder.name
    config = ROOT / config_of(config_name(results))
    if config.is_file():
        with contextlib.suppress(InputError, KeyError):
            return run_id(model, read_yaml(config)["datasets"][dataset]["checkpoints_of"], seed)
    return own


def config_name(results: Path) -> str:
    """The name of the config that a results folder was made by: the report keeps it, else the folder's."""
    name = None
    with contextlib.suppress(InputError, KeyError, AttributeError):
        name = read_stage(results)["spec"].get("name")
    return name or results.resolve().name


def config_of(name: str) -> str:
    """The config of that name in this checkout; CONFIG where it has none."""
    path = f"config/{name}.yaml"
    return path if (ROOT / path).is_file() else CONFIG
