"""Which kept gates share the lowest score, on a run made for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks import tied_gates
from qaprune.gate.registry import Scores
from qaprune.gate.stage import save_scores
from qaprune.prune.mask import Mask, save_mask

HEADS = np.array([[[1.0, -4.6], [-4.6, -4.6]]], np.float32)
UNITS = np.arange(8, dtype=np.float32).reshape(1, 2, 4)


def write_point(results: Path, scoring: str, **more: object) -> None:
    """A point of L0 that keeps one head in each layer, the second of which is at the bound."""
    gate, point = results / "gate" / "m-squad2-s1" / scoring, results / "prune" / "m-squad2-s1" / "l0-x2.0"
    gate.mkdir(parents=True)
    save_scores(gate / "scores.safetensors", Scores(HEADS, UNITS, **more))
    (gate / "stage.json").write_text("{}")
    (point / "masks").mkdir(parents=True)
    (point / "stage.json").write_text(json.dumps({"spec": {"criterion": "l0"}}))
    one = np.array([1, 0], np.float32)
    save_mask(point / "masks" / "0.safetensors", Mask((one, one), (np.ones(4, np.float32),) * 2), {})


def test_kept_gates_at_the_lowest_score_are_counted_by_layer(tmp_path, capsys):
    for scoring in ("l0-x2.0", "l0"):
        results = tmp_path / scoring
        write_point(results, scoring)
        assert tied_gates.main([str(results), "--run", "m-squad2-s1"]) == 0
        (line,) = capsys.readouterr().out.splitlines()  # units have no two alike
        assert " ".join(line.split()) == "l0-x2.0 heads 3 of 4 at the lowest score, kept by layer: 0 1"


def test_scores_that_are_the_mask_itself_have_no_ties(tmp_path, capsys):
    write_point(tmp_path, "l0", decided=True)
    assert tied_gates.main([str(tmp_path), "--run", "m-squad2-s1"]) == 0
    assert capsys.readouterr().out == ""


def test_a_run_without_masks_is_one_line(tmp_path, capsys):
    assert tied_gates.main([str(tmp_path)]) == 1
    assert "no masks of run 'minilm-squad2-s13'" in capsys.readouterr().err
