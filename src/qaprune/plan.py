"""From a checked config to runs, operating points, variants and the spec of every stage. No torch.

The Snakefile and `qaprune plan` both ask here, so what is announced is what runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qaprune.budget import parse_budget
from qaprune.gate.registry import BUILT_IN, load_criterion
from qaprune.plan_checks import TEACHER, TEACHER_PLUS, check_plan

VERSIONS = {
    "corpus": 2,
    "data": 2,
    "encoder": 1,
    "features": 2,
    "latency": 1,
    "teacher": 3,
    "gate": 2,
    "prune": 2,
    "recover": 3,
    "evaluate": 1,
    "profile": 4,
    "report": 2,
}
"""Raised when a stage's numbers change: a Python edit alone does not make Snakemake run it again."""

COMMON_KEYS = ("pairs", "budgets", "recovery", "settings")
MAX_ANSWER_TOKENS = 30
LATENCY = {"rounds": 30, "warmup": {"least": 5, "most": 20, "cv_percent": 3}}
"""How the latency table is timed. Not by the profile's rounds: masks hang on the table, and an edit of how
a run is timed must not train it again."""


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


class Plan:
    """Everything that the workflow needs to know of a config."""

    def __init__(self, config: Mapping[str, Any]):
        self.config = config
        self.out = f"results/{config['name']}"
        self.runs = [
            Run(model, dataset, seed)
            for model in config["models"]
            for dataset in config["datasets"]
            for seed in config["seeds"]
        ]
        self.untrained = bool(config.get("untrained"))
        """Speed alone: models with initial weights, neither trained nor scored."""
        self.needs_corpus = any("scratch" in source for source in self._sources())
        check_plan(config, {run.pair for run in self.runs})

    def _sources(self) -> Iterator[Mapping[str, Any]]:
        for model in self.config["models"].values():
            yield model["source"]
        for dataset in self.config["datasets"].values():
            yield from (dataset["train"], dataset["dev"])

    def run(self, run_id: str) -> Run:
        """The run of that id."""
        return next(run for run in self.runs if run.id == run_id)

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
            files = [path / "config.json", path / "model.safetensors"] if path.is_dir() else [path]
            found += [str(file) for file in files if file.exists()]
        return found

    def points(self, run: Run) -> list[Point]:
        """Operating points of a run, in the order of the config."""
        found = []
        for name, settings in self.config["criteria"].items():
            if run.pair not in settings.get("pairs", [run.pair]):
                continue
            criterion = load_criterion(name)
            recovery = tuple(settings.get("recovery", self.config["recovery"]["kinds"]))
            for budget in settings.get("budgets", self.config["budgets"]):
                scoring = f"{name}-{budget}" if criterion.per_budget else name
                found.append(Point(name, budget, scoring, recovery, settings.get("draws", 1)))
        return found

    def point(self, run: Run, point_id: str) -> Point:
        """The operating point of that id."""
        return next(point for point in self.points(run) if point.id == point_id)

    def variants(self, run: Run) -> list[Variant]:
        """All rows of a run that have a checkpoint."""
        if self.untrained:
            return []
        found = [
            Variant(TEACHER, f"teacher/{run.id}", "teacher"),
            Variant(TEACHER_PLUS, f"recover/{run.id}/{TEACHER_PLUS}", "recover"),
        ]
        for point in self.points(run):
            folder = f"prune/{run.id}/{point.id}"
            by_mask = not load_criterion(point.criterion).trains_weights
            found.append(Variant(f"{point.id}/pruned", folder, "prune", by_mask=by_mask))
            for draw in range(1, point.draws):
                more = f"{folder}/draws/{draw}"
                found.append(Variant(f"{point.id}/pruned#{draw}", more, "prune", False, True))
            for kind in point.recovery:
                found.append(
                    Variant(f"{point.id}/{kind}", f"recover/{run.id}/{point.id}/{kind}", "recover")
                )
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

    # --- the spec of each stage: only the keys that it reads ---

    def spec(self, stage: str, **names: str) -> dict[str, Any]:
        """The spec of one job; `names` are its wildcards."""
        return {"version": VERSIONS[stage], **getattr(self, f"_{stage}_spec")(**names)}

    def _corpus_spec(self) -> dict[str, Any]:
        return {"label": "embedded", **self.config["corpus"]}

    def _data_spec(self, dataset: str) -> dict[str, Any]:
        settings = self.config["datasets"][dataset]
        full = any(dataset == run.dataset and self.full_dev(run) for run in self.runs)
        optional = ("train_questions", "holdout_questions", "dev_questions")
        return {
            "label": dataset,
            **{key: settings[key] for key in ("task", "train", "dev", "holdout_share")},
            **{key: settings.get(key) for key in optional},
            "full_dev": full,
        }

    def _encoder_spec(self, model: str) -> dict[str, Any]:
        settings = self.config["models"][model]
        return {
            "label": model,
            "architecture": settings["architecture"],
            "source": settings["source"],
            "seed": self.config["corpus"]["seed"],
        } | ({"weights": False} if self.untrained else {})

    def _features_spec(self, model: str, dataset: str) -> dict[str, Any]:
        return {
            "label": f"{model}-{dataset}",
            "architecture": self.config["models"][model]["architecture"],
            "windows": self.config["datasets"][dataset]["windows"],
        }

    def _run_spec(self, run: Run) -> dict[str, Any]:
        dataset = self.config["datasets"][run.dataset]
        return {
            "run": {"model": run.model, "dataset": run.dataset, "seed": run.seed},
            "compute": self.config["compute"],
            "task": dataset["task"],
            "max_answer_tokens": dataset.get("max_answer_tokens", MAX_ANSWER_TOKENS),
        }

    def _teacher_spec(self, run: str) -> dict[str, Any]:
        found = self.run(run)
        return {
            "label": run,
            **self._run_spec(found),
            "training": self.config["training"]
            | self.config["datasets"][found.dataset].get("training", {}),
            "checkpoint": self.config["models"][found.model].get("teachers", {}).get(found.dataset),
            "teacher_logits": any(
                "distilled" in point.recovery or self._criterion_settings(point.criterion).get("distil")
                for point in self.points(found)
            ),
        }

    def _criterion_settings(self, name: str) -> dict[str, Any]:
        """A criterion's own settings; those of one from outside the package stand under `settings`."""
        settings = self.config["criteria"][name]
        if name not in BUILT_IN:
            return settings.get("settings", {})
        return {key: value for key, value in settings.items() if key not in COMMON_KEYS}

    def _gate_spec(self, run: str, scoring: str) -> dict[str, Any]:
        found = self.run(run)
        point = next(point for point in self.points(found) if point.scoring == scoring)
        criterion = load_criterion(point.criterion)
        own = self._criterion_settings(point.criterion)
        spec = {
            "label": f"{run} {scoring}",
            "criterion": point.criterion,
            "criterion_version": criterion.version,
            "budget": point.budget if criterion.per_budget else None,
            "settings": own,
            "run": self._run_spec(found)["run"],
        }
        if criterion.per_budget:
            spec |= self._choice_spec(found)
        if criterion.trains_weights:
            spec["training"] = self._recovery_training(own.get("distil", False), own["share"])
        return spec | ({"compute": self.config["compute"]} if criterion.needs_model else {})

    def _prune_spec(self, run: str, point: str) -> dict[str, Any]:
        found = self.run(run)
        chosen = self.point(found, point)
        return {
            "label": f"{run} {point}",
            **self._run_spec(found),
            "criterion": chosen.criterion,
            "budget": chosen.budget,
            **self._choice_spec(found),
        }

    def _choice_spec(self, run: Run) -> dict[str, Any]:
        """What a mask is chosen by, beside scores and budget."""
        length = self.config["datasets"][run.dataset]["windows"]["length"]
        multiples = self.config.get("prune", {}).get("round_to")
        rounded = {"round_to": [multiples.get("heads", 1), multiples.get("ff", 1)]} if multiples else {}
        return {"length": length} | rounded

    def latency_pair(self, run: Run, budget: str) -> str | None:
        """The latency table that a budget of a run is met by: seeds share it; None for other budgets."""
        return run.pair if parse_budget(budget).timed else None

    def _latency_spec(self, pair: str) -> dict[str, Any]:
        run = next(run for run in self.runs if run.pair == pair)
        profile = self.config["profile"]
        return {
            "label": pair,
            "seed": 0,
            "device": self.config["compute"]["device"],
            "cell": self._cells(run)[0],
            "dtype": profile["dtype"][0],
            "backend": profile["backend"][0],
            "threads": profile["threads"],
            **LATENCY,
        }

    def _recover_spec(self, run: str, kind: str, point: str | None = None) -> dict[str, Any]:
        spent = self.joint_share(self.point(self.run(run), point)) if point else 0.0
        training = self._recovery_training(kind == "distilled", 1 - spent)
        label = f"{run} {point}/{kind}" if point else f"{run} {kind}"
        return {"label": label, **self._run_spec(self.run(run)), "kind": kind, "training": training}

    def joint_share(self, point: Point) -> float:
        """The share of recovery's epochs that a point's criterion spends on gates and weights together."""
        if not load_criterion(point.criterion).trains_weights:
            return 0.0
        return self._criterion_settings(point.criterion)["share"]

    def _recovery_training(self, distil: bool, share: float = 1.0) -> dict[str, Any]:
        """Recovery's settings over `share` of its epochs, which a joint criterion divides with recovery."""
        recovery = self.config["recovery"]
        training = dict(recovery["training"])
        if share < 1:
            training["epochs"] = round(share * training["epochs"], 9)
        if distil:
            training |= {key: recovery[key] for key in ("temperature", "weight")}
        return training

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

    def _evaluate_spec(self, run: str) -> dict[str, Any]:
        found = self.run(run)
        dataset = self.config["datasets"][found.dataset]
        return {
            "label": run,
            **self._run_spec(found),
            "compute": self.config["compute"] | {"threads": self.config["evaluate"]["threads"]},
            "dev_questions": dataset.get("dev_questions"),
            "full_dev": self.full_dev(found),
            "length": self._cells(found)[0]["length"],
            "stride": dataset["windows"]["stride"],
        }

    def _profile_spec(self, run: str) -> dict[str, Any]:
        found = self.run(run)
        dataset = self.config["datasets"][found.dataset]
        points = self.points(found)
        return {
            "label": run,
            "seed": found.seed,
            "run": self._run_spec(found)["run"],
            "device": self.config["compute"]["device"],
            **self.config["profile"],
            "cells": self._cells(found),
            "windows": dataset["windows"],
            "max_answer_tokens": dataset.get("max_answer_tokens", MAX_ANSWER_TOKENS),
            "untrained": {"criterion": points[0].criterion, "budgets": [point.budget for point in points]}
            if self.untrained
            else None,
        }

    def _cells(self, run: Run) -> list[dict[str, int]]:
        """The timed cells of a run; a cell without a length has that of the data set's windows."""
        length = self.config["datasets"][run.dataset]["windows"]["length"]
        return [{"length": length, **cell} for cell in self.config["profile"]["cells"]]

    def _report_spec(self) -> dict[str, Any]:
        return {"label": self.config["name"], "name": self.config["name"], **self.config["report"]}

    def describe(self) -> str:
        """What the config will do, for a person: see `estimate.py`."""
        from qaprune.estimate import describe

        return describe(self)


def make_plan(config: Mapping[str, Any]) -> Plan:
    """The plan of a checked config."""
    return Plan(config)


def spec_json(spec: Mapping[str, Any]) -> str:
    """The one spelling of a spec, so that equal specs compare equal."""
    return json.dumps(spec, sort_keys=True, ensure_ascii=False)
