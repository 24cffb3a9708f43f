"""`qaprune recommend`: the measured point that meets a need, in words or as JSON. Needs no torch."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qaprune.report.compare_command import points

if TYPE_CHECKING:
    from qaprune.report.recommend import Answer, Candidate, Measured, Miss, Need

WIDTH = 80
NONE_MEETS = 3
"""Exit code: the points were measured, and none is within the limits."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS", help="results folders of finished reports"
    )
    parser.add_argument("--dataset", required=True, help="data set of the config")
    parser.add_argument(
        "--max-f1-drop",
        type=points,
        required=True,
        metavar="POINTS",
        help="F1 that may be lost on the hold-out, against the better teacher there",
    )
    parser.add_argument(
        "--min-speedup", type=_positive, metavar="X", help="the interval's lower end must reach this"
    )
    parser.add_argument("--model", help="model of the config; without it one answer a model")
    parser.add_argument("--batch", type=_whole, help="speeds at this batch instead of the headline's")
    parser.add_argument("--length", type=_whole, help="speeds at this window length, in tokens")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def main(args: argparse.Namespace) -> int:
    """Print the answers; 0 where there is a point for every model, 3 where there is none for one."""
    from qaprune.report.recommend import Need, recommend

    need = Need(args.dataset, args.max_f1_drop, args.min_speedup, args.model, args.batch, args.length)
    answers = recommend(args.results, need)
    print(json_text(need, answers) if args.json else text(need, answers))
    return 0 if all(answer.points for answer in answers) else NONE_MEETS


def text(need: Need, answers: list[Answer]) -> str:
    """What is printed: a block a model, at most 80 columns but for folders and commands."""
    from qaprune.report.recommend import RULE

    blocks = ["\n".join(_block(need, answer)) for answer in answers]
    return "\n\n".join([*blocks, textwrap.fill(f"rule: {RULE}", WIDTH, break_on_hyphens=False)])


def _block(need: Need, answer: Answer) -> list[str]:
    asked = f"at most {need.max_f1_drop:g} F1 lost on the hold-out"
    if need.min_speedup is not None:
        asked += f", at least {need.min_speedup:g}x as fast"
    lines = [*_wrapped(f"{answer.model} on {need.dataset}: {asked}")]
    shown = answer.points or tuple(miss.candidate for miss in answer.misses)
    lines += _wrapped(f"timed: {_setting(shown[0])}", "  ")
    if answer.left_out:
        lines += _wrapped(f"left out, not measured at every seed: {', '.join(answer.left_out)}", "  ")
    if not answer.points:
        lines.append("no measured point meets this")
        for number, miss in enumerate(answer.misses):
            lines += ["", *_miss(need, miss, "closest miss" if not number else "the other limit")]
        return lines
    for title, candidate in zip(("recommended", "runner-up"), answer.points[:2], strict=False):
        lines += ["", f"{title}: {candidate.name}", *_facts(candidate)]
    if len(answer.points) == 1:
        lines += ["", "no runner-up: no other point meets this"]
    elif _overlap(*answer.points[:2]):
        lines += ["", *_wrapped("The two intervals of the speedup overlap: which is faster is not shown.")]
    return lines


def _miss(need: Need, miss: Miss, title: str) -> list[str]:
    candidate = miss.candidate
    broken = []
    if candidate.drop > need.max_f1_drop:
        broken.append(f"{candidate.drop - need.max_f1_drop:.2f} F1 too much lost")
    if need.min_speedup is not None and candidate.speedup_low < need.min_speedup:
        broken.append(f"{need.min_speedup - candidate.speedup_low:.2f}x too slow")
    return [
        *_wrapped(f"{title}: {miss.limit}, {' and '.join(broken)}: {candidate.name}"),
        *_facts(candidate),
    ]


def _facts(candidate: Candidate) -> list[str]:
    """What was measured of a point; with several seeds their means, and the best on the hold-out."""
    from qaprune.report.checkpoints import CONFIG, NAME

    lines = []
    if len(candidate.seeds) > 1:
        numbers = ", ".join(map(str, sorted(int(seed.row["seed"]) for seed in candidate.seeds)))
        dev = f"dev F1 {candidate.mean('f1'):.1f}"
        if (delta := candidate.mean("delta_f1")) is not None:
            dev += f", to the teachers {delta:+.1f}"
        lines += [
            f"mean of seeds {numbers}: {candidate.drop:.2f} F1 lost on the hold-out, "
            f"{candidate.speedup:.2f}x; {dev}",
            f"below, seed {candidate.seeds[0].row['seed']}, the best on the hold-out:",
        ]
    best = candidate.seeds[0]
    row, reference = best.row, best.reference
    lines.append(
        f"hold-out F1 {row['holdout_f1']:.1f}, {reference['variant']} {reference['holdout_f1']:.1f}: "
        + (f"{best.drop:.2f} lost" if best.drop >= 0 else f"{-best.drop:.2f} gained")
    )
    dev = f"dev F1 {row['f1']:.1f}{_span(row, 'f1', '.1f')}"
    if row["delta_f1"] is not None:
        dev += f", to {row['reference']} {row['delta_f1']:+.1f}{_span(row, 'delta_f1', '+.1f')}"
    lines.append(dev)
    if row["hasans_f1"] is not None and reference["hasans_f1"] is not None:
        lines.append(
            f"  on questions with an answer {row['hasans_f1']:.1f}, {reference['variant']} "
            f"{reference['hasans_f1']:.1f}"
        )
    lines.append(
        f"speedup {row['speedup']:.2f}x{_span(row, 'speedup', '.2f')}, {row['latency_ms']:.1f} ms a batch"
    )
    folder, command = checkpoint(best)
    found = [part for line in lines for part in _wrapped(line, "  ")]
    if folder:
        return [*found, f"  checkpoint {folder}"]
    words = " and ".join(word for word in (f"results/{NAME}", CONFIG) if word in command)
    note = f" ({words}: those of the run that made these rows)" if words else ""
    return [*found, *_wrapped(f"weights are not here; to make them again{note}:", "  "), f"    {command}"]


def _span(row: dict[str, Any], name: str, form: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f" [{low:{form}}, {high:{form}}]"


def _setting(candidate: Candidate) -> str:
    """Where and how a point and its teacher were timed."""
    row = candidate.seeds[0].row
    sides = [
        " ".join(str(row[name]) for name in names)
        for names in (("dtype", "backend"), ("teacher_dtype", "teacher_backend"))
    ]
    at = f"{row['device']}, batch {row['batch']} x {row['length']}, {row['threads']} threads"
    return f"{at}; {sides[0]}, compile {row['compile']}" + (
        f" (teacher {sides[1]}, compile {row['teacher_compile']})"
        if (sides[0], row["compile"]) != (sides[1], row["teacher_compile"])
        else ""
    )


def _overlap(first: Candidate, second: Candidate) -> bool:
    high = max(float(seed.row["speedup_high"]) for seed in second.seeds)  # type: ignore[arg-type]
    return high >= first.speedup_low


def checkpoint(measured: Measured) -> tuple[str | None, str]:
    """The folder of a row's weights, None where they are not there (any more), and the command that makes
    them: asked for by name, Snakemake keeps what the config's `keep` would remove."""
    from qaprune.models.encoder import WEIGHTS
    from qaprune.plan import checkpoint_folder
    from qaprune.report.checkpoints import command_for, config_name, data_root_of, trained_run

    row, results = measured.row, measured.results
    run = trained_run(results, row["model"], str(row["dataset"]), row["seed"])
    inside = checkpoint_folder(run, f"{row['criterion']}-{row['budget']}", str(row["variant"]))
    name = config_name(results)
    command = command_for(f"results/{name}/{inside}/{WEIGHTS}", name, data_root_of(results))
    return (str(results / inside) if (results / inside / WEIGHTS).exists() else None), command


def json_text(need: Need, answers: list[Answer]) -> str:
    """What the text says, for programs."""
    from dataclasses import asdict

    from qaprune.report.recommend import RULE

    found = [
        {
            "model": answer.model,
            "recommended": _record(answer.points[0]) if answer.points else None,
            "runner_up": _record(answer.points[1]) if len(answer.points) > 1 else None,
            "left_out": list(answer.left_out),
            "misses": [{"limit": miss.limit, **_record(miss.candidate)} for miss in answer.misses],
        }
        for answer in answers
    ]
    return json.dumps({"need": asdict(need), "rule": RULE, "answers": found}, indent=2)


IN_JSON = (
    *("seed", "holdout_f1", "f1", "f1_low", "f1_high", "reference", "delta_f1", "delta_f1_low"),
    *(
        "delta_f1_high",
        "hasans_f1",
        "speedup",
        "speedup_low",
        "speedup_high",
        "latency_ms",
        "batch",
        "length",
    ),
    *("dtype", "backend", "compile", "threads", "teacher_dtype", "teacher_backend", "teacher_compile"),
    *("device", "fingerprint"),
)


def _record(candidate: Candidate) -> dict[str, Any]:
    first = candidate.seeds[0].row
    seeds = []
    for seed in candidate.seeds:
        folder, command = checkpoint(seed)
        seeds.append(
            {name: seed.row[name] for name in IN_JSON}
            | {
                "holdout_drop": seed.drop,
                "holdout_reference": seed.reference["variant"],
                "checkpoint": folder,
                "command": command,
            }
        )
    return {
        **{name: first[name] for name in ("criterion", "budget", "variant")},
        "holdout_drop": candidate.drop,
        "speedup": candidate.speedup,
        "speedup_low": candidate.speedup_low,
        **{name: candidate.mean(name) for name in ("f1", "delta_f1", "hasans_f1")},
        "seeds": seeds,
    }


def _wrapped(line: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        line, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )


def _positive(value: str) -> float:
    number = points(value)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"expected a speedup such as 2, got {value!r}")
    return number


def _whole(value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {value!r}")
    return int(value)
