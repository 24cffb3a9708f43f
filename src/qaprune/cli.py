"""Command line: one subcommand a stage, and a few that serve people directly.

Nothing heavy is imported before the stage that needs it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from qaprune import __version__
from qaprune.errors import InputError
from qaprune.jsonfile import unreadable
from qaprune.options import add_config, overrides


@dataclass(frozen=True)
class StageCommand:
    """How a stage is called: its function, its input options, and what `--help` says.

    `inputs` are paths, `keyed` is filled by `--variant KEY=DIR`, `listed` take several paths; a trailing
    `?` marks what may be left out. `threads`: whether it takes a number of processes, which changes no
    result.
    """

    function: str
    help: str
    inputs: tuple[str, ...] = ()
    keyed: str | None = None
    listed: tuple[str, ...] = ()
    threads: bool = False


STAGES = {
    "corpus": StageCommand("qaprune.data.stages:corpus", "write the embedded corpus"),
    "data": StageCommand("qaprune.data.stages:data", "prepare one data set", ("corpus?",), threads=True),
    "encoder": StageCommand("qaprune.data.stages:encoder", "fetch or build one encoder", ("corpus?",)),
    "features": StageCommand(
        "qaprune.data.stages:features",
        "make windowed features",
        ("train", "holdout", "dev", "encoder"),
        threads=True,
    ),
    "teacher": StageCommand(
        "qaprune.train.stages:teacher", "fine-tune the unpruned teacher", ("encoder", "features", "holdout")
    ),
    "latency": StageCommand(
        "qaprune.profile.latency:latency", "time every width of an encoder", ("encoder", "features")
    ),
    "gate": StageCommand(
        "qaprune.gate.stage:gate", "score the gates by one criterion", ("teacher", "features", "latency?")
    ),
    "prune": StageCommand(
        "qaprune.prune.stage:prune",
        "cut a teacher to a budget",
        ("teacher", "gate?", "mask?", "features", "holdout", "latency?"),
    ),
    "recover": StageCommand(
        "qaprune.train.stages:recover",
        "retrain or distil a pruned model",
        ("model", "logits?", "teacher?", "features", "holdout"),
    ),
    "evaluate": StageCommand(
        "qaprune.evaluate.stage:evaluate",
        "score all variants of a run on dev",
        ("features", "dev", "gold"),
        keyed="variants",
    ),
    "profile": StageCommand(
        "qaprune.profile.stage:profile",
        "time all variants of a run",
        ("features", "dev?", "encoder?"),
        keyed="variants?",
    ),
    "report": StageCommand(
        "qaprune.report.stage:report", "tables and plots", listed=("evaluate", "profile")
    ),
}


PEOPLE = (
    ("score", "qaprune.evaluate.score", "official figures of a prediction file"),
    (
        "compare",
        "qaprune.report.compare_command",
        "what got worse between two results folders (exit 3)",
    ),
    (
        "recommend",
        "qaprune.report.recommend_command",
        "the measured point that loses at most so much F1 (exit 3 if none)",
    ),
    ("show", "qaprune.report.show", "table and plot of a results folder, finished or not, as text"),
    ("answer", "qaprune.serve.command", "answer questions with a checkpoint"),
    ("publish", "qaprune.serve.publish", "make a checkpoint a folder for the hub, with a model card"),
    ("export", "qaprune.serve.export", "write a checkpoint as an ONNX model"),
    ("doctor", "qaprune.profile.doctor", "what can be measured on this host, and why not the rest"),
    ("bundle", "qaprune.bundle.command", "pack a config for a host without network"),
)
"""Commands for people: name, the module with `add_arguments` and `main`, what `--help` says."""


def build_parser(asked: str | None = None) -> argparse.ArgumentParser:
    """The whole command line; with `asked`, only that command's module is imported for its options.

    So `doctor` can say which packages are missing, and no command waits for another's.
    """
    parser = argparse.ArgumentParser(prog="qaprune", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"qaprune {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, stage in STAGES.items():
        sub = commands.add_parser(name, help=stage.help, description=stage.help)
        sub.add_argument("--spec", required=True, help="the stage's settings as JSON, or @FILE")
        sub.add_argument("--out", required=True, type=Path, help="the stage's output folder")
        sub.add_argument("--log", type=Path, help="also write the stage's lines to this file")
        for option in stage.inputs:
            sub.add_argument(f"--{option.rstrip('?')}", type=Path, required=not option.endswith("?"))
        if stage.keyed:
            sub.add_argument(
                "--variant",
                action="append",
                required=not stage.keyed.endswith("?"),
                default=[],
                metavar="KEY=DIR",
                help="a checkpoint and its key",
            )
        for option in stage.listed:
            sub.add_argument(f"--{option}", type=Path, nargs="*", default=[])
        if stage.threads:
            sub.add_argument("--threads", type=int, default=1, help="processes; changes no result")
        sub.set_defaults(main=_run_stage, stage=stage)
    for name, module, text in PEOPLE:
        sub = commands.add_parser(name, help=text, description=text)
        if asked in (None, name):
            found = import_module(module)
            found.add_arguments(sub)
            sub.set_defaults(main=found.main)
    sub = commands.add_parser("plan", help="runs, jobs, estimated hours and disk of a config")
    add_config(sub)
    sub.set_defaults(main=_plan)
    return parser


def _run_stage(args: argparse.Namespace) -> int:
    from qaprune.stage import Log, is_main_process, run_stage

    stage: StageCommand = args.stage
    spec = _read_spec(args.spec)
    paths: dict[str, Path] = {}
    for option in (name.rstrip("?") for name in stage.inputs):
        if (path := getattr(args, option)) is not None:
            paths[option] = _folder(path)
    inputs: dict[str, Any] = dict(paths)
    if stage.keyed:
        variants = inputs[stage.keyed.rstrip("?")] = _keyed(args.variant)
        paths |= {f"variant {key}": path for key, path in variants.items()}
    for option in stage.listed:
        inputs[option] = [_folder(path) for path in getattr(args, option)]
        paths |= {f"{option} {path.name}": path for path in inputs[option]}
    if stage.threads:
        inputs["threads"] = args.threads
    for name, path in paths.items():
        if not path.exists():
            raise InputError(f"--{name}: {path}: no such file or folder")
    out = _folder(args.out)
    log = Log(args.log)
    module, _, function = stage.function.partition(":")
    label = spec.get("label", "")

    def work(out: Path) -> dict[str, Any]:
        try:
            return getattr(import_module(module), function)(spec, inputs, out, log)
        except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
            # A spec of one's own is the likeliest reason; if its values are sound, the program is at fault.
            from qaprune.spec_checks import misfits

            if wrong := next(misfits(spec), None):
                raise InputError(f"--spec: {wrong}") from error
            raise

    try:
        result = run_stage(args.command, spec, paths, out, work)
    except InputError as error:
        log.keep(f"error: {error}")
        raise type(error)(f"{args.command} {label}: {error}" if label else str(error)) from error
    if not is_main_process():
        return 0
    record = json.loads((out / "stage.json").read_text(encoding="utf-8"))
    log(f"{args.command} {label}: {result['summary']} ({record['seconds']:.1f} s)")
    return 0


def _folder(path: Path) -> Path:
    """A stage may be named by its folder or by the `stage.json` in it."""
    return path.parent if path.name == "stage.json" else path


class _Spec(dict[str, Any]):
    """A spec, or a block of it, that names a key which is asked for and not there."""

    def __missing__(self, key: str) -> Any:
        raise InputError(f"--spec: missing key {key!r}")


def _read_spec(text: str) -> dict[str, Any]:
    try:
        if text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        spec = json.loads(text, object_hook=_Spec)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--spec: {unreadable(text[1:], error)}") from None
    except json.JSONDecodeError as error:
        raise InputError(f"--spec: invalid JSON: {error.msg} at character {error.pos}") from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"--spec: invalid JSON: {error}") from None
    if not isinstance(spec, dict):
        raise InputError("--spec: expected a JSON object")
    return spec


def _keyed(pairs: list[str]) -> dict[str, Path]:
    found = {}
    for pair in pairs:
        key, separator, path = pair.partition("=")
        if not separator or not key:
            raise InputError(f"--variant: expected KEY=DIR, got {pair!r}")
        found[key] = Path(path)
    return found


def _plan(args: argparse.Namespace) -> int:
    from qaprune.config import load_config
    from qaprune.plan import make_plan

    print(make_plan(load_config(args.config, overrides(args))).describe())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; bad input is one line on standard error and exit code 1."""
    # Importing torch and transformers makes a million objects that all stay: looking for garbage among them
    # again and again took a fifth of the 4 seconds.
    gc.set_threshold(100_000, 50, 50)
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(next((word for word in words if not word.startswith("-")), "")).parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.main
    try:
        code = command(args)
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"qaprune: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # `qaprune show ... | head` has read enough; what is left to flush at the end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
