"""From a checked config to runs, operating points, variants and their files. No torch.

The Snakefile and `qaprune plan` both ask here, so what is announced is what runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from qaprune.budget import parse_budget
from qaprune.errors import InputError
from qaprune.gate.registry import BUILT_IN, Criterion, base_name, load_criterion
from qaprune.models.encoder import TOKENIZER_FILES, WEIGHTS
from qaprune.plan_checks import TEACHER, TEACHER_PLUS, check_plan
from qaprune.specs import Specs

READER_THREADS = 8
"""At most; fewer where Snakemake has fewer cores."""
COMMON_KEYS = ("pairs", "seeds", "budgets", "recovery", "recovery_changes", "settings")


@dataclass(frozen=True)
class Run:
    """One model on one data set with one seed."""

    model: str
    dataset: str
    seed: int

    @property
    def pair(self) -> str:
        return f"{self.model}-{self.dataset}"

    @property
    def id(self) -> str:
        return f"{self.pair}-s{self.seed}"


@dataclass(frozen=True)
class Point:
    """One operating point of a run and what recovers it. `scoring` names the folder of its gate scores."""

    criterion: str
    budget: str
    scoring: str
    recovery: tuple[str, ...]
    draws: int

    @property
    def id(self) -> str:
        return f"{self.criterion}-{self.budget}"


@dataclass(frozen=True)
class Variant:
    """One row of the table: its key, the folder of its checkpoint under the results folder, its stage."""

    key: str
    folder: str
    stage: str
    timed: bool = True
    by_mask: bool = False
    """Whether teacher and mask are enough to cut it anew."""


def checkpoint_folder(run: str, point: str, variant: str) -> str:
    """Where a point's `pruned`, `retrained` or `distilled` lies under the results folder."""
    return f"prune/{run}/{point}" if variant == "pruned" else f"recover/{run}/{point}/{variant}"


Found = TypeVar("Found")


class Plan:
    """Everything that the workflow needs to know of a config."""

    def __init__(self, config: Mapping[str, Any]):
        self.config = config
        self.out = f"results/{config['name']}"
        self.all_runs = [
            Run(model, dataset, seed)
            for model, settings in config["models"].items()
            for dataset in config["datasets"]
            for seed in settings.get("seeds", config["seeds"])
        ]
        self.runs = [
            run for run in self.all_runs if not config["datasets"][run.dataset].get("teacher_only")
        ]
        """Those that have rows; the others' teachers are only what other teachers start from."""
        self.untrained = bool(config.get("untrained"))
        """Speed alone: models with initial weights, neither trained nor scored."""
        self._specs = Specs(self)
        self.needs_corpus = any("scratch" in source for source in self._sources())
        check_plan(config, {run.pair for run in self.runs})
        self._check_points()

    def _check_points(self) -> None:
        """A criterion that no run has a point of would be left out in silence."""
        used = {point.criterion for run in self.runs for point in self.points(run)}
        unused = [name for name in self.config["criteria"] if name not in used]
        if self.runs and unused:
            raise InputError(
                f"config: criteria.{unused[0]}: runs nowhere: no trained run has its pairs and seeds"
            )

    def _sources(self) -> Iterator[Mapping[str, Any]]:
        for model in self.config["models"].values():
            yield model["source"]
        for dataset in self.config["datasets"].values():
            yield from (dataset["train"], dataset["dev"])

    def run(self, run_id: str) -> Run:
        """The run of that id."""
        return _named(run_id, {run.id: run for run in self.all_runs}, "run")

    def trained(self, run: Run) -> Run:
        """The run whose checkpoints a run scores: itself, or that of another data set."""
        source = self.config["datasets"][run.dataset].get("checkpoints_of")
        return Run(run.model, source, run.seed) if source else run

    def start_folder(self, run: Run) -> str:
        """Where the teacher of a run starts: its encoder, or the teacher of another data set."""
        source = self.config["datasets"][run.dataset].get("initialise_from")
        return f"teacher/{Run(run.model, source, run.seed).id}" if source else f"encoder/{run.model}"

    def local_files(self, stage: str, name: str) -> list[str]:
        """Files outside the results folder that a job of `data`, `encoder` or `teacher` reads.

        `name` is the data set, the model or the run's id. Files that a checkpoint lacks are the stage's
        business: it says what it expected.
        """
        if stage == "data":
            sources = [self.config["datasets"][name][split] for split in ("train", "dev")]
        elif stage == "encoder":
            sources = [self.config["models"][name]["source"]]
        else:
            run = self.run(name)
            given = self.config["models"][run.model].get("teachers", {}).get(run.dataset)
            sources = [given] if given else []
        found = []
        for path in (Path(source["path"]) for source in sources if "path" in source):
            files = [path]
            if path.is_dir():
                checkpoint = ("config.json", WEIGHTS, *TOKENIZER_FILES)
                names = checkpoint if stage != "data" else ("*.jsonl", "*.jsonl.gz")
                files = sorted(file for name in names for file in path.glob(name) if file.is_file())
            found += [str(file) for file in files if file.exists()]
        return found

    def reader_threads(self, dataset: str) -> int:
        """Processes that read a data set: worth their start where its files are large."""
        settings = self.config["datasets"][dataset]
        small = settings["task"] != "nq" or "scratch" in settings["train"]
        return 1 if small else READER_THREADS

    def points(self, run: Run) -> list[Point]:
        """Operating points of a run, in the order of the config."""
        found: list[Point] = []
        if run not in self.runs:
            return found
        run = self.trained(run)
        for name, settings in self.config["criteria"].items():
            if run.pair not in settings.get("pairs", [run.pair]):
                continue
            if run.seed not in settings.get("seeds", [run.seed]):
                continue
            criterion = self.criterion(name)
            recovery = tuple(settings.get("recovery", self.config["recovery"]["kinds"]))
            for budget in settings.get("budgets", self.config["budgets"]):
                scoring = f"{name}-{budget}" if criterion.per_budget else name
                found.append(Point(name, budget, scoring, recovery, settings.get("draws", 1)))
        return found

    def point(self, run: Run, point_id: str) -> Point:
        """The operating point of that id."""
        return _named(point_id, {point.id: point for point in self.points(run)}, f"point of {run.id}")

    def scored_point(self, run: Run, scoring: str) -> Point:
        """The first of a run's points that scores of that name choose the mask of."""
        return _named(scoring, {point.scoring: point for point in reversed(self.points(run))}, "gate")

    def variants(self, run: Run) -> list[Variant]:
        """All rows of a run that have a checkpoint."""
        if self.untrained:
            return []
        run = self.trained(run)
        found = [
            Variant(TEACHER, f"teacher/{run.id}", "teacher"),
            Variant(TEACHER_PLUS, f"recover/{run.id}/{TEACHER_PLUS}", "recover"),
        ]
        for point in self.points(run):
            folder = checkpoint_folder(run.id, point.id, "pruned")
            by_mask = not self.criterion(point.criterion).trains_weights
            found.append(Variant(f"{point.id}/pruned", folder, "prune", by_mask=by_mask))
            for draw in range(1, point.draws):
                more = f"{folder}/draws/{draw}"
                found.append(Variant(f"{point.id}/pruned#{draw}", more, "prune", False, True))
            for kind in point.recovery:
                recovered = checkpoint_folder(run.id, point.id, kind)
                found.append(Variant(f"{point.id}/{kind}", recovered, "recover"))
        return found

    def stage_files(self, variants: list[Variant]) -> list[str]:
        """The `stage.json` files that the folders of these variants wait for."""
        folders = dict.fromkeys(variant.folder.partition("/draws/")[0] for variant in variants)
        return [f"{self.out}/{folder}/stage.json" for folder in folders]

    def weight_files(self, variants: list[Variant]) -> list[str]:
        """The checkpoint files themselves, so that none is removed before its last reader ran.

        Pruned ones are not among them where teacher and mask are enough to cut one anew.
        """
        return [
            f"{self.out}/{variant.folder}/model.safetensors" for variant in variants if not variant.by_mask
        ]

    def spec(self, stage: str, **names: str) -> dict[str, Any]:
        """The spec of one job; `names` are its wildcards."""
        return self._specs.of(stage, **names)

    def latency_pair(self, run: Run, budget: str) -> str | None:
        """The latency table that a budget of a run is met by: seeds share it; None for other budgets."""
        return run.pair if parse_budget(budget).timed else None

    def joint_share(self, point: Point) -> float:
        """The share of recovery's epochs that a point's criterion spends on gates and weights together."""
        if not self.criterion(point.criterion).trains_weights:
            return 0.0
        return self.joint_settings(point.criterion)["share"]

    def recovery(self, point: Point) -> dict[str, Any]:
        """The config's recovery with what differs for the point's criterion."""
        return self._specs.recovery(point.criterion)

    def matches_hidden(self, point: Point) -> bool:
        """Whether a point's distilled row is brought to the teacher's hidden states too."""
        return bool(self.recovery(point).get("hidden_weight"))

    def distils_gates(self, point: Point) -> bool:
        """Whether a point's criterion trains weights towards the teacher's logits."""
        joint = self.criterion(point.criterion).trains_weights
        return bool(joint and self.joint_settings(point.criterion).get("distil"))

    @property
    def launcher(self) -> str:
        """What starts a stage that trains."""
        if self.training_processes == 1:
            return "qaprune"
        return f"torchrun --standalone --nproc_per_node {self.training_processes} --no-python qaprune"

    @property
    def training_threads(self) -> int:
        """Cores that a job which trains takes."""
        return self.config["compute"]["threads"] * self.training_processes

    @property
    def training_processes(self) -> int:
        """Processes of a job which trains; where there are GPUs each takes one."""
        return self.config["compute"].get("processes", 1)

    def full_dev(self, run: Run) -> list[str]:
        """Keys of the variants that are scored on all of dev beside the sample."""
        names = self.config["evaluate"]["full_dev"]
        if self.config["datasets"][run.dataset].get("dev_questions") is None:
            return []
        points = {f"{point.id}/": point.criterion for point in self.points(run)}
        return [
            variant.key
            for variant in self.variants(run)
            if variant.key in names
            or any(
                variant.key.startswith(prefix) and criterion in names
                for prefix, criterion in points.items()
            )
        ]

    def criterion(self, name: str) -> Criterion:
        """The criterion of that name as the config sets it."""
        return load_criterion(name, self.criterion_settings(name))

    def joint_settings(self, name: str) -> Mapping[str, Any]:
        """Where a criterion that trains weights says on what share of recovery's epochs, and how."""
        own = self.criterion_settings(name)
        return own.get("gradual") or own

    def criterion_settings(self, name: str) -> dict[str, Any]:
        """A criterion's own settings; those of one from outside the package stand under `settings`."""
        settings = self.config["criteria"][name]
        if base_name(name) not in BUILT_IN:
            return settings.get("settings", {})
        return {key: value for key, value in settings.items() if key not in COMMON_KEYS}

    def cells(self, run: Run) -> list[dict[str, int]]:
        """The timed cells of a run; a cell without a length has that of the data set's windows."""
        length = self.config["datasets"][run.dataset]["windows"]["length"]
        return [{"length": length, **cell} for cell in self.config["profile"]["cells"]]

    def describe(self) -> str:
        """What the config will do, for a person: see `estimate.py`."""
        from qaprune.estimate import describe

        return describe(self)


def _named(name: str, known: Mapping[str, Found], what: str) -> Found:
    if name not in known:
        raise InputError(f"config: no {what} is called {name!r}; there are {', '.join(known) or 'none'}")
    return known[name]


def make_plan(config: Mapping[str, Any]) -> Plan:
    """The plan of a checked config."""
    return Plan(config)


def spec_json(spec: Mapping[str, Any]) -> str:
    """The one spelling of a spec, so that equal specs compare equal."""
    return json.dumps(spec, sort_keys=True, ensure_ascii=False)
