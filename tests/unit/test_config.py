"""Configs: merging, checking, and the one line that a bad one is answered with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from qaprune.budget import parse_budget
from qaprune.cli import build_parser
from qaprune.config import DEFAULT, load_config, merge, read_yaml
from qaprune.errors import InputError
from qaprune.estimate import model_size, sampled_windows
from qaprune.models.encoder import read_config
from qaprune.plan import make_plan
from tests.conftest import ROOT
from tests.lowest import constraints, lowest

UNEVEN = {
    "vocab_size": 300,
    "layers": 1,
    "hidden": 128,
    "heads": 7,
    "intermediate": 64,
    "max_positions": 128,
}


def with_overlay(tmp_path, **overlay):
    if "nq" in overlay.get("datasets", {}) and "task" not in overlay["datasets"]["nq"]:
        datasets = read_yaml(DEFAULT)["datasets"]
        overlay["datasets"] = datasets | {"nq": datasets["nq"] | overlay["datasets"]["nq"]}
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump(overlay))
    return load_config([path])


def test_initialise_from_in_a_circle_is_refused(tmp_path):
    datasets = read_yaml(DEFAULT)["datasets"]
    datasets["squad2"]["initialise_from"] = "nq"
    with pytest.raises(InputError, match=r"initialise_from: '\w+' is no data set that starts before it"):
        make_plan(with_overlay(tmp_path, datasets=datasets))


def test_span_teachers_do_not_start_from_those_with_answer_types(tmp_path):
    datasets = read_yaml(DEFAULT)["datasets"]
    del datasets["nq"]["initialise_from"]
    datasets["squad2"]["initialise_from"] = "nq"
    with pytest.raises(InputError, match=r"datasets\.squad2\.initialise_from: .* answer types besides"):
        make_plan(with_overlay(tmp_path, datasets=datasets))


def test_a_cell_without_a_length_has_that_of_the_windows(tmp_path):
    plan = make_plan(with_overlay(tmp_path, profile={"cells": [{"batch": 8}, {"batch": 1, "length": 128}]}))
    for run, length in (("bert-squad2-s13", 112), ("bert-nq-s13", 96)):
        assert [cell["length"] for cell in plan.spec("profile", run=run)["cells"]] == [length, 128]
        # FLOPs of a row are counted at the length that its latency was taken at.
        assert plan.spec("evaluate", run=run)["length"] == length


JOINT = {
    "l0_joint": {"share": 0.25, "lr": 0.1, "warmup": 0.5, "init_heads": 2, "init_ff": 2, "distil": True},
    "movement": {"share": 0.5, "lr": 0.01, "warmup": 0.1, "cooldown": 0.2},
    "random": {"draws": 5, "recovery": ["retrained"]},
}


def test_a_criterion_s_package_is_asked_for_before_anything_runs(tmp_path, monkeypatch):
    peer = {"torch_pruning_global": {"windows": 8, "batch_tokens": 64}}
    make_plan(with_overlay(tmp_path, criteria=peer))
    monkeypatch.setattr("qaprune.plan_checks.find_spec", lambda name: None)
    expected = r"criteria.torch_pruning_global: the package torch_pruning .* pip install -e '\.\[peers\]'"
    with pytest.raises(InputError, match=expected):
        make_plan(with_overlay(tmp_path, criteria=peer))


def test_joint_criteria_divide_recoverys_epochs_with_it(tmp_path):
    plan = make_plan(with_overlay(tmp_path, criteria=JOINT, recovery={"kinds": ["retrained"]}))
    run = plan.runs[0].id
    whole = plan.spec("recover", run=run, kind="retrained", point="random-h50-f50")["training"]
    for name, share in (("l0_joint", 0.25), ("movement", 0.5)):
        point = f"{name}-h50-f50"
        gate = plan.spec("gate", run=run, scoring=point)["training"]
        after = plan.spec("recover", run=run, kind="retrained", point=point)["training"]
        assert gate["epochs"] == pytest.approx(share * whole["epochs"])
        assert gate["epochs"] + after["epochs"] == pytest.approx(whole["epochs"])
        assert ("temperature" in gate) == (name == "l0_joint")
        assert gate["lr"] == whole["lr"]
    assert "training" not in plan.spec("gate", run=run, scoring="random")
    assert plan.spec("recover", run=run, kind="teacher+")["training"] == whole
    assert plan.spec("teacher", run=run)["teacher_logits"], "l0_joint learns from them"


def test_all_rows_read_as_many_tokens_where_the_gate_s_are_included(tmp_path):
    recovery = {"kinds": ["retrained"], "include_gate": True}
    plan = make_plan(with_overlay(tmp_path, criteria=JOINT, recovery=recovery))
    run = plan.runs[0].id
    whole = plan.spec("recover", run=run, kind="teacher+")["training"]
    assert whole["include_gate"] is True
    for name in JOINT:
        spec = plan.spec("recover", run=run, kind="retrained", point=f"{name}-h50-f50")
        assert spec["training"] == whole, "what the gate read is known when it is done"
    gate = plan.spec("gate", run=run, scoring="movement-h50-f50")["training"]
    assert gate["epochs"] == pytest.approx(0.5 * whole["epochs"])
    assert "include_gate" not in gate


def test_models_that_no_mask_can_cut_anew_are_kept_for_their_readers(tmp_path):
    plan = make_plan(with_overlay(tmp_path, criteria=JOINT))
    files = plan.weight_files(plan.variants(plan.runs[0]))
    run = plan.runs[0].id
    assert f"{plan.out}/prune/{run}/movement-h50-f50/model.safetensors" in files
    assert f"{plan.out}/prune/{run}/random-h50-f50/model.safetensors" not in files


def test_lists_of_a_command_line_arrive_as_strings_and_are_typed():
    config = load_config([], {"seeds": ["4", "5"], "profile": {"cells": [{"batch": "4"}]}})
    assert config["seeds"] == [4, 5]
    assert config["profile"]["cells"] == [{"batch": 4}]


def test_off_is_a_word_in_a_config(tmp_path):
    path = tmp_path / "overlay.yaml"
    path.write_text("profile: {compile: [off, default]}\nreport: {published: true}\n")
    config = load_config([path], {"profile": {"backend": "[eager]"}})
    assert config["profile"]["compile"] == ["off", "default"]
    assert config["profile"]["backend"] == ["eager"]
    assert config["report"]["published"] is True


def test_local_sources_are_files_of_the_dag(tmp_path):
    """So that a changed data set or checkpoint makes its readers run again."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "train.json", "dev.json"):
        (tmp_path / name).write_text("{}")
    embedded = read_yaml(DEFAULT)
    dataset = embedded["datasets"]["squad2"] | {
        "train": {"path": str(tmp_path / "train.json")},
        "dev": {"path": str(tmp_path / "dev.json")},
    }
    source = {"path": str(tmp_path)}
    model = {"architecture": "bert", "source": source, "teachers": {"squad2": source}}
    changes = {"models": {"bert": model}, "datasets": embedded["datasets"] | {"squad2": dataset}}
    plan = make_plan(with_overlay(tmp_path, **changes))
    names = ("config.json", "model.safetensors", "tokenizer.json")
    weights = [str(tmp_path / name) for name in names]
    assert plan.local_files("data", "squad2") == [str(tmp_path / "train.json"), str(tmp_path / "dev.json")]
    assert plan.local_files("encoder", "bert") == plan.local_files("teacher", "bert-squad2-s13") == weights
    assert plan.local_files("data", "nq") == plan.local_files("teacher", "bert-nq-s13") == []


def test_overlays_merge_but_grids_are_replaced_whole():
    base = {"training": {"lr": 1, "epochs": 2}, "models": {"a": 1, "b": 2}, "budgets": [1], "name": "x"}
    merged = merge(base, {"training": {"lr": 3}, "models": {"c": 3}, "budgets": [4]})
    assert merged == {"training": {"lr": 3, "epochs": 2}, "models": {"c": 3}, "budgets": [4], "name": "x"}
    assert base["models"] == {"a": 1, "b": 2}


def test_the_default_may_be_named_and_comes_first(tmp_path):
    assert load_config([DEFAULT]) == load_config([])


def test_numbers_with_exponents_are_numbers(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("training: {lr: 1e-4, epochs: 2}")
    assert load_config([path])["training"]["lr"] == 1e-4


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"trainig": {}}, "trainig: unknown key; expected one of"),
        ({"training": {"lr": "fast"}}, "training.lr: expected number, got 'fast'"),
        ({"training": {"lr": 0}}, "training.lr: expected a number above 0, got 0"),
        ({"seeds": []}, "seeds: expected at least 1 item"),
        ({"seeds": [1, 1]}, "seeds: expected each value once"),
        ({"compute": {"dtype": "float16"}}, "compute.dtype: expected one of auto, float32, bfloat16"),
        ({"criteria": {"random": {"draws": 3}}}, "criteria.random.draws: expected at least 5, got 3"),
        ({"criteria": {"l0": {}}}, "criteria.l0: missing key 'steps'"),
        ({"criteria": {"lO": {}}}, "'lO' is no known criterion"),
        (
            {"criteria": {"first_layers": {"budgets": ["h9-f9"]}}},
            "criteria.first_layers.budgets: 'h9-f9' is not one of",
        ),
        (
            {"criteria": {"first_layers": {"pairs": ["bert-squad"]}}},
            "criteria.first_layers.pairs: 'bert-squad'",
        ),
        ({"budgets": ["h0-f50"]}, "per cent of heads kept must be above 0 and at most 100, got 0"),
        ({"budgets": ["h50-f101"]}, "feed-forward units kept must be above 0 and at most 100, got 101"),
        ({"budgets": ["half"]}, "expected per cents kept like 'h50-f40'"),
        ({"evaluate": {"full_dev": ["l1"]}}, "evaluate.full_dev: 'l1' is not one of"),
        (
            {"models": {"m": {"architecture": "gpt", "source": {"hub": "x"}}}},
            "models.m.architecture: expected one of bert, roberta",
        ),
        (
            {"models": {"m": {"architecture": "bert", "source": {"path": "no/such"}}}},
            "models.m.source.path: no/such: no such file",
        ),
        (
            {"models": {"m": {"architecture": "bert", "source": {"path": "$NO_SUCH_VARIABLE/x"}}}},
            "environment variable NO_SUCH_VARIABLE is not set",
        ),
        (
            {"datasets": {"nq": {"initialise_from": "trivia"}}},
            "datasets.nq.initialise_from: 'trivia' is no data set that starts before it",
        ),
        ({"profile": {"cells": []}}, "profile.cells: expected at least 1 item"),
        (
            {"profile": {"cells": [{"batch": 8}, {"batch": 8, "length": 100}]}},
            "profile.cells[1].length: 100 would cut the windows of squad2; expected at least 112",
        ),
        (
            {"profile": {"cells": [{"batch": 8, "length": 512}]}},
            "profile.cells[0].length: expected at most the 128 positions of model 'bert', got 512",
        ),
        ({"training": {"lr": float("nan")}}, "training.lr: expected a finite number, got nan"),
        ({"profile": {"cells": [{"batch": float("inf")}]}}, "profile.cells[0].batch: expected a finite"),
        ({"training": {None: 1, "x": 2}}, "config: training: expected a name as key, got None"),
        (
            {"models": {"bert": {"architecture": "bert", "source": {"scratch": UNEVEN}}}},
            "models.bert.source.scratch.heads: expected a divisor of hidden 128, got 7",
        ),
        ({"name": "My Run"}, "name: expected a name that matches"),
        (
            {"profile": {"compile": ["fast"]}},
            "profile.compile.0: expected one of off, default",
        ),
        ({"profile": {"dtype": "float32"}}, "profile.dtype: expected array"),
        ({"profile": {"warmup": {"least": 1}}}, "profile.warmup.least: expected at least 2"),
        (
            {"criteria": {"movement": JOINT["movement"] | {"share": 1}}},
            "criteria.movement.share: expected a number below 1",
        ),
        (
            {"budgets": ["h50-f50", "flops0.1"]},
            "config: budgets: 'flops0.1': out of reach; one head and one unit alone make",
        ),
        (
            {"profile": {"warmup": {"least": 30}}},
            "config: profile.warmup.most: expected at least the 30 of least, got 20",
        ),
        ({"seeds": [2**64]}, "config: seeds.0: expected at most 4294967295"),
        (
            {"untrained": True, "criteria": {"uniform": {"pairs": ["bert-squad2"]}}},
            "config: criteria.uniform.pairs: with `untrained: true` the criterion cuts every model",
        ),
        ({"untrained": True}, "config: criteria.gain: needs a trained model"),
        (
            {"untrained": True, "criteria": {"uniform": {}, "random": {"draws": 5}}},
            "config: criteria: expected one criterion with `untrained: true`",
        ),
        (
            {"untrained": True, "criteria": {"uniform": {}}, "budgets": ["h50-f50", "x2.0"]},
            "config: budgets: 'x2.0': with `untrained: true` expected per cents kept or FLOPs",
        ),
        (
            {
                "untrained": True,
                "criteria": {"uniform": {}},
                "models": {"m": {"architecture": "bert", "source": {"hub": "x/y"}}},
            },
            "config: models.m: expected a `scratch` source alone with `untrained: true`",
        ),
    ],
)
def test_bad_values_name_key_and_expectation(tmp_path, overlay, message):
    with pytest.raises(InputError) as error:
        make_plan(with_overlay(tmp_path, **overlay))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_window_without_room_for_context_is_refused(tmp_path):
    datasets = read_yaml(DEFAULT)["datasets"]
    datasets["nq"]["windows"]["stride"] = 100
    with pytest.raises(InputError, match=r"datasets.nq.windows: length \d+ leaves \d+ context tokens"):
        make_plan(with_overlay(tmp_path, datasets=datasets))


def test_local_sources_are_taken_where_data_root_is_set(tmp_path):
    (tmp_path / "enc").mkdir()
    model = {"m": {"architecture": "bert", "source": {"hub": "org/name", "local": "enc"}}}
    datasets = read_yaml(DEFAULT)["datasets"]
    overlay = {"models": model, "criteria": {"random": {"draws": 5}}, "datasets": datasets}
    assert with_overlay(tmp_path, **overlay)["models"]["m"]["source"] == {"hub": "org/name"}
    rooted = with_overlay(tmp_path, **overlay, data_root=str(tmp_path))
    assert rooted["data_root"] == str(tmp_path)
    assert rooted["models"]["m"]["source"] == {"path": str(tmp_path / "enc")}


@pytest.mark.parametrize("folder", ["@data", "*x", "data #1", "2024", "null"])
def test_a_folders_name_is_no_yaml(tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config([], {"data_root": folder})["data_root"] == folder
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config([], {"data_root": f"~/{folder}"})["data_root"] == str(tmp_path / folder)


def test_an_alias_is_resolved_once(tmp_path, monkeypatch):
    """The page on data shows a second dev set so; its paths were joined to a relative root twice."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "train.json").write_text("{}")
    windows = "{length: 128, stride: 32, max_question_tokens: 32, null_windows: 1.0}"
    (tmp_path / "a.yaml").write_text(
        "datasets:\n  one: &one\n    task: squad2\n    train: &file {path: train.json}\n    dev: *file\n"
        f"    holdout_share: 0.1\n    windows: {windows}\n  two: {{<<: *one}}\n"
    )
    found = load_config([tmp_path / "a.yaml"], {"data_root": "root"})["datasets"]
    assert {found[name][split]["path"] for name in found for split in ("train", "dev")} == {
        "root/train.json"
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: 2024-99-99", "invalid YAML (month must be in 1..12)"),
        ("seeds: [!!int abc]", "invalid YAML (invalid literal for int"),
        ("name: a\x01b", "invalid YAML ("),
        ("models: {m: {architecture: bert, source: {path: " + "x" * 300 + "}}}", "File name too long"),
    ],
)
def test_what_yaml_trips_over_is_one_line(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_config([path])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="Not a directory"):
        load_config([path / "b.yaml"])


def test_a_checkpoint_whose_sizes_are_no_numbers_is_refused(tmp_path):
    model = {"m": {"architecture": "bert", "source": {"path": str(tmp_path)}}}
    config = with_overlay(tmp_path, models=model, criteria={"random": {"draws": 5}})
    sizes = {"model_type": "bert", "num_hidden_layers": 2, "max_position_embeddings": "512"}
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    make_plan(config)  # which leaves it to the stage that reads the checkpoint
    with pytest.raises(InputError, match=r"config\.json: 'max_position_embeddings': expected"):
        read_config(tmp_path)


@pytest.mark.parametrize("command", ["plan", "bundle", "doctor"])
def test_config_files_may_be_named_one_by_one(command):
    words = [command, "--config", "a.yaml", "b.yaml", "--config", "c.yaml", "--data-root", "d"]
    words += ["--out", "o"] if command == "bundle" else []
    args = build_parser(command).parse_args(words)
    assert [str(path) for path in args.config] == ["a.yaml", "b.yaml", "c.yaml"]
    assert args.data_root == "d"


def test_environment_variables_expand(tmp_path, monkeypatch):
    (tmp_path / "enc").mkdir()
    monkeypatch.setenv("ENCODERS", str(tmp_path))
    model = {"m": {"architecture": "bert", "source": {"path": "${ENCODERS}/enc"}}}
    config = with_overlay(tmp_path, models=model, criteria={"random": {"draws": 5}})
    assert config["models"]["m"]["source"]["path"] == str(tmp_path / "enc")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "invalid YAML"),
        ("- a", "expected a mapping"),
        ("name: a\nname: b", ":2: key 'name' stands twice|:1: key 'name' stands twice"),
    ],
)
def test_broken_yaml_is_one_line(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_config([tmp_path / "c.yaml"])


def test_a_missing_config_is_one_line_and_exit_1(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "qaprune", "plan", "--config", str(tmp_path / "none.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("none.yaml: no such config file")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["h50-f40", "h44.3-f100", "h0.5-f1"])
def test_budget_names_are_their_shares(name):
    budget = parse_budget(name)
    assert f"h{budget.heads:g}-f{budget.ff:g}" == name


def test_conda_and_pip_ask_for_the_same_versions():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    names = {"pytorch": "torch", "snakemake-minimal": "snakemake", "matplotlib-base": "matplotlib"}
    wanted = set()
    for entry in conda:
        if isinstance(entry, str) and ">=" in entry and not entry.startswith("python"):
            name, _, versions = entry.partition(">=")
            wanted.add(f"{names.get(name, name)}>={versions}")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wanted == set(project["dependencies"])
    assert f"python{project['requires-python']}" in conda


@pytest.mark.parametrize(
    ("requirement", "oldest"),
    [
        ("torch>=2.11", "torch==2.11.*"),
        ("numpy>=2", "numpy==2.0.*"),
        ("snakemake>=9,<10", "snakemake==9.0.*"),
    ],
)
def test_the_oldest_release_of_a_range(requirement, oldest):
    assert lowest(requirement) == oldest


def test_every_requirement_allows_its_oldest_release():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    requirements = [*project["dependencies"], *optional["onnx"], *optional["peers"]]
    for requirement, oldest in zip(requirements, constraints(), strict=True):
        version = oldest.partition("==")[2].removesuffix(".*")
        assert Requirement(requirement).specifier.contains(version)


def test_every_requirement_is_pinned():
    pins = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    for requirement in [*project["dependencies"], *extras]:
        if requirement.startswith("qaprune["):  # one extra in another
            continue
        assert requirement.partition(">=")[0].lower() in pins, requirement
    assert pins["torch"] == "2.13.0"


def test_a_data_set_may_be_there_for_its_teacher_alone(tmp_path):
    datasets = read_yaml(DEFAULT)["datasets"]
    datasets["squad2"]["teacher_only"] = True
    criteria = {"gain": {"windows": 8, "batch_tokens": 64}}
    plan = make_plan(with_overlay(tmp_path, datasets=datasets, criteria=criteria))
    assert [run.pair for run in plan.runs] == ["bert-nq", "roberta-nq"]
    assert len(plan.all_runs) == 4
    start = plan.run("bert-squad2-s13")
    assert plan.points(start) == []
    assert plan.start_folder(plan.run("bert-nq-s13")) == "teacher/bert-squad2-s13"
    assert not plan.spec("teacher", run=start.id)["teacher_logits"]
    assert "2 runs" in plan.describe()
    del datasets["nq"]["initialise_from"]
    with pytest.raises(InputError, match="no other data set's initialise_from names 'squad2'"):
        make_plan(with_overlay(tmp_path, datasets=datasets, criteria=criteria))


def test_only_files_of_lines_have_lines_to_skip(tmp_path):
    datasets = read_yaml(DEFAULT)["datasets"]
    datasets["nq"]["on_bad_example"] = "skip"
    assert make_plan(with_overlay(tmp_path, datasets=datasets)).spec("data", dataset="nq")[
        "on_bad_example"
    ] == ("skip")
    datasets["squad2"]["on_bad_example"] = "skip"
    with pytest.raises(InputError, match=r"datasets\.squad2\.on_bad_example: only Natural Questions"):
        make_plan(with_overlay(tmp_path, datasets=datasets))


def test_a_folder_of_shards_is_watched_file_by_file(tmp_path):
    datasets = read_yaml(DEFAULT)["datasets"]
    shards = tmp_path / "shards"
    shards.mkdir()
    for name in ("b.jsonl.gz", "a.jsonl", "notes.txt"):
        (shards / name).write_text("")
    datasets["nq"]["train"] = {"path": str(shards)}
    plan = make_plan(with_overlay(tmp_path, datasets=datasets))
    names = [path.rpartition("/")[2] for path in plan.local_files("data", "nq")]
    assert names == ["a.jsonl", "b.jsonl.gz"]
    assert plan.reader_threads("nq") > 1
    assert plan.reader_threads("squad2") == 1


def test_the_size_of_documents_is_seen_in_a_local_file(tmp_path):
    datasets = read_yaml(DEFAULT)["datasets"]
    found = []
    for size in (2_000, 60_000):
        path = tmp_path / f"{size}.jsonl"
        record = {"document_text": "x" * size, "long_answer_candidates": [{}] * 500}
        path.write_text((json.dumps(record) + "\n") * 3)
        datasets["nq"]["train"] = {"path": str(path)}
        plan = make_plan(with_overlay(tmp_path, datasets=datasets))
        found.append(sampled_windows(plan.config["datasets"]["nq"]))
    assert found[1] > 20 * found[0]
    assert sampled_windows(read_yaml(DEFAULT)["datasets"]["nq"]) is None


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("criteria: {gain: {windows: 3e1, batch_tokens: 512}}", "gain.windows: expected integer, got 30.0"),
        ("seeds: [1e1]", "config: seeds.0: expected integer, got 10.0"),
        ("budgets: [x2, x2.0]", "config: budgets: 'x2' and 'x2.0' mean the same"),
        ("budgets: [h50-f50, h50.0-f50]", "config: budgets: 'h50-f50' and 'h50.0-f50' mean the same"),
        (
            "criteria: {movement: {share: 0.5, lr: 0.1, warmup: 0.8, cooldown: 0.2}}",
            "criteria.movement: warmup 0.8 and cooldown 0.2 leave no part of the training",
        ),
        (
            "{seeds: [13, 14], models: {bert: {seeds: [13]}, roberta: {seeds: [13]}}, "
            "criteria: {first_layers: {seeds: [14]}}}",
            "criteria.first_layers: runs nowhere",
        ),
    ],
)
def test_what_could_be_known_before_is_refused_before(overlay, message, tmp_path):
    """Each of these once ended a run behind its teachers, or left rows out in silence."""
    changes = yaml.safe_load(overlay)
    if "models" in changes:
        embedded = read_yaml(DEFAULT)["models"]
        changes["models"] = {name: embedded[name] | own for name, own in changes["models"].items()}
        overlay = yaml.safe_dump(changes)
    path = tmp_path / "overlay.yaml"
    path.write_text(overlay)
    with pytest.raises(InputError, match=re.escape(message)):
        make_plan(load_config([path]))


def test_a_criterion_of_checkpoints_that_are_only_scored_runs_nowhere(tmp_path):
    datasets = read_yaml(DEFAULT)["datasets"]
    keys = ("task", "train", "dev", "holdout_share", "windows")
    datasets["again"] = {key: datasets["squad2"][key] for key in keys} | {"checkpoints_of": "squad2"}
    pairs = {"first_layers": {"pairs": ["bert-again"]}}
    with pytest.raises(InputError, match=r"criteria\.first_layers: runs nowhere"):
        make_plan(with_overlay(tmp_path, datasets=datasets, criteria=pairs))


def test_what_the_plan_does_not_have_is_named():
    plan = make_plan(load_config([]))
    with pytest.raises(InputError, match="no run is called 'bert-squad2-s99'; there are bert-squad2-s13"):
        plan.run("bert-squad2-s99")
    run = plan.run("bert-squad2-s13")
    with pytest.raises(
        InputError, match="no point of bert-squad2-s13 is called 'l0-h9-f9'; there are random"
    ):
        plan.point(run, "l0-h9-f9")
    with pytest.raises(InputError, match="random-h50-f50/distilled: not asked for; this point has"):
        plan.spec("recover", run=run.id, kind="distilled", point="random-h50-f50")


def test_a_distilled_model_is_not_taken_for_the_one_it_is_named_after():
    small, base = (
        model_size({"hub": name}) for name in ("distilbert/distilroberta-base", "FacebookAI/roberta-base")
    )
    assert 2 * small.layers == base.layers
