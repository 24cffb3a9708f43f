"""What a config says of recovery and of repeated criteria, and what stages are told of it."""

from __future__ import annotations

import pytest

from qaprune.config import DEFAULT, read_yaml
from qaprune.errors import InputError
from qaprune.estimate import describe, jobs, point_flops
from qaprune.plan import make_plan
from tests.unit.test_config import with_overlay

GAIN = {"windows": 64, "batch_tokens": 512, "recovery": ["distilled"]}
POINT = "h50-f50"


def plan_of(tmp_path, **overlay):
    return make_plan(with_overlay(tmp_path, **overlay))


def recovery_of(plan, criterion: str, kind: str = "distilled") -> dict:
    spec = plan.spec("recover", run=plan.runs[0].id, kind=kind, point=f"{criterion}-{POINT}")
    return spec["training"]


def test_a_criterion_stands_twice_with_settings_of_its_own(tmp_path):
    criteria = {
        "gain": GAIN,
        "gain@more": GAIN | {"windows": 128, "recovery_changes": {"lr": 0.002, "weight": 0.5}},
    }
    plan = plan_of(tmp_path, criteria=criteria)
    run = plan.runs[0].id
    specs = [plan.spec("gate", run=run, scoring=name) for name in criteria]
    assert [spec["settings"]["windows"] for spec in specs] == [64, 128]
    assert all("recovery_changes" not in spec["settings"] for spec in specs)
    plain, changed = (recovery_of(plan, name) for name in criteria)
    assert (changed["lr"], changed["weight"]) == (0.002, 0.5)
    assert {**changed, "lr": plain["lr"], "weight": plain["weight"]} == plain
    teacher = plan.spec("recover", run=run, kind="teacher+")["training"]
    assert teacher["lr"] == plain["lr"], "teacher+ follows recovery, not one criterion's"


def test_hidden_states_are_matched_in_distilled_rows_alone(tmp_path):
    gain = GAIN | {"recovery": ["retrained", "distilled"]}
    recovery = {"hidden_weight": 0.3, "hidden_layers": [1, 2]}
    criteria = {"gain": gain, "gain@off": gain | {"recovery_changes": {"hidden_weight": 0}}}
    plan = plan_of(tmp_path, criteria=criteria, recovery=recovery)
    assert recovery_of(plan, "gain")["hidden_weight"] == 0.3
    assert recovery_of(plan, "gain")["hidden_layers"] == [1, 2]
    assert "hidden_weight" not in recovery_of(plan, "gain", "retrained")
    assert "hidden_weight" not in recovery_of(plan, "gain@off")
    points = {point.criterion: point for point in plan.points(plan.runs[0])}
    assert [plan.matches_hidden(points[name]) for name in criteria] == [True, False]


def test_cutting_in_steps_is_at_recoverys_expense(tmp_path):
    gradual = {"steps": 3, "share": 0.4, "distil": True}
    plan = plan_of(tmp_path, criteria={"gain": GAIN, "gain@steps": GAIN | {"gradual": gradual}})
    run = plan.runs[0].id
    gate = plan.spec("gate", run=run, scoring=f"gain@steps-{POINT}")
    whole = recovery_of(plan, "gain")["epochs"]
    assert gate["training"]["epochs"] == pytest.approx(0.4 * whole)
    assert recovery_of(plan, "gain@steps")["epochs"] == pytest.approx(0.6 * whole)
    assert "temperature" in gate["training"]
    assert gate["budget"] == POINT
    files = plan.weight_files(plan.variants(plan.runs[0]))
    assert f"{plan.out}/prune/{run}/gain@steps-{POINT}/model.safetensors" in files
    assert f"{plan.out}/prune/{run}/gain-{POINT}/model.safetensors" not in files


def test_seeds_of_models_and_criteria(tmp_path):
    models = {
        name: {"architecture": "bert", "source": {"hub": f"x/{name}"}} | more
        for name, more in (("a", {}), ("b", {"seeds": [2]}))
    }
    criteria = {"gain": GAIN, "magnitude": {"seeds": [1]}}
    plan = plan_of(tmp_path, seeds=[1, 2], models=models, criteria=criteria)
    found = {run.id: [point.criterion for point in plan.points(run)] for run in plan.runs}
    assert found["a-squad2-s1"][-1] == "magnitude"
    assert set(found["a-squad2-s2"]) == set(found["b-squad2-s2"]) == {"gain"}
    assert not any(name.startswith("b") and name.endswith("s1") for name in found)
    assert "magnitude at h50-f50 h25-f25 (seed 1 alone)" in describe(plan)


def test_several_processes_are_launched_where_training_is(tmp_path):
    plan = plan_of(tmp_path, compute={"processes": 2, "compile": "default", "threads": 3})
    run = plan.runs[0].id
    assert plan.launcher == "torchrun --standalone --nproc_per_node 2 --no-python qaprune"
    assert (plan.training_threads, plan.training_processes) == (6, 2)
    assert plan.spec("teacher", run=run)["compute"]["processes"] == 2
    assert "processes" not in plan.spec("evaluate", run=run)["compute"]
    gate = plan.spec("gate", run=run, scoring=f"l0-{POINT}")["compute"]
    assert gate["processes"] == 2
    assert "compile" not in gate, "gates are never compiled"
    assert "compile" not in plan.spec("prune", run=run, point=plan.points(plan.runs[0])[0].id)["compute"]
    assert plan_of(tmp_path).launcher == "qaprune"


def with_news(**changes) -> dict:
    datasets = read_yaml(DEFAULT)["datasets"]
    return datasets | {"news": datasets["squad2"] | {"checkpoints_of": "squad2"} | changes}


def starting_from_news() -> dict:
    datasets = with_news()
    return datasets | {"nq": datasets["nq"] | {"initialise_from": "news"}}


def test_another_dev_set_scores_the_same_checkpoints(tmp_path):
    plan, plain = plan_of(tmp_path, datasets=with_news()), plan_of(tmp_path)
    news = plan.run("bert-news-s13")
    assert news in plan.runs
    assert plan.variants(news) == plan.variants(plan.run("bert-squad2-s13"))
    assert plan.spec("evaluate", run=news.id)["run"]["dataset"] == "news"
    more = {stage: count - jobs(plain).get(stage, 0) for stage, count in jobs(plan).items()}
    assert {stage: count for stage, count in more.items() if count} == {
        "data": 1,
        "features": 2,
        "evaluate": 2,
        "profile": 2,
    }


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"criteria": {"gain@": GAIN}}, "criteria: expected a name that matches"),
        (
            {
                "criteria": {"torch_pruning_layer": {"windows": 64, "batch_tokens": 512}},
                "budgets": ["h50-f50", "h50-f50-d50"],
            },
            "criteria.torch_pruning_layer: budget 'h50-f50-d50' cuts the hidden width, of which this",
        ),
        ({"criteria": {"gian@b": {}}}, "'gian' is no known criterion; did you mean 'gain'"),
        ({"criteria": {"gain@b": GAIN | {"windows": 0}}}, "criteria.gain@b.windows: expected at least 1"),
        ({"criteria": {"gain": GAIN | {"seeds": [7]}}}, "criteria.gain.seeds: 7 is not one of 13"),
        (
            {"criteria": {"gain": GAIN | {"recovery_changes": {"lrr": 1}}}},
            "criteria.gain.recovery_changes.lrr: unknown key",
        ),
        (
            {"criteria": {"gain": GAIN | {"recovery_changes": {"epochs": 4}}}},
            "criteria.gain.recovery_changes.epochs: expected at most the 0.12 of recovery.training.epochs",
        ),
        (
            {"criteria": {"gain": GAIN | {"gradual": {"steps": 1, "share": 0.5}}}},
            "criteria.gain.gradual.steps: expected at least 2",
        ),
        (
            {
                "criteria": {"gain": GAIN | {"gradual": {"steps": 2, "share": 0.5}}},
                "budgets": ["h50-f50-d50"],
            },
            "criteria.gain.gradual: budget 'h50-f50-d50' cuts the hidden width",
        ),
        (
            {
                "models": {"m": {"architecture": "bert", "source": {"hub": "x"}, "seeds": [1]}},
                "criteria": {"gain": GAIN},
            },
            "models.m.seeds: 1 is not one of 13",
        ),
        ({"recovery": {"hidden_layers": [0]}}, "recovery.hidden_layers.0: expected at least 1"),
        ({"recovery": {"hidden_layers": [1, 9]}}, "recovery.hidden_layers: expected at most the"),
        (
            {"criteria": {"gain": GAIN | {"recovery_changes": {"hidden_layers": [9]}}}},
            "criteria.gain.recovery_changes.hidden_layers: expected at most the",
        ),
        ({"compute": {"processes": 0}}, "compute.processes: expected at least 1"),
        (
            {"datasets": with_news(checkpoints_of="nws")},
            "datasets.news.checkpoints_of: 'nws': expected a data set whose models are trained",
        ),
        (
            {"datasets": with_news(checkpoints_of="news")},
            "datasets.news.checkpoints_of: 'news': expected a data set whose models are trained",
        ),
        (
            {"datasets": with_news(checkpoints_of="nq")},
            "datasets.news.checkpoints_of: 'nq' has other task; expected the same",
        ),
        (
            {"datasets": starting_from_news()},
            "datasets.nq.initialise_from: 'news' trains nothing; expected the data set 'squad2'",
        ),
    ],
)
def test_bad_values_name_key_and_expectation(tmp_path, overlay, message):
    with pytest.raises(InputError) as error:
        plan_of(tmp_path, **overlay)
    assert message in str(error.value)


@pytest.mark.parametrize("included", [False, True])
def test_the_estimate_knows_what_differs_in_a_criterion_s_recovery(included, tmp_path):
    changes = {"plain": {}, "half": {"epochs": 0.1}, "hidden": {"hidden_weight": 0.5}}
    criteria = {f"gain@{name}": GAIN | {"recovery_changes": own} for name, own in changes.items()}
    recovery = {"training": {"epochs": 0.2}, "include_gate": included}
    plan = plan_of(tmp_path, criteria=criteria, recovery=recovery)
    gate, after = {}, {}
    for point in plan.points(plan.runs[0]):
        if point.budget == POINT:
            name = point.criterion.removeprefix("gain@")
            gate[name], after[name] = point_flops(plan, point, weights=10, epoch_tokens=1e5, window=100)
    read = 64 * 100
    assert set(gate.values()) == {4 * 10 * read}
    read *= included  # what the gate reads comes out of recovery
    assert after["plain"] == 6 * 10 / 2 * (2e4 - read)
    assert after["half"] == 6 * 10 / 2 * (1e4 - read)
    assert after["hidden"] == after["plain"] + 2 * 10 * (2e4 - read), "the teacher computes along"


@pytest.mark.parametrize(
    ("given", "multiples"), [({"ff": 8}, [1, 8, 1]), ({"heads": 2, "hidden": 16}, [2, 1, 16])]
)
def test_multiples_that_are_not_named_are_one(given, multiples, tmp_path):
    plan = plan_of(tmp_path, prune={"round_to": given})
    run, point = plan.runs[0].id, plan.points(plan.runs[0])[0].id
    assert plan.spec("prune", run=run, point=point)["round_to"] == multiples
    assert "round_to" not in plan_of(tmp_path).spec("prune", run=run, point=point)
