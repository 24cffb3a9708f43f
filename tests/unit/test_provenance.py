"""Where rows come from: the plan's folders, what the stages recorded, and gaps where a record is gone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from qaprune.config import load_config
from qaprune.plan import make_plan
from qaprune.report.collect import Run, collect
from qaprune.report.lineage import rows_json
from qaprune.report.provenance import provenance, stage_folder
from qaprune.report.rows import build_rows, name_of
from qaprune.stage import digest
from tests.unit.report_data import write_evaluate, write_profile


@pytest.fixture
def results(tmp_path: Path) -> tuple[Path, list[Run]]:
    run = write_evaluate(tmp_path, "bert", "squad2", questions=40)
    return tmp_path, collect([run], [write_profile(tmp_path, run.name, rounds=4)])


def record(folder: Path, **more: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stage.json").write_text(json.dumps({"stage": "s", "spec": {}, "inputs": {}} | more))


def test_folders_are_the_plans():
    plan = make_plan(load_config([]))
    for run in plan.runs:
        for variant in plan.variants(run):
            point, _, rest = variant.key.rpartition("/")
            criterion, _, budget = point.partition("-")
            kind, _, draw = rest.partition("#")
            row = {"criterion": criterion, "budget": budget, "variant": kind, "draw": int(draw or 0)}
            assert stage_folder(row, run.id, run.id) == variant.folder.partition("/draws/")[0], variant.key


def test_rows_carry_what_their_stage_recorded(results):
    folder, runs = results
    made = folder / "recover" / "bert-squad2-s13" / "l0-h50-f50" / "distilled"
    record(made, git_commit="abc+")
    record(folder / "evaluate" / "bert-squad2-s13", git_commit="def")
    rows = build_rows(runs, 100)
    found = provenance(folder, "mine", runs, rows)
    origins = {name_of(row): origin for row, origin in zip(rows, found.origins, strict=True)}
    kept = origins["l0-h50-f50/distilled"]
    assert (kept.run, kept.digest, kept.commit) == ("bert-squad2-s13", digest(made), "abc+")
    target = "results/mine/recover/bert-squad2-s13/l0-h50-f50/distilled/stage.json"
    assert shlex.split(kept.command)[:3] == ["snakemake", target, "--force"]
    gone = origins["l0-h50-f50/retrained"]
    assert (gone.digest, gone.commit) == ("", "")
    assert origins["no-answer"].folder == "evaluate/bert-squad2-s13"
    assert found.commits == {"bert-squad2-s13": {"evaluate": "def", "profile": ""}}
    assert found.environments == {"bert-squad2-s13": {"device": "Example CPU 3000"}}


def test_a_command_is_safe_to_paste_whatever_the_names(results):
    folder, runs = results
    rows = [dict(row, budget="$(rm x); h50") for row in build_rows(runs, 100)]
    command = provenance(folder, "a b", runs, rows).origins[-1].command
    target = shlex.split(command)[1]
    assert target.startswith("results/a b/recover/")
    assert "$(rm x); h50" in target


def test_generated_questions_are_told_apart(results):
    folder, runs = results
    rows = build_rows(runs, 100)
    assert provenance(folder, "mine", runs, rows).generated == ()
    record(folder / "data" / "squad2", spec={"train": {"path": "train.json"}})
    assert provenance(folder, "mine", runs, rows).generated == ()
    record(folder / "data" / "squad2", spec={"train": {"scratch": "embedded"}})
    assert provenance(folder, "mine", runs, rows).generated == ("squad2",)


@pytest.mark.parametrize("known_by", ["digest", "config"])
def test_rows_of_another_dev_set_come_from_the_checkpoints_that_were_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_by: str
):
    """`checkpoints_of: squad2` trains nothing on news: its folders and commands are those of squad2."""
    run = write_evaluate(tmp_path, "bert", "news", questions=40)
    if known_by == "digest":
        for number, dataset in enumerate(("nq", "squad2")):
            record(tmp_path / "teacher" / f"bert-{dataset}-s13", spec={"run": number})
        record(run, inputs={"variant teacher": digest(tmp_path / "teacher" / "bert-squad2-s13")})
    else:
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "ood.yaml").write_text("datasets: {news: {checkpoints_of: squad2}}")
        record(tmp_path, spec={"name": "ood"})
        monkeypatch.setattr("qaprune.report.checkpoints.ROOT", tmp_path)
    runs = collect([run], [])
    rows = build_rows(runs, 100)
    found = {
        name_of(row): origin
        for row, origin in zip(rows, provenance(tmp_path, "ood", runs, rows).origins, strict=True)
    }
    assert {origin.run for origin in found.values()} == {"bert-news-s13"}
    assert found["no-answer"].folder == "evaluate/bert-news-s13"
    assert found["teacher+"].folder == "recover/bert-squad2-s13/teacher+"
    point = found["l0-h50-f50/distilled"]
    assert point.folder == "recover/bert-squad2-s13/l0-h50-f50/distilled"
    assert f"results/ood/{point.folder}/stage.json" in point.command


def test_a_command_names_no_config_that_is_not_there(results):
    folder, runs = results
    rows = build_rows(runs, 100)
    assert provenance(folder, "mine", runs, rows).origins[-1].command.endswith("--configfile CONFIG")
    command = provenance(folder, "small", runs, rows).origins[-1].command
    assert command.endswith("--configfile config/small.yaml")


def test_tables_say_that_there_was_a_data_root_and_not_where(results):
    """Its sources are found again with it alone, and where it lay is nobody's business."""
    folder, runs = results
    made = folder / "recover" / "bert-squad2-s13" / "l0-h50-f50" / "distilled"
    data = folder / "data" / "squad2"
    root = str(folder / "mine")
    record(data, spec={"train": {"path": f"{root}/train.json"}, "dev": {"path": f"{root}er/dev.json"}})
    record(made, inputs={"data": digest(data)})
    rows = build_rows(runs, 100)
    origin = provenance(folder, "small", runs, rows, rooted=True)
    assert origin.origins[-1].command.endswith("--configfile config/small.yaml --config data_root=FOLDER")
    found = json.loads(rows_json(folder, rows, origin, root))
    spec = found["stages"]["data/squad2"]["spec"]
    assert spec == {"train": {"path": "FOLDER/train.json"}, "dev": {"path": f"{root}er/dev.json"}}


def test_each_row_is_written_with_its_command_and_the_specs_of_all_stages_behind_it(tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2", questions=40)
    runs = collect([run], [])
    data, teacher = tmp_path / "data" / "squad2", tmp_path / "teacher" / "bert-squad2-s13"
    record(data, stage="data", spec={"train_questions": 9})
    (data / "train.jsonl.gz").write_bytes(b"questions")
    inputs = {"features": digest(data / "train.jsonl.gz"), "gone": "0123456789abcdef"}
    record(teacher, inputs=inputs, spec={"lr": 0.1}, git_commit="abc")
    gate = tmp_path / "gate" / "bert-squad2-s13" / "l0"
    record(gate, inputs={"teacher": digest(teacher)}, spec={"settings": {"steps": 3}})
    made = tmp_path / "recover" / "bert-squad2-s13" / "l0-h50-f50" / "distilled"
    record(made, inputs={"gate": digest(gate), "logits": digest(teacher)}, spec={"epochs": 2})

    rows = build_rows(runs, 100)
    found = json.loads(rows_json(tmp_path, rows, provenance(tmp_path, "mine", runs, rows)))
    by_name = {row["row"]: row for row in found["rows"]}
    assert list(by_name) == [name_of(row) for row in rows]
    kept = by_name["l0-h50-f50/distilled"]
    assert kept["stages"] == [
        folder.relative_to(tmp_path).as_posix() for folder in (data, teacher, gate, made)
    ]
    assert kept["command"].startswith(
        "snakemake results/mine/recover/bert-squad2-s13/l0-h50-f50/distilled/"
    )
    specs = {name: stage["spec"] for name, stage in found["stages"].items()}
    assert specs[kept["stages"][2]] == {"settings": {"steps": 3}}
    assert found["stages"][kept["stages"][1]]["git_commit"] == "abc"
    assert by_name["l0-h50-f50/retrained"]["stages"] == []  # its folder is gone
