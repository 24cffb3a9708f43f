"""The stage `evaluate` on two tiny checkpoints: what it keeps for the report beside the scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qaprune.evaluate.stage import evaluate
from qaprune.models.checkpoint import write_variant
from qaprune.report.collect import read_run
from tests.unit.profile_data import write_checkpoints, write_dev

LOG = '{"step": 50, "loss": 2.5, "tokens": 4096, "seconds": 1.5, "hold_out": null}\n'


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluate folder of a teacher that was trained here and a pruned model that nothing trained."""
    folder = tmp_path_factory.mktemp("evaluate")
    features, variants = write_checkpoints(folder)
    for key, checkpoint in variants.items():
        point = {"criterion": "l0", "budget": "h50-f50", "draw": 0} if "/" in key else {}
        write_variant(checkpoint, {"variant": key.rpartition("/")[2], "threshold": 0.0} | point)
    (variants["teacher"] / "train.jsonl").write_text(LOG)
    gold = [
        {"id": f"q{n}", "question": "who", "answers": [{"text": "the house"}] * (n % 2)} for n in range(6)
    ]
    paragraphs = [{"context": "mara bought the house", "qas": [record]} for record in gold]
    (folder / "gold.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    run = {"model": "tiny", "dataset": "squad2", "seed": 3}
    spec = {
        "run": run,
        "task": "squad2",
        "compute": {
            "device": "cpu",
            "dtype": "float32",
            "attention": "eager",
            "threads": 1,
            "batch_tokens": 64,
        },
        "dev_questions": None,
        "full_dev": [],
        "length": 32,
        "stride": 4,
        "max_answer_tokens": 4,
    }
    inputs = {
        "features": features.parent,
        "dev": write_dev(folder / "dev.jsonl.gz"),
        "gold": folder / "gold.json",
        "variants": variants,
    }
    out = folder / "tiny-squad2-s3"
    out.mkdir()
    evaluate(spec, inputs, out, lambda line: None)
    return out


def test_rows_have_the_widths_of_every_layer_the_teacher_s_own_too(scored: Path):
    rows = json.loads((scored / "scores.json").read_text())["variants"]
    assert (rows["teacher"]["heads_per_layer"], rows["teacher"]["ff_per_layer"]) == ([2] * 4, [64] * 4)
    assert rows["l0-h50-f50/pruned"]["heads_per_layer"] == [2]
    assert "heads_per_layer" not in rows["no-answer"]


def test_training_logs_stay_beside_the_scores_as_they_were(scored: Path):
    assert [path.name for path in (scored / "training").iterdir()] == ["teacher.jsonl"]
    assert (scored / "training" / "teacher.jsonl").read_text() == LOG


def test_the_report_reads_what_the_stage_wrote(scored: Path):
    run = read_run(scored, None)
    assert run.curves == {"teacher": [json.loads(LOG)]}
    assert (run.questions, run.long_sums) == (6, None)
