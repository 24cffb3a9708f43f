"""Where the checkpoints behind a row lie, and what Snakemake is asked for to make them again."""

from __future__ import annotations

import contextlib
import glob
import shlex
from pathlib import Path

from qaprune.config import ROOT, read_yaml
from qaprune.errors import InputError
from qaprune.stage import digest, read_stage

CONFIG, NAME, FOLDER = "CONFIG", "NAME", "FOLDER"
"""Stand for a config that is not one of this checkout (an overlay of the user's own), for its name, and for
the `data_root` of whoever runs the command."""


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
    """The name of the config that made a results folder: the report keeps it, else it is the folder's.

    Tables alone may lie in a folder of any name: NAME, unless a config has it.
    """
    name, folder = None, results.resolve().name
    with contextlib.suppress(InputError, KeyError, AttributeError):
        name = read_stage(results)["spec"].get("name")
    made_here = any((results / stage).is_dir() for stage in ("recover", "evaluate", "profile"))
    return name or (folder if made_here or config_of(folder) != CONFIG else NAME)


def config_of(name: str) -> str:
    """The config of that name in this checkout; CONFIG where it has none."""
    path = f"config/{name}.yaml"
    return path if (ROOT / path).is_file() else CONFIG


def command_for(target: str, name: str, data_root: str | None = None, force: bool = False) -> str:
    """What makes `target`, a file of the run of config `name`; `data_root` where its sources lay in one,
    `force` where it is to be made though it is there."""
    words = ["snakemake", target, *(["--force"] if force else []), "--cores", "all"]
    words += ["--configfile", config_of(name)]
    return shlex.join(words) + (f" --config data_root={shlex.quote(data_root)}" if data_root else "")


def data_root_of(results: Path) -> str | None:
    """The `data_root` of a run, as its report recorded it."""
    with contextlib.suppress(InputError, KeyError, AttributeError):
        return read_stage(results)["spec"].get("data_root")
    return None
