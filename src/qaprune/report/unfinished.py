"""A results folder whose report has not run: which stages are done, and the rows that are there already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qaprune.errors import InputError
from qaprune.models.checkpoint import read_variant
from qaprune.report.collect import collect
from qaprune.report.columns import Row
from qaprune.report.intervals import RESAMPLES
from qaprune.report.rows import build_rows, name_of

if TYPE_CHECKING:
    from qaprune.plan import Plan

STAGES = (
    *("corpus", "data", "encoder", "features", "latency", "teacher", "gate", "prune", "recover"),
    *("evaluate", "profile"),
)
"""Stages with a folder of their name, in the order in which they run; `report` owns the results folder."""


def done_folders(results: Path) -> dict[str, list[Path]]:
    """stage -> its finished folders. One without stage.json is under way, or failed."""
    found = {
        stage: sorted(path.parent for path in (results / stage).rglob("stage.json")) for stage in STAGES
    }
    return {stage: folders for stage, folders in found.items() if folders}


def progress_line(done: dict[str, list[Path]], plan: Plan | None) -> str:
    """Jobs done of those planned, by stage; without a plan only what is done."""
    if plan is None:
        counts = [f"{stage} {len(folders)}" for stage, folders in done.items()]
        return f"done: {', '.join(counts)}; what is planned is not known without --config"
    from qaprune.estimate import jobs

    planned = {stage: count for stage, count in jobs(plan).items() if stage in STAGES}
    counts = [f"{stage} {len(done.get(stage, []))}/{count}" for stage, count in planned.items()]
    return f"done of planned: {', '.join(counts)}, report 0/1"


def rows_so_far(done: dict[str, list[Path]], plan: Plan | None = None) -> list[Row]:
    """Rows of the runs that were scored, with their speed where they were timed; of untrained models those
    that were timed. With a plan their intervals are those that its report will have."""
    resamples = plan.config["report"]["resamples"] if plan else RESAMPLES
    scored, timed = done.get("evaluate", []), done.get("profile", [])
    if scored:
        names = {folder.name for folder in scored}
        return build_rows(collect(scored, [folder for folder in timed if folder.name in names]), resamples)
    timed = [folder for folder in timed if (folder / "variants.json").exists()]
    return build_rows(collect([], timed), resamples) if timed else []


def missing_lines(results: Path, done: dict[str, list[Path]], plan: Plan | None) -> list[str]:
    """A line for everything that a finished results folder has and this one lacks."""
    scored, timed = ({folder.name for folder in done.get(stage, [])} for stage in ("evaluate", "profile"))
    lines = []
    for run in _runs(results, done, plan):
        untrained = plan.untrained if plan else (results / "profile" / run / "variants.json").exists()
        if run not in scored and not untrained:
            made_by = plan.trained(plan.run(run)).id if plan else run
            known = ", ".join(f"{name} {f1:.1f}" for name, f1 in _holdout(results, done, made_by))
            of = f" of the checkpoints of {made_by}" if made_by != run else ""
            lines.append(f"{run}: not scored yet; hold-out F1{of} so far: {known or 'none'}")
        if run not in timed:
            lines.append(f"{run}: not timed yet")
    return [*lines, "report: not written yet, so there are no tables/ and no plots/"]


def _runs(results: Path, done: dict[str, list[Path]], plan: Plan | None) -> list[str]:
    """The planned runs; without a plan those that any stage began."""
    if plan is not None:
        return [run.id for run in plan.runs]
    by_run = ("teacher", "gate", "prune", "recover", "evaluate", "profile")
    names = {
        folder.relative_to(results / stage).parts[0] for stage in by_run for folder in done.get(stage, [])
    }
    return sorted(names)


def _holdout(results: Path, done: dict[str, list[Path]], run: str) -> Iterator[tuple[str, float]]:
    """Name and hold-out F1 of a run's checkpoints, in the order in which they come about."""
    for stage in ("teacher", "prune", "recover"):
        for folder in done.get(stage, []):
            if folder.is_relative_to(results / stage / run):
                facts = read_variant(folder)
                row: Row = {name: facts.get(name) for name in ("criterion", "budget", "variant", "draw")}
                if facts.get("holdout_f1") is not None:
                    yield name_of(row), facts["holdout_f1"]


def require_some(results: Path, done: dict[str, list[Path]]) -> None:
    """Refuse a folder in which no stage of this suite has finished."""
    if not done:
        why = "no finished stage here either" if results.is_dir() else "no such folder"
        raise InputError(f"{results}: no tables/points.csv and {why}; expected a results folder")
