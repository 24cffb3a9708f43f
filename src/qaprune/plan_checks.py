"""What a schema cannot say of a config: names that refer to each other, budgets, window lengths."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qaprune.budget import FLOPS, PARAMS, SHARES, Budget, parse_budget
from qaprune.errors import InputError
from qaprune.gate.registry import BUILT_IN, base_name, load_criterion
from qaprune.models.cost import parameters_of_config
from qaprune.models.encoder import EncoderShape, longest_input, read_config, shape_of_config
from qaprune.prune.costs import Costs, flops_costs, limit_of, parameter_costs

TEACHER, TEACHER_PLUS = "teacher", "teacher+"
Config = Mapping[str, Any]


def check_plan(config: Config, pairs: set[str]) -> None:
    """Raise InputError that names the first key whose value does not fit the others.

    `pairs` are the config's `model-dataset` names.
    """
    _check_budgets(config["budgets"])
    _check_criteria(config, pairs)
    _check_warmup(config["profile"]["warmup"])
    if config.get("untrained"):
        _check_untrained(config)
    known = {TEACHER, TEACHER_PLUS, *config["criteria"]}
    for value in config["evaluate"]["full_dev"]:
        if value not in known:
            raise InputError(
                f"config: evaluate.full_dev: {value!r} is not one of {', '.join(sorted(known))}"
            )
    _check_teacher_only(config["datasets"])
    _check_checkpoints_of(config["datasets"])
    for name, settings in config["datasets"].items():
        if "on_bad_example" in settings and settings["task"] != "nq":
            raise InputError(
                f"config: datasets.{name}.on_bad_example: only Natural Questions are read line by line"
            )
    for name in config["datasets"]:
        _check_windows(config, name)
        _check_start(config["datasets"], name)
    for name in config["models"]:
        _check_model(config, name)
        _check_reach(config, name, pairs)


def _check_budgets(names: list[str]) -> None:
    """Each can be read, and no two mean the same: they would be two points, each trained."""
    seen: dict[Any, str] = {}
    for name in names:
        budget = replace(parse_budget(name), name="")
        if budget in seen:
            raise InputError(f"config: budgets: {seen[budget]!r} and {name!r} mean the same")
        seen[budget] = name


def _check_warmup(warmup: Mapping[str, Any]) -> None:
    """There is room for the rounds that must agree."""
    if warmup["most"] < warmup["least"]:
        raise InputError(
            f"config: profile.warmup.most: expected at least the {warmup['least']} of least, "
            f"got {warmup['most']}"
        )


def _check_criteria(config: Config, pairs: set[str]) -> None:
    """Criteria exist, and their budgets and pairs are the config's."""
    budgets = set(config["budgets"])
    for name, settings in config["criteria"].items():
        package = load_criterion(name).package
        built_in = base_name(name) in BUILT_IN
        if package and find_spec(package) is None:
            extra = "; pip install -e '.[peers]'" if built_in else ""
            raise InputError(f"config: criteria.{name}: the package {package} is not installed{extra}")
        _check_epochs(config, name, settings.get("recovery_changes", {}))
        asked = settings.get("budgets", config["budgets"])
        if base_name(name) == "movement" and settings["warmup"] + settings["cooldown"] >= 1:
            raise InputError(
                f"config: criteria.{name}: warmup {settings['warmup']} and cooldown {settings['cooldown']} "
                "leave no part of the training to close gates in; expected a sum below 1"
            )
        if settings.get("gradual"):
            _check_width(f"{name}.gradual", asked, "which is not done in steps")
        if not load_criterion(name).scores_hidden:
            _check_width(name, asked, "of which this criterion has no scores")
        if load_criterion(name).trains_weights and not built_in:
            share = settings.get("settings", {}).get("share")
            if not isinstance(share, float) or not 0 < share < 1:
                raise InputError(
                    f"config: criteria.{name}.settings.share: expected a number between 0 and 1, got "
                    f"{share!r}: the criterion trains weights, on a share of recovery's epochs"
                )
        for key, known in (("budgets", budgets), ("pairs", pairs), ("seeds", set(config["seeds"]))):
            for value in settings.get(key, ()):
                if value not in known:
                    expected = ", ".join(map(str, sorted(known)))
                    raise InputError(f"config: criteria.{name}.{key}: {value!r} is not one of {expected}")


def _check_epochs(config: Config, name: str, changes: Mapping[str, Any]) -> None:
    """No student sees more data than teacher+, which follows the config's recovery."""
    most = config["recovery"]["training"]["epochs"]
    if changes.get("epochs", most) > most:
        raise InputError(
            f"config: criteria.{name}.recovery_changes.epochs: expected at most the {most} of "
            f"recovery.training.epochs, which teacher+ has, got {changes['epochs']}"
        )


def _check_width(key: str, budgets: list[str], why: str) -> None:
    """No budget of these cuts the hidden width."""
    for budget in budgets:
        if parse_budget(budget).hidden is not None:
            raise InputError(
                f"config: criteria.{key}: budget {budget!r} cuts the hidden width, {why}; expected "
                "budgets of heads and units alone"
            )


def _check_untrained(config: Config) -> None:
    """Without training there is nothing that a criterion could learn from."""
    for name in config["criteria"]:
        if load_criterion(name).needs_model:
            raise InputError(
                f"config: criteria.{name}: needs a trained model; with `untrained: true` only criteria "
                "that need none"
            )
    if len(config["criteria"]) > 1:
        raise InputError("config: criteria: expected one criterion with `untrained: true`")
    for name, settings in config["criteria"].items():
        for key in ("pairs", "seeds"):
            if key in settings:
                raise InputError(
                    f"config: criteria.{name}.{key}: with `untrained: true` the criterion cuts every model"
                )
    for name in config["budgets"]:
        if parse_budget(name).kind not in (SHARES, FLOPS):
            raise InputError(
                f"config: budgets: {name!r}: with `untrained: true` expected per cents kept or FLOPs"
            )
    for name, model in config["models"].items():
        if "scratch" not in model["source"] or model.get("teachers"):
            raise InputError(
                f"config: models.{name}: expected a `scratch` source alone with `untrained: true`"
            )


def _check_windows(config: Config, name: str) -> None:
    """A data set's windows have room for context, and no timed cell cuts them."""
    windows = config["datasets"][name]["windows"]
    room = windows["length"] - windows["max_question_tokens"] - 4
    if room <= windows["stride"]:
        raise InputError(
            f"config: datasets.{name}.windows: length {windows['length']} leaves {room} context tokens "
            f"beside a question of {windows['max_question_tokens']}; expected more than stride "
            f"{windows['stride']}"
        )
    for number, cell in enumerate(config["profile"]["cells"]):
        if cell.get("length", windows["length"]) < windows["length"]:
            raise InputError(
                f"config: profile.cells[{number}].length: {cell['length']} would cut the windows of "
                f"{name}; expected at least {windows['length']}"
            )


def _check_teacher_only(datasets: Mapping[str, Any]) -> None:
    """A data set without rows is there for another one's teacher to start from."""
    sources = {settings.get("initialise_from") for settings in datasets.values()}
    for name, settings in datasets.items():
        if settings.get("teacher_only") and name not in sources:
            raise InputError(
                f"config: datasets.{name}.teacher_only: no other data set's initialise_from names {name!r}"
            )


def _check_checkpoints_of(datasets: Mapping[str, Any]) -> None:
    """A data set that scores another one's checkpoints reads contexts as they were trained."""
    for name, settings in datasets.items():
        source = settings.get("checkpoints_of")
        if source is None:
            continue
        key = f"config: datasets.{name}.checkpoints_of: {source!r}"
        given = datasets.get(source, {"checkpoints_of": None})
        if "checkpoints_of" in given or given.get("teacher_only"):
            raise InputError(f"{key}: expected a data set whose models are trained and have rows")
        for other in ("task", "windows"):
            if settings[other] != given[other]:
                raise InputError(f"{key} has other {other}; expected the same")


def _check_start(datasets: Mapping[str, Any], name: str) -> None:
    """`initialise_from` must lead to a data set that starts from an encoder."""
    seen = [name]
    while (source := datasets[seen[-1]].get("initialise_from")) is not None:
        if source in seen or source not in datasets:
            raise InputError(
                f"config: datasets.{seen[-1]}.initialise_from: {source!r} is no data set that starts "
                "before it"
            )
        if datasets[source].get("checkpoints_of"):
            raise InputError(
                f"config: datasets.{seen[-1]}.initialise_from: {source!r} trains nothing; expected the "
                f"data set {datasets[source]['checkpoints_of']!r} of its checkpoints_of"
            )
        if datasets[source]["task"] == "nq" and datasets[seen[-1]]["task"] != "nq":
            raise InputError(
                f"config: datasets.{seen[-1]}.initialise_from: expected a data set of the task squad2: "
                "a teacher of Natural Questions has answer types besides"
            )
        seen.append(source)


def _check_model(config: Config, name: str) -> None:
    """A model's teachers belong to data sets; one from scratch fits together and reads all windows."""
    model = config["models"][name]
    for seed in model.get("seeds", ()):
        if seed not in config["seeds"]:
            expected = ", ".join(map(str, config["seeds"]))
            raise InputError(f"config: models.{name}.seeds: {seed} is not one of {expected}")
    for dataset in model.get("teachers", {}):
        if dataset not in config["datasets"]:
            raise InputError(f"config: models.{name}.teachers.{dataset}: no such data set")
    limits = _limits(model["source"])
    if limits:
        _check_limits(config, name, *limits)
    scratch = model["source"].get("scratch")
    if scratch and scratch["hidden"] % scratch["heads"]:
        raise InputError(
            f"config: models.{name}.source.scratch.heads: expected a divisor of hidden "
            f"{scratch['hidden']}, got {scratch['heads']}"
        )


def _limits(source: Mapping[str, Any]) -> tuple[int, int] | None:
    """Positions and layers of a model, where they are known before it is fetched."""
    if "scratch" in source:
        return source["scratch"]["max_positions"], source["scratch"]["layers"]
    # What a checkpoint lacks is for the stage to say that reads it.
    with contextlib.suppress(InputError, KeyError):
        config = read_config(Path(source["path"]))
        return longest_input(config), config["num_hidden_layers"]
    return None


def _check_limits(config: Config, name: str, positions: int, layers: int) -> None:
    """A model reads all windows and cells, and has the layers that hidden states are matched at."""
    for key, length in _lengths(config).items():
        if length > positions:
            raise InputError(
                f"config: {key}: expected at most the {positions} positions of model {name!r}, got {length}"
            )
    for key, recovery in _recoveries(config).items():
        for layer in recovery.get("hidden_layers", ()):
            if layer > layers:
                raise InputError(
                    f"config: {key}.hidden_layers: expected at most the {layers} layers of model {name!r}, "
                    f"got {layer}"
                )


def _check_reach(config: Config, name: str, pairs: set[str]) -> None:
    """Budgets in FLOPs and parameters leave at least one head and one unit.

    Of a model whose shape is known before it is fetched; those in time are for the stage that has the
    latency table.
    """
    source = config["models"][name]["source"]
    for dataset, settings in config["datasets"].items():
        pair = f"{name}-{dataset}"
        asked = {
            budget
            for criterion in config["criteria"].values()
            if pair in pairs and pair in criterion.get("pairs", [pair])
            for budget in criterion.get("budgets", config["budgets"])
        }
        for budget in map(parse_budget, sorted(asked)):
            costs = _costs(budget, source, settings["windows"]["length"])
            try:
                if costs:
                    limit_of(budget, costs)
            except InputError as error:
                raise InputError(f"config: {error} of model {name!r}") from None


def _costs(budget: Budget, source: Mapping[str, Any], length: int) -> Costs | None:
    """What widths cost in a budget's unit, by a shape or a `config.json`; None where neither says it."""
    scratch = source.get("scratch")
    if scratch and budget.kind == FLOPS:
        heads, ff = ((scratch[key],) * scratch["layers"] for key in ("heads", "intermediate"))
        shape = EncoderShape(scratch["hidden"], scratch["hidden"] // scratch["heads"], heads, ff)
        return flops_costs(shape, length)
    # What a checkpoint lacks is for the stage to say that reads it.
    with contextlib.suppress(InputError, KeyError):
        found = read_config(Path(source["path"]))
        if budget.kind == FLOPS:
            return flops_costs(shape_of_config(found), length)
        if budget.kind == PARAMS:
            return parameter_costs(shape_of_config(found), parameters_of_config(found))
    return None


def _recoveries(config: Config) -> dict[str, Mapping[str, Any]]:
    """Every place where recovery is set, by its key."""
    own = {
        f"criteria.{name}.recovery_changes": settings.get("recovery_changes", {})
        for name, settings in config["criteria"].items()
    }
    return {"recovery": config["recovery"]} | own


def _lengths(config: Config) -> dict[str, int]:
    """Every length that models are fed, by its key."""
    cells = {
        f"profile.cells[{number}].length": cell.get("length", 0)
        for number, cell in enumerate(config["profile"]["cells"])
    }
    return cells | {
        f"datasets.{dataset}.windows.length": settings["windows"]["length"]
        for dataset, settings in config["datasets"].items()
    }
