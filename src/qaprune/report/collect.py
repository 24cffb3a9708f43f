"""The runs of a report, from the folders of `evaluate` and `profile`, and whether they belong together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from qaprune.errors import InputError, NotComparable
from qaprune.jsonfile import expect, read_json
from qaprune.jsonfile import field as read_field
from qaprune.report.intervals import GroupSums
from qaprune.report.scores import check_agreement, read_curves, read_questions
from qaprune.report.timings import Timings, read_timings


@dataclass(frozen=True, slots=True)
class Run:
    """One model x data set x seed: scores of every variant, sums for the bootstrap, timings if any."""

    name: str
    model: str
    dataset: str
    seed: int
    variants: dict[str, dict]
    sums: GroupSums | None
    """None where models were timed untrained: then there is no quality."""
    questions: int | None
    timings: Timings | None = None
    long_sums: GroupSums | None = None
    """None on SQuAD 2.0, and where `evaluate` is older than these sums."""
    curves: dict[str, list[dict]] = field(default_factory=dict)
    """Variant -> its training log, a line every few steps; none where nothing was trained or kept."""


def collect(evaluate: list[Path], profile: list[Path]) -> list[Run]:
    """Read all runs, in the order of `evaluate`. A profile folder belongs to the run of its name.

    Without `evaluate` folders the profiles are those of untrained models.
    """
    if not evaluate and not profile:
        raise InputError("report: expected at least one evaluate or profile folder")
    for stage, folders in (("evaluate", evaluate), ("profile", profile)):
        _check_versions(stage, [Path(folder) for folder in folders])
    if not evaluate:
        return [read_untrained(Path(folder)) for folder in profile]
    timed = {Path(folder).name: Path(folder) for folder in profile}
    stray = timed.keys() - {Path(folder).name for folder in evaluate}
    if stray:
        raise InputError(f"report: profile folder '{min(stray)}' has no evaluate folder of the same name")
    return [read_run(Path(folder), timed.get(Path(folder).name)) for folder in evaluate]


def _check_versions(stage: str, folders: list[Path]) -> None:
    """Rows of two versions of a stage share no table: a version is raised when numbers change."""
    first: tuple[object, Path] | None = None
    for folder in folders:
        if not (folder / "stage.json").exists():
            continue
        version = read_json(folder / "stage.json").get("spec", {}).get("version")
        if first is None:
            first = (version, folder)
        elif version != first[0]:
            raise InputError(
                f"report: {first[1]} was written by version {first[0]} of the stage {stage}, {folder} by "
                f"version {version}; run the older one again"
            )


def check_one_machine(runs: list[Run]) -> None:
    """Refuse runs of one model and data set, which share a plot, that were timed on different machines."""
    first: dict[tuple[str, str], tuple[Run, Timings]] = {}
    for run in runs:
        if run.timings is None:
            continue
        other, timings = first.setdefault((run.model, run.dataset), (run, run.timings))
        if timings.fingerprint != run.timings.fingerprint:
            raise NotComparable(
                f"report: {other.name} was timed on {timings.device} ({timings.fingerprint}), {run.name} "
                f"on {run.timings.device} ({run.timings.fingerprint}); their speeds share no plot unless "
                "report.mixed_hardware is true"
            )


def read_run(evaluate: Path, profile: Path | None) -> Run:
    """Read one run and check that its parts agree."""
    path = evaluate / "scores.json"
    model, dataset, seed, variants = _run_and_variants(path)
    if "teacher" not in variants:
        raise InputError(f"{path}: variants: expected a row 'teacher'")
    sums, long, asked = read_questions(evaluate / "questions.csv.gz")
    check_agreement(evaluate, variants, sums, "f1")
    if long is not None:
        check_agreement(evaluate, variants, long, "long_f1")
    timings = read_timings(profile) if profile else None
    curves = read_curves(evaluate, variants)
    return Run(evaluate.name, model, dataset, seed, variants, sums, len(asked), timings, long, curves)


def _run_and_variants(path: Path) -> tuple[str, str, int, dict[str, dict]]:
    """Model, data set and seed of a run's facts, and what they say of each variant."""
    facts = read_json(path)
    run = read_field(facts, "run", dict, str(path))
    variants = read_field(facts, "variants", dict, str(path))
    for name, row in variants.items():
        expect(row, dict, f"{path}: variants: {name}")
    model, dataset = (read_field(run, name, str, f"{path}: run") for name in ("model", "dataset"))
    return model, dataset, read_field(run, "seed", int, f"{path}: run"), variants


def read_untrained(profile: Path) -> Run:
    """Read a profile of models with initial weights, whose sizes stand beside it."""
    path = profile / "variants.json"
    if not path.exists():
        raise InputError(f"{profile}: no evaluate folder and no variants.json; expected one of them")
    return Run(profile.name, *_run_and_variants(path), None, None, read_timings(profile))
