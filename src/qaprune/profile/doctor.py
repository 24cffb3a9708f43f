"""`qaprune doctor`: what can be measured on this host and what cannot, and why. A report, never a gate."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qaprune.options import add_config, overrides

if TYPE_CHECKING:
    from qaprune.plan import Plan
    from qaprune.profile.checks import Answer, Check, Host

SCHEMA_VERSION = 1
SOFTWARE, MACHINE, DEVICE = "Software", "Machine", "Device that would be timed"
STATE, TIMING, CONFIG = "Energy and state", "Timing", "What the config asks for"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    add_config(parser, "also say which demands of a config are met", required=False)
    parser.add_argument(
        "--network", action="store_true", help="also try the hub; nothing else leaves the host"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def main(args: argparse.Namespace) -> int:
    """Print the report. What is missing is part of it: only a bad config is an error."""
    from qaprune.profile.device_checks import open_host

    plan = _plan(args.config, overrides(args)) if args.config else None
    with open_host() as host:
        answers = diagnose(host, plan, args.network, quiet=args.json)
    if args.json:
        print(json_text(answers))
    return 0


def _plan(paths: list[Path], over: dict[str, str]) -> Plan:
    from qaprune.config import load_config
    from qaprune.plan import make_plan

    return make_plan(load_config(paths, over))


def diagnose(
    host: Host, plan: Plan | None = None, network: bool = False, quiet: bool = False
) -> list[Answer]:
    """All answers; unless `quiet`, each line is printed as it comes, since some take seconds."""
    from qaprune.profile.checks import make_check, name_cell, totals

    answers: list[Answer] = []
    section = ""
    if not quiet:
        print("What can be measured on this host")
    for check in every_check(host, plan, network, answers):
        if not quiet:
            if check.section != section:
                section = check.section
                print(f"\n{section}")
            print(name_cell(check.name), end="", flush=True)
        found = make_check(check, host)
        if not quiet:
            _print_rest(found)
        answers += found
    if not quiet:
        print(f"\n{totals(answers)}")
    return answers


def _print_rest(answers: Iterable[Answer]) -> None:
    """The rest of a line whose name is printed, and the lines below it."""
    from qaprune.profile.checks import name_cell, rest_of_line

    for number, answer in enumerate(answers):
        if number:
            print(name_cell(answer.name), end="")
        print(rest_of_line(answer.mark, answer.text), flush=True)


def every_check(host: Host, plan: Plan | None, network: bool, answers: list[Answer]) -> Iterator[Check]:
    """The checks in the order of the report: the load first, before they make one themselves.

    `answers` grows meanwhile: what a config demands is answered by what was found before.
    """
    from qaprune.profile import device_checks, host_checks
    from qaprune.profile.checks import Check

    yield Check(MACHINE, "load", host_checks.load)
    yield Check(MACHINE, "system", host_checks.system)
    yield Check(MACHINE, "CPU", host_checks.cpu)
    yield Check(MACHINE, "CPU clocks", host_checks.clocks)
    yield Check(MACHINE, "variables", host_checks.variables)
    yield Check(MACHINE, "disk", host_checks.disk)
    if network:
        yield Check(MACHINE, "hub", host_checks.hub)
    yield Check(SOFTWARE, "Python", host_checks.python)
    yield Check(SOFTWARE, "torch", host_checks.torch_package)
    yield Check(SOFTWARE, "transformers", host_checks.transformers)
    yield Check(SOFTWARE, "snakemake", host_checks.snakemake)
    yield Check(SOFTWARE, "other packages", host_checks.other_packages)
    yield Check(DEVICE, "device", device_checks.device)
    yield Check(DEVICE, "GPU", device_checks.gpu)
    if host.on_gpu:
        yield Check(DEVICE, "GPU limits", device_checks.gpu_limits)
    yield Check(STATE, "energy", device_checks.energy)
    yield Check(STATE, "power and clocks", device_checks.sampler)
    yield Check(STATE, "foreign processes", device_checks.foreign)
    yield Check(TIMING, "CUDA events", device_checks.timer)
    yield Check(TIMING, "bf16", device_checks.bfloat16)
    yield Check(TIMING, "eager", device_checks.eager)
    yield Check(TIMING, "sdpa", device_checks.sdpa)
    yield Check(TIMING, "flash_attention_2", device_checks.flash_attention_2)
    yield Check(TIMING, "onnxruntime", device_checks.onnxruntime)
    yield Check(TIMING, "torch.compile", device_checks.compiling)
    if plan is not None:
        from qaprune.profile.config_checks import Demands

        demands = Demands(plan, answers, network)
        yield Check(CONFIG, "device", demands.device)
        yield Check(CONFIG, "number formats", demands.dtypes)
        yield Check(CONFIG, "attention", demands.backends)
        yield Check(CONFIG, "compile", demands.compiling)
        yield Check(CONFIG, "threads", demands.threads)
        yield Check(CONFIG, "foreign processes", demands.foreign)
        yield Check(CONFIG, "disk", demands.disk)
        yield Check(CONFIG, "sources", demands.sources)


def json_text(answers: list[Answer]) -> str:
    """What the text says, for programs."""
    found = {"schema_version": SCHEMA_VERSION, "checks": [asdict(answer) for answer in answers]}
    return json.dumps(found, indent=2, ensure_ascii=False)
