"""Specs written by hand: what is wrong with one is one line, and those of configs are never blamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qaprune.cli import main
from qaprune.config import DEFAULT, load_config
from qaprune.plan import Plan, make_plan
from qaprune.spec_checks import misfits
from qaprune.specs import VERSIONS

CONFIGS = sorted(DEFAULT.parent.glob("*.yaml"))


def specs(plan: Plan):
    """Every job's spec of a plan."""
    yield from (plan.spec(stage) for stage in ("corpus", "report"))
    yield from (plan.spec("data", dataset=name) for name in plan.config["datasets"])
    yield from (plan.spec("encoder", model=name) for name in plan.config["models"])
    for run in plan.runs:
        yield plan.spec("features", model=run.model, dataset=run.dataset)
        yield plan.spec("latency", pair=run.pair)
        for stage in ("teacher", "evaluate", "profile"):
            yield plan.spec(stage, run=run.id)
        for point in plan.points(run):
            yield plan.spec("gate", run=run.id, scoring=point.scoring)
            yield plan.spec("prune", run=run.id, point=point.id)
            for kind in point.recovery:
                yield plan.spec("recover", run=run.id, point=point.id, kind=kind)


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_specs_of_configs_are_never_blamed(path):
    # Specs that differ in their names alone once.
    found = {json.dumps(spec | {"label": "", "run": {}}) for spec in specs(make_plan(load_config([path])))}
    assert len(found) >= len(VERSIONS) - 4
    for spec in found:
        assert list(misfits(json.loads(spec))) == []


SPEC = {
    "label": "squad2",
    "task": "squad2",
    "train": {"path": "own.json"},
    "dev": {"path": "own.json"},
    "holdout_share": 0.1,
    "train_questions": None,
    "holdout_questions": None,
    "dev_questions": None,
    "full_dev": True,
}


def own(text: str, answer: str, start: int) -> dict:
    question = {"id": text, "question": "Who?", "answers": [{"text": answer, "answer_start": start}]}
    return {"title": text, "paragraphs": [{"context": f"{answer} saw {text}", "qas": [question]}]}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the stage `data` on a small file of one's own, and says how it ended."""
    monkeypatch.chdir(tmp_path)
    articles = [own(f"name {number}", "Ann", 0) for number in range(30)]
    Path("own.json").write_text(json.dumps({"version": "v2.0", "data": articles}))
    return lambda spec: main(["data", "--spec", json.dumps(spec), "--out", "out"])


def test_a_sound_spec_of_one_s_own_runs(data):
    assert data(SPEC) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"holdout_share": "x"}, "'holdout_share': expected number, got 'x'"),
        ({"holdout_share": None}, "'holdout_share': expected number, got None"),
        ({"train_questions": "20"}, "'train_questions': expected integer, got '20'"),
        ({"dev_questions": [1]}, "'dev_questions': expected integer, got [1]"),
        ({"train": "own.json"}, "'train': expected object, got 'own.json'"),
        ({"train": {"path": 5}}, "'path': expected string, got 5"),
        ({"dev": None}, "'dev': expected object, got None"),
    ],
)
def test_a_value_of_the_wrong_type_is_one_line(change, message, data, capsys):
    assert data(SPEC | change) == 1
    assert capsys.readouterr().err.strip() == f"qaprune: error: data squad2: --spec: {message}"
    assert not Path("out/stage.json").exists()


def test_a_fault_of_the_program_is_not_blamed_on_a_sound_spec(data, monkeypatch):
    def broken(*_args):
        raise TypeError("a fault")

    monkeypatch.setattr("qaprune.data.stages.prepare_squad2", broken)
    with pytest.raises(TypeError, match="a fault"):
        data(SPEC)
