"""The table of a sweep: trials side by side, the best by the hold-out."""

from __future__ import annotations

import json
from collections import Counter

from benchmarks import sweep
from qaprune.config import ROOT, load_config
from qaprune.gate.registry import base_name


def write(folder, name: str, lr: float, f1: float, gate: dict, budget: str = "h50-f50") -> None:
    recover = folder / "recover" / "m-squad2-s1" / f"{name}-{budget}" / "distilled"
    scores = folder / "gate" / "m-squad2-s1" / f"{name}-{budget}"
    for path, record in (
        (
            recover,
            {
                "spec": {"training": {"lr": lr, "epochs": 1}},
                "result": {"criterion": name, "train_tokens": 1000, "holdout_f1": f1},
            },
        ),
        (scores, {"spec": {"settings": gate}}),
    ):
        path.mkdir(parents=True)
        (path / "stage.json").write_text(json.dumps(record))


def write_teacher(folder) -> None:
    made = folder / "teacher" / "m-squad2-s1"
    made.mkdir(parents=True)
    (made / "stage.json").write_text(json.dumps({"result": {"teacher_tokens": 9000, "holdout_f1": 60.125}}))


def test_trials_of_a_criterion_and_the_best_of_each(tmp_path, capsys):
    write(tmp_path, "l0@a", 1e-4, 51.25, {"steps": 120, "lr": 0.1})
    write(tmp_path, "l0@b", 2e-4, 52.5, {"steps": 120, "lr": 0.2})
    write(tmp_path, "gain@a", 1e-4, 50.0, {"windows": 64})
    write_teacher(tmp_path)
    assert sweep.main([str(tmp_path), "--run", "m-squad2-s1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["|", "teacher", "|", "|", "9,000", "|", "60.12", "|"]
    assert [line for line in lines if "*" in line and "l0@b" in line]
    assert [line for line in lines if "*" in line and "gain@a" in line]
    slow = next(line for line in lines if "| l0@a-h50-f50/distilled " in line)
    assert "*" not in slow
    assert "gate lr 0.1, lr 0.0001" in slow
    assert "steps" not in slow, "what is the same in all trials is left out"


def test_budgets_are_not_ranked_against_each_other(tmp_path, capsys):
    write(tmp_path, "l0@a", 1e-4, 51.25, {})
    write(tmp_path, "l0@a", 1e-4, 40.0, {}, "h30-f30")
    write_teacher(tmp_path)
    assert sweep.main([str(tmp_path), "--run", "m-squad2-s1"]) == 0
    assert sum("*" in line for line in capsys.readouterr().out.splitlines()) == 2


def test_settings_of_a_gate_are_its_own(tmp_path, capsys):
    """Not those of another criterion whose name begins like its."""
    for name, lr in (("l0", 0.1), ("l0_joint", 0.3), ("l0@b", 0.2)):
        write(tmp_path, name, 1e-4, 50.0, {"lr": lr})
    write_teacher(tmp_path)
    assert sweep.main([str(tmp_path), "--run", "m-squad2-s1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "gate lr 0.1" in next(line for line in lines if "l0-h50-f50" in line)


def test_a_folder_without_rows_is_one_line(tmp_path, capsys):
    assert sweep.main([str(tmp_path)]) == 1
    assert "no recovered rows of run 'minilm-squad2-s13'" in capsys.readouterr().err


def test_the_projects_sweep_gives_each_criterion_as_many_trials_and_as_much_data():
    config = load_config([ROOT / "config" / "sweep.yaml"])
    counts = Counter(base_name(name) for name in config["criteria"])
    ours = {"gain", "fisher", "l0", "l0_joint"}
    assert {counts.pop(name) for name in ours} == {4}
    assert set(counts) == {"random", "first_layers", "alternate_layers", "torch_pruning_global"}
    assert min(counts.values()) >= 4, "what a method is compared with gets no fewer trials than it"
    assert config["recovery"]["include_gate"], "what a gate reads comes out of its trial's recovery"
    changed = {key for own in config["criteria"].values() for key in own.get("recovery_changes", {})}
    assert changed <= {"lr", "temperature"}, "no trial trains longer or on other batches"
