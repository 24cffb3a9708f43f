"""A published folder: loads without this package, claims what was measured and nothing else."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from qaprune.cli import main
from qaprune.data.scratch import build_encoder
from qaprune.models.checkpoint import save_checkpoint
from qaprune.models.encoder import load_model, model_shape
from qaprune.prune.slice import slice_model
from qaprune.report.columns import SCHEMA_VERSION
from qaprune.serve.publish import MODULE, model_code
from tests.conftest import closed_mask, make_model, types_of

RUN = {"model": "m", "dataset": "squad2", "seed": 13}
ROW = {
    **RUN,
    "criterion": "l0",
    "budget": "h50-f50",
    "draw": 0,
    "variant": "distilled",
    "f1": 71.25,
    "f1_low": 70.0,
    "f1_high": 72.5,
    "questions": 3000,
    "hasans_f1": 70,
    "noans_f1": 72.4,
    "delta_f1": -1.25,
    "delta_f1_low": -2.0,
    "delta_f1_high": 0.5,
    "reference": "teacher",
    "params": 12345,
    "latency_ms": 31.5,
    "speedup": 1.98,
    "speedup_low": 1.95,
    "speedup_high": 2.01,
    "device": "Example CPU",
    "batch": 8,
    "length": 256,
    "dtype": "float32",
    "backend": "sdpa",
    "compile": "off",
    "threads": 2,
    "f1_full": "",
    "schema_version": SCHEMA_VERSION,
}
OFFICIAL = {"task": "squad2", "dev": {"hub": "rajpurkar/squad_v2"}}


@pytest.fixture(params=["bert", "roberta"])
def variant(request, tmp_path) -> Path:
    """A distilled row inside a results folder, one layer without heads, another without units."""
    encoder = tmp_path / "encoder"
    shape = {"vocab_size": 200, "layers": 3, "hidden": 32, "heads": 4, "intermediate": 24}
    build_encoder(request.param, ["some text to learn"] * 3, encoder, max_positions=48, seed=1, **shape)
    model = make_model(request.param, types=types_of(request.param))
    folder = tmp_path / "results" / "tiny" / "recover" / "m-squad2-s13" / "l0-h50-f50" / "distilled"
    folder.mkdir(parents=True)
    assert model_shape(model).layers == 3
    facts = {"variant": "distilled", "criterion": "l0", "budget": "h50-f50", "draw": 0, "threshold": -1.5}
    windows = {"length": 40, "stride": 10, "max_answer_tokens": 8}
    save_checkpoint(slice_model(model, closed_mask()), folder, encoder, windows, facts)
    spec = {"run": RUN, "task": "squad2", "checkpoint": {"path": str(tmp_path / "secret" / "teacher")}}
    stage = {"stage": "recover", "spec": spec, "git_commit": "abc123", "packages": {"torch": "2.13.0"}}
    (folder / "stage.json").write_text(json.dumps(stage))
    return folder


def write_table(variant: Path, **changes: object) -> None:
    tables = variant.parents[3] / "tables"
    tables.mkdir()
    with (tables / "points.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROW), lineterminator="\n")
        writer.writeheader()
        writer.writerow(ROW | {"budget": "h25-f25", "f1": 1})
        writer.writerow(ROW | changes)


def write_data(variant: Path, dev: dict, sample: int | None = None, **more: str) -> None:
    """What the stage that read the data set recorded."""
    folder = variant.parents[3] / "data" / "squad2"
    folder.mkdir(parents=True)
    spec = {"task": "squad2", "dev": dev, "dev_questions": sample} | more
    result = {"dev": 3000, "digests": {"dev": "0123abcd"}}
    record = {"stage": "data", "spec": spec, "result": result, "inputs": {}}
    (folder / "stage.json").write_text(json.dumps(record))


def card_of(variant: Path, out: Path) -> str:
    assert main(["publish", str(variant), str(out)]) == 0
    return (out / "README.md").read_text()


def test_it_loads_without_the_package_and_computes_the_same(variant, tmp_path):
    out = tmp_path / "out" / "model"
    assert main(["publish", str(variant), str(out)]) == 0
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected = load_model(variant).eval()(input_ids=ids).start_logits
    script = (
        "import sys; sys.modules['qaprune'] = None\n"
        "import torch\n"
        "from transformers import AutoModelForQuestionAnswering as A\n"
        f"model = A.from_pretrained({str(out)!r}, trust_remote_code=True).eval()\n"
        "with torch.no_grad():\n"
        "    logits = model(input_ids=torch.arange(5, 25)[None]).start_logits\n"
        "print(type(model).__module__, logits.flatten().tolist())\n"
    )
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    module, _, logits = done.stdout.partition(" ")
    assert module.endswith(MODULE)
    assert torch.allclose(torch.tensor(json.loads(logits)), expected.flatten(), rtol=1e-6, atol=1e-6)
    # With the package the folder is an ordinary checkpoint: no trust needed, the same bytes.
    assert torch.equal(load_model(out).eval()(input_ids=ids).start_logits, expected)


def test_the_card_has_the_measured_row_and_how_to_make_it_again(variant, tmp_path):
    write_table(variant)
    write_data(variant, OFFICIAL["dev"])
    card = card_of(variant, tmp_path / "out")
    for expected in (
        "| F1 | 71.2 [70.0, 72.5] over 3,000 dev questions |",
        "| speedup over the unpruned model | 1.98x [1.95, 2.01] |",
        "31.50 (Example CPU, batch 8 x 256, float32, sdpa, compile off, 2 threads)",
        "| F1 against teacher | -1.2 [-2.0, +0.5] |",
        "snakemake results/tiny/recover/m-squad2-s13/l0-h50-f50/distilled/model.safetensors "
        "--cores all --configfile CONFIG\n",
        "commit abc123; torch 2.13.0",
        "`no_answer_threshold`, -1.5",
        "The questions are from the dev set of `rajpurkar/squad_v2`, revision `0123abcd`.",
        "attention heads by layer: 2 0 4",
    ):
        assert expected in card
    assert str(tmp_path) not in card, "the card tells nothing of the machine's folders"
    assert claimed(card) == (OFFICIAL["dev"]["hub"], 71.25)


def claimed(card: str) -> tuple[str, float] | None:
    """Data set and F1 that the card's front matter enters into the hub's lists."""
    index = yaml.safe_load(card.split("---")[1]).get("model-index")
    if index is None:
        return None
    (result,) = index[0]["results"]
    (metric,) = result["metrics"]
    assert metric["type"] == "f1"
    return result["dataset"]["type"], metric["value"]


@pytest.mark.parametrize(
    ("dev", "said"),
    [
        ({"scratch": "squad2/dev.json"}, "The questions were generated: no figure here says anything"),
        ({"path": "/my/files/mine.json"}, "from the file `mine.json` (SHA-256 `0123abcd`...)."),
        ({"hub": "somebody/else"}, "from the dev set of `somebody/else`, revision `0123abcd`."),
        (None, "Where the questions came from is not recorded."),
    ],
)
def test_questions_that_are_not_the_official_ones_enter_no_list(variant, tmp_path, dev, said):
    write_table(variant)
    if dev:
        write_data(variant, dev)
    card = card_of(variant, tmp_path / "out")
    assert claimed(card) is None
    assert said in card


@pytest.mark.parametrize(("full", "expected"), [("", None), (70.5, ("rajpurkar/squad_v2", 70.5))])
def test_a_sample_of_dev_enters_no_list_and_all_of_it_does(variant, tmp_path, full, expected):
    write_table(variant, f1_full=full)
    write_data(variant, OFFICIAL["dev"], sample=3000)
    card = card_of(variant, tmp_path / "out")
    assert claimed(card) == expected
    assert ("| F1 over all of dev | 70.5 |" in card) == bool(full)


def test_a_revision_is_official_too_and_a_set_with_questions_left_out_is_not(variant, tmp_path):
    write_table(variant)
    write_data(variant, OFFICIAL["dev"] | {"revision": "abc"})
    assert claimed(card_of(variant, tmp_path / "out")) == ("rajpurkar/squad_v2", 71.25)
    shutil.rmtree(variant.parents[3] / "data")
    write_data(variant, OFFICIAL["dev"], on_bad_example="skip")
    assert claimed(card_of(variant, tmp_path / "other")) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f1": "abc"}, "points.csv:3: f1: expected a number, found 'abc'"),
        ({"speedup": "nan"}, "points.csv:3: speedup: expected a number, found 'nan'"),
        ({"schema_version": 1}, "points.csv: schema version 1 and 2"),
    ],
)
def test_a_table_that_is_none_is_one_line(variant, tmp_path, capsys, changes, message):
    write_table(variant, **changes)
    assert main(["publish", str(variant), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_a_table_nothing_is_claimed(variant, tmp_path, capsys):
    assert main(["publish", str(variant), str(tmp_path / "out")]) == 0
    assert "the card says that nothing was measured" in capsys.readouterr().err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Nothing: no table with a row of this checkpoint" in card
    assert "By the stage `recover`." in card
    assert "model-index" not in card


def test_speed_that_was_not_measured_is_said(variant, tmp_path):
    write_table(variant, latency_ms="", speedup="", speedup_low="", speedup_high="")
    assert main(["publish", str(variant), str(tmp_path / "out")]) == 0
    assert "| speed | not measured |" in (tmp_path / "out" / "README.md").read_text()


def lose_weights(variant: Path) -> None:
    (variant / "model.safetensors").unlink()


def cut_weights(variant: Path) -> None:
    weights = variant / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])


def lose_stage(variant: Path) -> None:
    (variant / "stage.json").unlink()


def lose_facts(variant: Path) -> None:
    (variant / "variant.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_weights, "removed by the config's keep policy"),
        (cut_weights, "cut short"),
        (lose_stage, "did not finish"),
        (lose_facts, "expected a checkpoint folder"),
    ],
)
def test_what_is_not_whole_is_not_published(variant, tmp_path, capsys, damage, message):
    damage(variant)
    assert main(["publish", str(variant), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_taken_folder_is_left_alone(variant, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main(["publish", str(variant), str(tmp_path / "out")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_the_model_code_needs_transformers_alone():
    code = model_code()
    assert "import qaprune" not in code
    assert "from qaprune" not in code
    compile(code, MODULE, "exec")


def test_the_card_of_local_files_names_no_folder_of_theirs(variant, tmp_path):
    write_table(variant)
    results = variant.parents[3]
    record = {
        "stage": "report",
        "spec": {"name": "tiny", "data_root": str(tmp_path / "mine")},
        "inputs": {},
    }
    (results / "stage.json").write_text(json.dumps(record))
    assert main(["publish", str(variant), str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "--configfile CONFIG --config data_root=FOLDER\n" in card
    assert "`FOLDER`: where data and encoder lie." in card
    assert str(tmp_path) not in card
