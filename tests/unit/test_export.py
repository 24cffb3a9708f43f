"""ONNX export: the same logits at any batch and length, for models with closed sub-layers too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qaprune.cli import main
from qaprune.models import onnx
from qaprune.models.checkpoint import save_checkpoint
from qaprune.prune.slice import slice_model
from qaprune.serve import export
from tests.conftest import closed_mask, make_model, types_of


@pytest.fixture
def checkpoint(request, tmp_path) -> Path:
    model = slice_model(make_model(request.param, types=types_of(request.param)), closed_mask())
    save_checkpoint(model, tmp_path / "model", tmp_path, {}, {"variant": "pruned", "threshold": 0.0})
    return tmp_path / "model"


both = pytest.mark.parametrize("checkpoint", ["bert", "roberta"], indirect=True)
bert = pytest.mark.parametrize("checkpoint", ["bert"], indirect=True)


@both
def test_logits_are_pytorchs_at_every_batch_and_length(checkpoint, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    out = tmp_path / "out"
    assert main(["export", "--model", str(checkpoint), "--out", str(out)]) == 0
    assert "any batch and length" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} >= {"model.onnx", "config.json"}
    model = export_model(checkpoint)
    assert export.largest_difference(model, out / "model.onnx") < 1e-5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "CHECKED", ((2, 40), (5, 3)))
        assert export.largest_difference(model, out / "model.onnx") < 1e-5


def export_model(checkpoint: Path):
    from qaprune.models.encoder import load_model

    return load_model(checkpoint, "eager").eval()


@bert
def test_a_model_that_differs_is_not_handed_over(checkpoint, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    monkeypatch.setattr(export, "largest_difference", lambda model, path: 3e-4)
    assert main(["export", "--model", str(checkpoint), "--out", str(tmp_path / "out")]) == 1
    assert "logits are 3.0e-04 from PyTorch's" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@bert
def test_missing_packages_are_named_with_what_installs_them(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else sys)
    assert main(["export", "--model", str(checkpoint), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "onnxscript not installed; pip install -e '.[onnx]'" in error
    assert error.count("\n") == 1


@bert
def test_a_taken_folder_and_a_missing_checkpoint_are_refused(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx, "find_spec", lambda name: sys)
    assert main(["export", "--model", str(checkpoint), "--out", str(checkpoint)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["export", "--model", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert "no such folder" in capsys.readouterr().err
