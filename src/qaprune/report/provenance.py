"""Where each row comes from: its stage folder, what went into it, commit, the command to make it again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from qaprune.errors import InputError
from qaprune.report.checkpoints import FOLDER, command_for, trained_run
from qaprune.report.collect import Run
from qaprune.report.columns import Row
from qaprune.report.rows import BLIND, name_of
from qaprune.stage import digest, read_stage


class Origin(NamedTuple):
    """One row's. `digest` is that of its stage's spec and inputs; empty where there is no record of it."""

    run: str
    folder: str
    digest: str
    commit: str
    command: str


class Provenance(NamedTuple):
    """Of a whole report: `origins` has an entry a row, `environments` one a profiled run."""

    origins: tuple[Origin, ...]
    environments: dict[str, dict[str, Any]]
    commits: dict[str, dict[str, str]]
    """run -> stage (evaluate, profile) -> commit."""
    generated: tuple[str, ...]
    """Data sets whose questions were generated: they say nothing about real ones."""


def provenance(
    results: Path, name: str, runs: list[Run], rows: list[Row], rooted: bool = False
) -> Provenance:
    """Read what the stages of a results folder recorded; what is not there stays empty.

    `rooted`: the sources came from a `data_root`, and commands have to name one too.
    """
    origins = [_origin(results, name, row, _run_of(row, runs), rooted) for row in rows]
    environments = {run.name: run.timings.environment for run in runs if run.timings}
    commits = {
        run.name: {stage: _recorded(results / stage / run.name)[1] for stage in ("evaluate", "profile")}
        for run in runs
    }
    datasets = dict.fromkeys(run.dataset for run in runs)
    generated = tuple(dataset for dataset in datasets if _is_generated(results / "data" / dataset))
    return Provenance(tuple(origins), environments, commits, generated)


def stage_folder(row: Row, run: str, made_by: str, trained: bool = True) -> str:
    """The folder, under the results folder, of the stage that made a row's model (as `Plan.variants` names
    them); rows without a model, and models that nothing trained, come from the stage that scored or timed.

    `made_by`: the run whose checkpoints `run` scored, itself or that of another data set.
    """
    if not trained:
        return f"profile/{run}"
    variant = str(row["variant"])
    if variant in BLIND:
        return f"evaluate/{run}"
    if variant == "teacher":
        return f"teacher/{made_by}"
    if variant == "teacher+":
        return f"recover/{made_by}/{variant}"
    point, _, _ = name_of(row).partition("/")
    return f"prune/{made_by}/{point}" if variant == "pruned" else f"recover/{made_by}/{point}/{variant}"


def _origin(results: Path, name: str, row: Row, run: Run, rooted: bool) -> Origin:
    trained = run.sums is not None
    made_by = trained_run(results, run.model, run.dataset, run.seed) if trained else run.name
    folder = stage_folder(row, run.name, made_by, trained)
    target = f"results/{name}/{folder}/stage.json"
    command = command_for(target, name, FOLDER if rooted else None, force=True)
    return Origin(run.name, folder, *_recorded(results / folder), command)


def _run_of(row: Row, runs: list[Run]) -> Run:
    identity = (row["model"], row["dataset"], row["seed"])
    return next(run for run in runs if (run.model, run.dataset, run.seed) == identity)


def _recorded(folder: Path) -> tuple[str, str]:
    """Digest and commit of a stage folder; empty where it has no record."""
    if (folder / "stage.json").is_file():
        with contextlib.suppress(InputError, KeyError):
            return digest(folder), read_stage(folder)["git_commit"] or ""
    return "", ""


def _is_generated(folder: Path) -> bool:
    with contextlib.suppress(InputError, KeyError, TypeError):
        return "scratch" in read_stage(folder)["spec"]["train"]
    return False
