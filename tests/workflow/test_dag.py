"""The DAG itself: dry runs, bad configs, what reads dev labels, what an edit makes run again."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
import yaml

from benchmarks import exact
from qaprune.config import DEFAULT, load_config, read_yaml
from qaprune.plan import make_plan, spec_json
from qaprune.specs import VERSIONS
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def snakemake(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--nolock", "--cores", "1", *map(str, words)]
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)


def edited(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump({"name": "test-dag", **changes}))
    return path


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_dry_runs(config, tmp_path):
    done = snakemake("-n", "--forceall", "--quiet", "rules", "--configfile", config)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    expected = {config.stem: exact.read_exact()["jobs"].get(config.stem, {})}
    changed = exact.differences(expected, {config.stem: exact.count_jobs(done.stdout + done.stderr)})
    assert not changed, exact.explain(changed)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_has_a_plan_in_eighty_columns(config):
    text = make_plan(load_config([config])).describe()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert re.search(r"\d+ runs, \d+ jobs", text)
    assert "estimated time" in text
    assert "disk" in text


@pytest.mark.parametrize("name", ["embedded", "speed"])
def test_the_plan_announces_what_the_dag_runs(name):
    config = ROOT / "config" / f"{name}.yaml"
    done = snakemake("-n", "--forceall", "--quiet", "rules", "--configfile", config)
    total = int(re.search(r"^total\s+(\d+)", done.stdout + done.stderr, re.M)[1])
    announced = int(re.search(r"(\d+) jobs", make_plan(load_config([config])).describe())[1])
    assert announced == total - 1  # `all` itself runs nothing


def test_speed_alone_trains_and_scores_nothing():
    done = snakemake(
        "-n", "--forceall", "--quiet", "reason", "--configfile", ROOT / "config" / "speed.yaml"
    )
    rules = {rule for rule, _ in jobs_of_dry_run(done.stdout)}
    assert rules == {"corpus", "data", "encoder", "features", "profile", "report", "all"}


def test_a_latency_table_is_measured_for_budgets_in_time_alone(tmp_path):
    criteria = {
        "random": {"draws": 5, "budgets": ["flops50", "params60.5", "h50-f50-d75"]},
        "gain": {"windows": 64, "batch_tokens": 2048, "budgets": ["x2", "flops50"]},
        "fisher": {
            "windows": 9,
            "tuning_windows": 9,
            "batch_tokens": 99,
            "damping": 0.1,
            "budgets": ["ms3"],
        },
    }
    budgets = ["flops50", "params60.5", "h50-f50-d75", "x2", "ms3"]
    config = edited(tmp_path, criteria=criteria, budgets=budgets)
    done = snakemake("-n", "--forceall", "--quiet", "reason", "--configfile", config)
    jobs = jobs_of_dry_run(done.stdout)
    rules = [rule for rule, _ in jobs]
    assert rules.count("latency") == 4, done.stderr  # one a pair
    readers = [rule for rule, inputs in jobs if any("/latency/" in path for path in inputs)]
    assert (readers.count("gate"), readers.count("prune")) == (4, 8)
    announced = int(re.search(r"(\d+) jobs", make_plan(load_config([config])).describe())[1])
    assert announced == len(jobs) - 1


def test_a_bad_config_is_one_line(tmp_path):
    done = snakemake("-n", "--configfile", edited(tmp_path, training={"epoch": 3}))
    assert done.returncode == 1
    assert "config: training.epoch: unknown key" in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "error" in line.lower()]) == 1


def jobs_of_dry_run(text: str) -> list[tuple[str, list[str]]]:
    """(rule, inputs) of each job in a dry run's text."""
    found = []
    for block in re.split(r"\n(?=rule |localrule )", text):
        rule = re.match(r"(?:local)?rule (\w+):", block)
        inputs = re.search(r"^\s+input: (.*)$", block, re.M)
        if rule:
            found.append((rule[1], inputs[1].split(", ") if inputs else []))
    return found


def test_one_row_alone_trains_nothing_else():
    """And the teachers by their own target train nothing after them."""
    row = "results/embedded/recover/bert-squad2-s13/l0-h50-f50/distilled/stage.json"
    for targets, trained in (
        ([row], ["teacher", "gate", "prune", "recover"]),
        (["teachers"], ["teacher"] * 4),
    ):
        done = snakemake(*targets, "-n", "--forceall", "--quiet", "reason")
        rules = [rule for rule, _ in jobs_of_dry_run(done.stdout)]
        before = ("corpus", "data", "encoder", "features", "teachers")
        assert [rule for rule in rules if rule not in before] == trained, done.stderr


@pytest.mark.parametrize(
    "target",
    [
        "recover/bert-squad2-s13/l0-h9-f9/distilled",
        "recover/bert-squad2-s99/l0-h50-f50/distilled",
        "recover/none-squad2-s13/teacher+",
        "data/none",
        "encoder/none",
    ],
)
def test_a_mistyped_row_is_no_target_of_any_rule(target):
    done = snakemake(f"results/embedded/{target}/stage.json", "-n")
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "MissingRuleException" in said
    assert target in said
    assert "Traceback" not in said


def test_an_overlay_of_one_criterion_scores_and_times_its_row_alone(tmp_path):
    one = {"seeds": [13], "pairs": ["bert-squad2"], "budgets": ["h50-f50"], "recovery": ["distilled"]}
    config = edited(
        tmp_path, name="embedded", criteria={"gain": read_yaml(DEFAULT)["criteria"]["gain"] | one}
    )
    targets = [f"results/embedded/{stage}/bert-squad2-s13/stage.json" for stage in ("evaluate", "profile")]
    done = snakemake(*targets, "-n", "--forceall", "--quiet", "reason", "--configfile", config)
    read = {
        rule: inputs for rule, inputs in jobs_of_dry_run(done.stdout) if rule in ("evaluate", "profile")
    }
    assert len(read) == 2, done.stderr
    for inputs in read.values():
        rows = {
            path.split("bert-squad2-s13/")[1] for path in inputs if re.search("/(recover|prune)/", path)
        }
        assert {row.rpartition("/")[0] for row in rows} == {
            "teacher+",
            "gain-h50-f50",
            "gain-h50-f50/distilled",
        }


REFERENCES = sorted((ROOT / "results" / "reference").glob("*/rows.json"))


@pytest.mark.parametrize("table", REFERENCES, ids=lambda path: path.parent.name)
def test_the_commands_of_reference_rows_ask_for_what_their_configs_still_have(table):
    found: dict[str, set[str]] = {}
    for row in json.loads(table.read_text())["rows"]:
        words = shlex.split(row["command"])
        found.setdefault(words[words.index("--configfile") + 1], set()).add(words[1])
    for config, targets in found.items():
        done = snakemake("-n", "--quiet", "all", "--configfile", config, "--", *sorted(targets))
        assert done.returncode == 0, done.stderr[-2000:]


def test_teachers_of_data_sets_that_only_score_are_none(tmp_path):
    data = read_yaml(DEFAULT)["datasets"]
    data["news"] = data["squad2"] | {"checkpoints_of": "squad2", "train_questions": 10}
    done = snakemake(
        "teachers", "-n", "--forceall", "--quiet", "reason", "--configfile", edited(tmp_path, datasets=data)
    )
    assert "teacher/bert-squad2-s13" in done.stdout, done.stderr
    assert "bert-news" not in done.stdout


def test_what_is_read_of_the_teacher_is_kept_until_then(tmp_path):
    """Its weights and logits are removed after the last job that names them as its input."""
    gain = {"windows": 64, "batch_tokens": 2048, "budgets": ["h50-f50"], "recovery": ["distilled"]}
    criteria = {
        "gain": gain,
        "gain@hidden": gain | {"recovery_changes": {"hidden_weight": 0.5}},
        "gain@steps": gain | {"gradual": {"steps": 2, "share": 0.5, "distil": True}},
    }
    config = edited(tmp_path, criteria=criteria, keep={"teacher": False})
    done = snakemake("-n", "--forceall", "--quiet", "reason", "--configfile", config)
    for rule, name in (("gate", "logits"), ("recover", "model")):
        path = f"results/test-dag/teacher/bert-squad2-s13/{name}.safetensors"
        readers = [job for job, inputs in jobs_of_dry_run(done.stdout) if path in inputs]
        assert readers.count(rule) == 1, rule


def test_dev_labels_reach_only_evaluate():
    done = snakemake("-n", "--forceall", "--quiet", "reason", "--configfile", CONFIGS[0])
    jobs = jobs_of_dry_run(done.stdout)
    assert len(jobs) > 40
    readers = {rule for rule, inputs in jobs if any("dev-gold" in path for path in inputs)}
    assert readers == {"evaluate"}
    # And the raw files, gold included, go through one door.
    corpus_readers = {rule for rule, inputs in jobs if any("/corpus/" in path for path in inputs)}
    assert corpus_readers <= {"data", "encoder"}


def all_specs(config: dict) -> dict[str, set[str]]:
    """Every stage's specs for a config."""
    plan = make_plan(config)
    found: dict[str, set[str]] = {stage: set() for stage in VERSIONS}
    for run in plan.runs:
        for stage in ("teacher", "evaluate", "profile"):
            found[stage].add(spec_json(plan.spec(stage, run=run.id)))
        found["recover"].add(spec_json(plan.spec("recover", run=run.id, kind="teacher+")))
        for point in plan.points(run):
            found["gate"].add(spec_json(plan.spec("gate", run=run.id, scoring=point.scoring)))
            found["prune"].add(spec_json(plan.spec("prune", run=run.id, point=point.id)))
            for kind in point.recovery:
                found["recover"].add(spec_json(plan.spec("recover", run=run.id, kind=kind, point=point.id)))
    for model in config["models"]:
        found["encoder"].add(spec_json(plan.spec("encoder", model=model)))
        for dataset in config["datasets"]:
            found["features"].add(spec_json(plan.spec("features", model=model, dataset=dataset)))
    for dataset in config["datasets"]:
        found["data"].add(spec_json(plan.spec("data", dataset=dataset)))
    found["corpus"].add(spec_json(plan.spec("corpus")))
    found["report"].add(spec_json(plan.spec("report")))
    return found


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"report": {"published": True}}, {"report"}),
        ({"profile": {"rounds": 31}}, {"profile"}),
        ({"evaluate": {"threads": 2}}, {"evaluate"}),
        ({"recovery": {"temperature": 3.0}}, {"recover"}),
        ({"training": {"lr": 1e-3}}, {"teacher"}),
        ({"keep": {"pruned": True}}, set()),
    ],
)
def test_an_edit_changes_only_the_specs_that_read_it(change, stages):
    before = all_specs(load_config([]))
    after = all_specs(load_config([], change))
    assert {stage for stage in VERSIONS if before[stage] != after[stage]} == stages


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_no_toy_setting_leaks_into_another_experiment(config):
    """What decides a number is stated by every config itself: an overlay would inherit embedded's value."""
    own, embedded = read_yaml(config), read_yaml(DEFAULT)
    trained = (("training",), ("recovery",), ("recovery", "training"))
    for path in (("compute",), ("profile",), *(() if own.get("untrained") else trained)):
        stated, toy = reduce(getitem, path, own), reduce(getitem, path, embedded)
        assert not toy.keys() - stated.keys(), ".".join(path)


def test_lint_is_clean():
    done = snakemake("--lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_what_the_dag_needs_imports_no_torch():
    code = (
        "import sys; from qaprune.config import load_config; from qaprune.plan import make_plan; "
        "make_plan(load_config([])).describe(); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'datasets', 'snakemake')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_never_imports_snakemake():
    sources = (ROOT / "src").rglob("*.py")
    assert not [
        path for path in sources if re.search(r"^\s*(import|from) snakemake", path.read_text(), re.M)
    ]
