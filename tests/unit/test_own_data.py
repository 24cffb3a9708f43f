"""A user's own data set and checkpoint, by the README's overlay as it is written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qaprune.cli import main
from qaprune.config import load_config
from qaprune.errors import InputError
from qaprune.plan import Plan, make_plan, spec_json
from qaprune.stage import digest
from tests.conftest import ROOT
from tests.unit.own_data import articles, write_checkpoint, write_own_files, write_squad
from tests.unit.test_docs import blocks

README = "../README.md"
OVERLAY = next(block for block in blocks(README, "yaml") if "my-train.json" in block)
COMMANDS = next(block for block in blocks(README, "bash") if "mine.yaml" in block)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a checkout, with the user's files in it, that commands run in."""
    write_own_files(tmp_path)
    (tmp_path / "mine.yaml").write_text(OVERLAY)
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_of() -> Plan:
    return make_plan(load_config([Path("config/small.yaml"), Path("mine.yaml")]))


def through_teacher(plan: Plan) -> dict[str, Path]:
    """Run the stages up to the teacher; their folders by stage."""
    run_id = plan.runs[0].id
    model, dataset = plan.runs[0].model, plan.runs[0].dataset
    places = {"data": dataset, "encoder": model, "features": f"{model}-{dataset}", "teacher": run_id}
    out = {stage: f"{plan.out}/{stage}/{place}" for stage, place in places.items()}
    run("data", plan, {"dataset": dataset}, out["data"])
    run("encoder", plan, {"model": model}, out["encoder"])
    splits = [f"--{name}={out['data']}/{name}.jsonl.gz" for name in ("train", "holdout", "dev")]
    names = {"model": model, "dataset": dataset}
    run("features", plan, names, out["features"], *splits, f"--encoder={out['encoder']}")
    given = [f"--encoder={out['encoder']}", f"--features={out['features']}", splits[1]]
    run("teacher", plan, {"run": run_id}, out["teacher"], *given)
    return {stage: Path(folder) for stage, folder in out.items()}


def run(stage: str, plan: Plan, names: dict[str, str], folder: str, *options: str) -> None:
    """A stage as its rule calls it."""
    spec = spec_json(plan.spec(stage, **names))
    assert main([stage, "--spec", spec, "--out", folder, *options]) == 0


def test_the_readmes_overlay_is_a_few_lines():
    assert len(OVERLAY.splitlines()) <= 15
    assert set(yaml.safe_load(OVERLAY)) == {"name", "models", "datasets", "recovery"}


def test_the_readmes_plan_command_plans_it(own: Path, capsys):
    words = shlex.split(COMMANDS.splitlines()[0])
    assert words[0] == "qaprune"
    assert main(words[1:]) == 0
    text = capsys.readouterr().out
    assert text.startswith("mine: 1 runs")
    assert "mymodel-mydata" in text


@pytest.mark.parametrize("unanswerable", [True, False], ids=["squad 2.0", "squad 1.1"])
def test_data_features_and_teacher_take_the_files_as_they_are(own: Path, unanswerable: bool):
    if not unanswerable:
        write_squad(own / "my-train.json", articles(12, unanswerable=False))
        write_squad(own / "my-dev.json", articles(3, 20, unanswerable=False))
    out = through_teacher(plan_of())
    counts = json.loads((out["data"] / "stage.json").read_text())["result"]
    each = 6 if unanswerable else 3
    assert counts["train"] + counts["holdout"] == 12 * each
    assert (counts["holdout"], counts["dev"]) == (each, 3 * each)
    facts = json.loads((out["teacher"] / "variant.json").read_text())
    assert facts["variant"] == "teacher"
    assert "teacher_tokens" not in facts, "a checkpoint that is given is not trained"
    assert 0 <= facts["holdout_f1"] <= 100


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_without_a_teacher_of_its_own_an_encoder_is_fine_tuned(own: Path, architecture: str):
    """The overlays of docs/models.md (its first) and docs/data.md, together."""
    overlay = {"name": "mine"} | yaml.safe_load(blocks("models.md", "yaml")[0])
    overlay |= yaml.safe_load(
        next(block for block in blocks("data.md", "yaml") if "my-train.json" in block)
    )
    overlay["models"]["mymodel"]["architecture"] = architecture
    (own / "mine.yaml").write_text(yaml.safe_dump(overlay))
    shutil.rmtree(own / "my-model")
    write_checkpoint(own / "my-model", architecture)
    out = through_teacher(plan_of())
    facts = json.loads((out["teacher"] / "variant.json").read_text())
    assert facts["teacher_tokens"] > 0
    assert json.loads((out["teacher"] / "config.json").read_text())["model_type"] == architecture


def test_a_question_answering_checkpoint_is_named_as_the_page_says():
    model = yaml.safe_load(blocks("models.md", "yaml")[1])["models"]["mymodel"]
    assert model == yaml.safe_load(OVERLAY)["models"]["mymodel"]


def test_windows_that_the_checkpoint_has_no_positions_for_are_one_line(own: Path, capsys):
    path = own / "my-model" / "config.json"
    plan = plan_of()  # known before; of a hub's model it is not
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 64}))
    with pytest.raises(InputError, match=r"windows\.length: expected at most the 64 positions of model"):
        plan_of()
    (own / "none").touch()
    splits = [f"--{name}=none" for name in ("train", "holdout", "dev")]
    spec = spec_json(plan.spec("features", model="mymodel", dataset="mydata"))
    assert main(["features", "--spec", spec, "--out", "out", *splits, "--encoder=my-model"]) == 1
    error = capsys.readouterr().err
    assert "features mymodel-mydata: windows.length: 256 tokens; the encoder has positions for 64" in error


def test_a_budget_that_the_embeddings_alone_exceed_is_refused_before_anything_runs(own: Path):
    def budgets(text: str) -> None:
        (own / "mine.yaml").write_text(f"{OVERLAY}\nbudgets: [{text}]\n")

    budgets("params99, h50-f50")
    plan_of()
    budgets("params20, h50-f50")
    reason = r"budgets: 'params20': out of reach; one head and one unit alone make .* of model 'mymodel'"
    with pytest.raises(InputError, match=reason):
        plan_of()


def test_another_tokenizer_under_the_same_path_is_another_encoder(own: Path):
    plan, digests = plan_of(), set()
    path = own / "my-model" / "tokenizer.json"
    for end in ("", "\n"):
        path.write_text(path.read_text() + end)
        run("encoder", plan, {"model": "mymodel"}, "out")
        digests.add(digest(Path("out")))
    assert len(digests) == 2


def test_an_encoder_of_the_hub_is_named_by_its_commit(own: Path, monkeypatch):
    (own / "snapshots").mkdir()
    (own / "my-model").rename(own / "snapshots" / "c0ffee")
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **more: str(own / "snapshots" / "c0ffee")
    )
    (own / "mine.yaml").write_text(OVERLAY.replace("{path: my-model}", "{hub: someone/something}"))
    run("encoder", plan_of(), {"model": "mymodel"}, "out")
    assert json.loads((own / "out" / "stage.json").read_text())["result"]["revision"] == "c0ffee"


def test_a_checkpoint_that_is_pruned_already_is_no_source(own: Path, capsys):
    path = own / "my-model" / "config.json"
    config = json.loads(path.read_text())
    heads = [config["num_attention_heads"], config["num_attention_heads"] - 1]
    path.write_text(json.dumps(config | {"model_type": "pruned_bert", "heads_per_layer": heads}))
    spec = spec_json(plan_of().spec("encoder", model="mymodel"))
    assert main(["encoder", "--spec", spec, "--out", "out"]) == 1
    error = capsys.readouterr().err
    assert "pruned already" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_one_row_comes_out_of_the_readmes_snakemake_command(own: Path):
    words = shlex.split(COMMANDS.splitlines()[1])
    assert words[0] == "snakemake"
    target = "results/mine/recover/mymodel-mydata-s13/gain-h50-f50/distilled/stage.json"
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), target, *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    config = json.loads((own / target).with_name("config.json").read_text())
    assert sum(config["heads_per_layer"]) == 4, "half of 2 x 4"
