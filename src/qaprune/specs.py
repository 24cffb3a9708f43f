"""What each stage is given: the spec of a job holds only the keys that the stage reads. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qaprune.budget import parse_budget
from qaprune.errors import InputError
from qaprune.profile.settings import TORCH_BACKENDS

if TYPE_CHECKING:
    from qaprune.plan import Plan, Run

VERSIONS = {
    "corpus": 3,
    "data": 3,
    "encoder": 1,
    "features": 3,
    "latency": 1,
    "teacher": 6,
    "gate": 5,
    "prune": 5,
    "recover": 5,
    "evaluate": 3,
    "profile": 5,
    "report": 4,
}
"""Raised when a stage's numbers change: a Python edit alone does not make Snakemake run it again."""


MAX_ANSWER_TOKENS = 30
LATENCY = {"rounds": 30, "warmup": {"least": 5, "most": 20, "cv_percent": 3}}
"""How the latency table is timed. Not by the profile's rounds: masks hang on the table, and an edit of how
a run is timed must not train it again."""


class Specs:
    """Builds the specs of a plan's jobs: one method a stage, called with the job's wildcards."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.config = plan.config

    def of(self, stage: str, **names: str) -> dict[str, Any]:
        """The spec of one job."""
        return {"version": VERSIONS[stage], **getattr(self, stage)(**names)}

    def corpus(self) -> dict[str, Any]:
        return {"label": "embedded", **self.config["corpus"]}

    def data(self, dataset: str) -> dict[str, Any]:
        settings = self.config["datasets"][dataset]
        full = any(dataset == run.dataset and self.plan.full_dev(run) for run in self.plan.runs)
        optional = ("train_questions", "holdout_questions", "dev_questions")
        return {
            "label": dataset,
            **{key: settings[key] for key in ("task", "train", "dev", "holdout_share")},
            **{key: settings.get(key) for key in optional},
            "full_dev": full,
        } | ({"on_bad_example": settings.get("on_bad_example", "fail")} if settings["task"] == "nq" else {})

    def encoder(self, model: str) -> dict[str, Any]:
        settings = self.config["models"][model]
        return {
            "label": model,
            "architecture": settings["architecture"],
            "source": settings["source"],
            "seed": self.config["corpus"]["seed"],
        } | ({"weights": False} if self.plan.untrained else {})

    def features(self, model: str, dataset: str) -> dict[str, Any]:
        return {
            "label": f"{model}-{dataset}",
            "architecture": self.config["models"][model]["architecture"],
            "task": self.config["datasets"][dataset]["task"],
            "windows": self.config["datasets"][dataset]["windows"],
        }

    def _run(self, run: Run) -> dict[str, Any]:
        dataset = self.config["datasets"][run.dataset]
        return {
            "run": {"model": run.model, "dataset": run.dataset, "seed": run.seed},
            "compute": self._compute(training=False),
            "task": dataset["task"],
            "max_answer_tokens": dataset.get("max_answer_tokens", MAX_ANSWER_TOKENS),
        }

    def _compute(self, training: bool = True) -> dict[str, Any]:
        """Where a stage computes; what only training knows is left out of the others' specs."""
        settings = self.config["compute"]
        only = () if training else ("processes", "compile")
        return {key: value for key, value in settings.items() if key not in only}

    def teacher(self, run: str) -> dict[str, Any]:
        found = self.plan.run(run)
        return {
            "label": run,
            **self._run(found),
            "compute": self._compute(),
            "training": self.config["training"]
            | self.config["datasets"][found.dataset].get("training", {}),
            "checkpoint": self.config["models"][found.model].get("teachers", {}).get(found.dataset),
            "teacher_logits": any(
                "distilled" in point.recovery or self.plan.joint_settings(point.criterion).get("distil")
                for point in self.plan.points(found)
            ),
        }

    def gate(self, run: str, scoring: str) -> dict[str, Any]:
        found = self.plan.run(run)
        point = self.plan.scored_point(found, scoring)
        criterion = self.plan.criterion(point.criterion)
        own = self.plan.criterion_settings(point.criterion)
        spec = {
            "label": f"{run} {scoring}",
            "criterion": point.criterion,
            "criterion_version": criterion.version,
            "budget": point.budget if criterion.per_budget else None,
            "settings": own,
            "run": self._run(found)["run"],
        }
        if criterion.per_budget:
            spec |= self._choice(found)
        elif any(
            parse_budget(other.budget).hidden
            for other in self.plan.points(found)
            if other.scoring == scoring
        ):
            spec["hidden"] = True
        if criterion.trains_weights:
            joint = self.plan.joint_settings(point.criterion)
            distil = joint.get("distil", False)
            spec["training"] = self._recovery_training(distil, joint["share"], point.criterion)
        if criterion.needs_model:
            # Gates stand in hooks and are not compiled; the number of processes is the launcher's.
            spec["compute"] = {key: value for key, value in self._compute().items() if key != "compile"}
        return spec

    def prune(self, run: str, point: str) -> dict[str, Any]:
        found = self.plan.run(run)
        chosen = self.plan.point(found, point)
        return {
            "label": f"{run} {point}",
            **self._run(found),
            "criterion": chosen.criterion,
            "budget": chosen.budget,
            **self._choice(found),
        }

    def _choice(self, run: Run) -> dict[str, Any]:
        """What a mask is chosen by, beside scores and budget."""
        return {"length": self.config["datasets"][run.dataset]["windows"]["length"]} | self._rounded()

    def _rounded(self) -> dict[str, Any]:
        """`round_to` where the config has it: multiples of heads, units and hidden dimensions."""
        multiples = self.config.get("prune", {}).get("round_to")
        if not multiples:
            return {}
        # `rounding` is raised when rounding changes: no reason to run configs again that have none.
        return {"round_to": [multiples.get(kind, 1) for kind in ("heads", "ff", "hidden")], "rounding": 2}

    def latency(self, pair: str) -> dict[str, Any]:
        run = next(run for run in self.plan.runs if run.pair == pair)
        profile = self.config["profile"]
        return {
            "label": pair,
            "seed": 0,
            "device": self.config["compute"]["device"],
            "cell": self.plan.cells(run)[0],
            "dtype": profile["dtype"][0],
            "backend": next((name for name in profile["backend"] if name in TORCH_BACKENDS), "sdpa"),
            "threads": profile["threads"],
            **LATENCY,
        }

    def recover(self, run: str, kind: str, point: str | None = None) -> dict[str, Any]:
        included = self.config["recovery"].get("include_gate", False)
        joint = point and not included
        spent = self.plan.joint_share(self.plan.point(self.plan.run(run), point)) if joint else 0.0
        criterion = self.plan.point(self.plan.run(run), point).criterion if point else None
        training = self._recovery_training(kind == "distilled", 1 - spent, criterion)
        if kind == "distilled":
            training |= self._hidden_states(criterion)
        if included:
            training["include_gate"] = True
        label = f"{run} {point}/{kind}" if point else f"{run} {kind}"
        known = self.plan.point(self.plan.run(run), point).recovery if point else (kind,)
        if kind not in known:
            raise InputError(
                f"config: {label}: not asked for; this point has {', '.join(known) or 'no recovery'}"
            )
        shared = self._run(self.plan.run(run)) | {"compute": self._compute()}
        return {"label": label, **shared, "kind": kind, "training": training}

    def recovery(self, criterion: str | None) -> dict[str, Any]:
        """The config's recovery, with what differs for a criterion; without one, that of teacher+."""
        own = self.config["criteria"][criterion].get("recovery_changes", {}) if criterion else {}
        recovery = self.config["recovery"]
        changes = {key: value for key, value in own.items() if key in recovery["training"]}
        return {**recovery, **own, "training": recovery["training"] | changes}

    def _recovery_training(self, distil: bool, share: float, criterion: str | None) -> dict[str, Any]:
        """Recovery's settings over `share` of its epochs, which a joint criterion divides with recovery."""
        recovery = self.recovery(criterion)
        training = dict(recovery["training"])
        if share < 1:
            training["epochs"] = round(share * training["epochs"], 9)
        if distil:
            training |= {key: recovery[key] for key in ("temperature", "weight")}
        return training

    def _hidden_states(self, criterion: str | None) -> dict[str, Any]:
        """How hidden states are matched, where they are."""
        recovery = self.recovery(criterion)
        if not recovery.get("hidden_weight"):
            return {}
        return {key: recovery[key] for key in ("hidden_weight", "hidden_layers") if key in recovery}

    def evaluate(self, run: str) -> dict[str, Any]:
        found = self.plan.run(run)
        dataset = self.config["datasets"][found.dataset]
        return {
            "label": run,
            **self._run(found),
            "compute": self._compute(training=False) | {"threads": self.config["evaluate"]["threads"]},
            "dev_questions": dataset.get("dev_questions"),
            "full_dev": self.plan.full_dev(found),
            "length": self.plan.cells(found)[0]["length"],
            "stride": dataset["windows"]["stride"],
        }

    def profile(self, run: str) -> dict[str, Any]:
        found = self.plan.run(run)
        dataset = self.config["datasets"][found.dataset]
        points = self.plan.points(found)
        budgets = [point.budget for point in points]
        return {
            "label": run,
            "seed": found.seed,
            "run": self._run(found)["run"],
            "device": self.config["compute"]["device"],
            **self.config["profile"],
            "cells": self.plan.cells(found),
            "windows": dataset["windows"],
            "max_answer_tokens": dataset.get("max_answer_tokens", MAX_ANSWER_TOKENS),
            "untrained": {"criterion": points[0].criterion, "budgets": budgets} | self._rounded()
            if self.plan.untrained
            else None,
        }

    def report(self) -> dict[str, Any]:
        name, root = self.config["name"], self.config["data_root"]
        return {"label": name, "name": name, "data_root": root, **self.config["report"]}
