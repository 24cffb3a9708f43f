"""`qaprune publish`: a row of the table as a folder that others can load, with what was measured of it."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from qaprune.data.stages import copy_tokenizer
from qaprune.errors import InputError
from qaprune.models.checkpoint import read_variant
from qaprune.models.encoder import WEIGHTS, architecture_of, read_config, require_span_head
from qaprune.report.checkpoints import FOLDER, command_for, config_name, data_root_of
from qaprune.report.columns import NAMES, Row
from qaprune.report.table_files import IDENTITY, read_rows
from qaprune.serve.card import model_card
from qaprune.serve.folder import new_folder
from qaprune.stage import read_stage

MODULE = "modeling_qaprune"
"""The model's code beside its weights: loads without this package, with `trust_remote_code=True`."""
CLASSES = {"bert": "PrunedBert", "roberta": "PrunedRoberta"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("variant", type=Path, help="a checkpoint folder inside a results folder")
    parser.add_argument("out", type=Path, help="the folder to make; must not exist yet")


def main(args: argparse.Namespace) -> int:
    """Write the folder and say what to do with it."""
    if not publish(args.variant, args.out):
        print(
            f"{args.variant}: no table above it has its row, so the card says that nothing was measured; "
            "publish it where its results folder has its report",
            file=sys.stderr,
        )
    print(f"{args.out}: ready; upload it with `hf upload OWNER/NAME {args.out}`")
    return 0


def publish(variant: Path, out: Path) -> bool:
    """Write checkpoint, tokenizer, model code and card of a finished stage's checkpoint into `out`.

    Returns whether a table had its row, so that the card says what was measured.

    Raises InputError, with nothing written, where the checkpoint is not whole or `out` is taken.
    """
    if not (variant / "variant.json").exists():
        raise InputError(
            f"{variant}: no variant.json; expected a checkpoint folder of a results folder, such as "
            "results/NAME/recover/RUN/POINT/distilled"
        )
    if not (variant / "stage.json").exists():
        raise InputError(f"{variant}: no stage.json; the stage that makes it did not finish")
    if not (variant / WEIGHTS).exists():
        raise InputError(
            f"{variant}: its weights were removed by the config's keep policy; "
            "set `keep` to keep them and run the DAG again"
        )
    require_span_head(variant)
    config = read_config(variant)
    facts, stage = read_variant(variant), read_stage(variant)
    row = find_row(variant, stage["spec"]["run"], facts)
    with new_folder(out) as scratch:
        shutil.copyfile(variant / WEIGHTS, scratch / WEIGHTS)
        copy_tokenizer(variant, scratch)
        if config["model_type"].startswith("pruned_"):
            name = CLASSES[architecture_of(config["model_type"])]
            config["auto_map"] = {
                "AutoConfig": f"{MODULE}.{name}Config",
                "AutoModelForQuestionAnswering": f"{MODULE}.{name}ForQuestionAnswering",
            }
            (scratch / f"{MODULE}.py").write_text(model_code(), encoding="utf-8")
        (scratch / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        card = model_card(config, facts, stage, row, _data_of(variant, row), _command(variant))
        (scratch / "README.md").write_text(card, encoding="utf-8")
    return row is not None


def model_code() -> str:
    """The classes of pruned checkpoints as one file that needs transformers alone."""
    parts = [
        '"""Question-answering models with a width of its own in each layer, made by qaprune."""\n',
        "\nfrom __future__ import annotations\n",
    ]
    for module in ("pruned_config", "pruned"):
        text = files("qaprune.models").joinpath(f"{module}.py").read_text(encoding="utf-8")
        text = re.sub(r'\A""".*?"""\n', "", text, flags=re.DOTALL)
        text = re.sub(r"^from (__future__|qaprune\.\S+) import .*\n", "", text, flags=re.MULTILINE)
        parts.append(f"\n{text.strip()}\n")
    return "".join(parts)


def results_of(variant: Path) -> Path | None:
    """The results folder that a checkpoint lies in: the nearest above it that holds a table."""
    for folder in variant.resolve().parents:
        if (folder / "tables" / "points.csv").exists():
            return folder
    return None


def find_row(variant: Path, run: dict[str, Any], facts: dict[str, Any]) -> Row | None:
    """The checkpoint's row of points.csv; None where the report was not run yet.

    Raises InputError for a table of another schema version, or with a figure that is not a number.
    """
    results = results_of(variant)
    if results is None:
        return None
    wanted = {name: run[name] for name in ("model", "dataset", "seed")}
    wanted |= {name: facts.get(name) for name in ("criterion", "budget", "draw", "variant")}
    rows = read_rows(results / "tables" / "points.csv", NAMES)
    return next((row for row in rows if all(row[name] == wanted[name] for name in IDENTITY)), None)


def _data_of(variant: Path, row: Row | None) -> dict[str, Any] | None:
    """What the stage that read a row's questions recorded; None where it is not there."""
    results = results_of(variant)
    folder = None if results is None or row is None else results / "data" / str(row["dataset"])
    return read_stage(folder) if folder is not None and (folder / "stage.json").is_file() else None


def _command(variant: Path) -> str | None:
    """What makes the weights, relative to the checkout: asked for by name they stay."""
    results = results_of(variant)
    if results is None:
        return None
    name, inside = config_name(results), variant.resolve().relative_to(results).as_posix()
    return command_for(f"results/{name}/{inside}/{WEIGHTS}", name, data_root_of(results) and FOLDER)
