"""The bars of the recovery run, on tables made for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import pairwise, recovery_bars
from qaprune.report.collect import read_run
from tests.unit.report_data import write_evaluate


@pytest.fixture
def results(tmp_path) -> Path:
    write_evaluate(tmp_path, "bert", "squad2", questions=1200)
    return tmp_path


def run(results: Path, capsys, *more: str) -> tuple[int, list[str]]:
    words = [str(results), "--run", "bert-squad2-s13", "--budget", "h50-f50", *more]
    return recovery_bars.main(words), capsys.readouterr().out.splitlines()


def test_each_bar_is_a_line(results, capsys):
    code, lines = run(results, capsys)
    assert code == 3, "torch-pruning is not in this run"
    text = "\n".join(lines)
    assert "holds        teacher" in text
    assert "l0-h50-f50/distilled, best on the hold-out" in text
    assert "not measured torch_pruning_global: no distilled row at h50-f50" in text
    assert "to random" in text
    assert "distilled" in lines[-2]
    assert "mean of 7 point(s)" in lines[-1]


def test_a_bar_that_is_out_of_reach_is_missed(results, capsys):
    _, lines = run(results, capsys, "--margin", "99", "--loss", "-50")
    assert lines[0].startswith("MISSED")
    assert lines[1].startswith("MISSED")


def test_a_rival_is_never_the_best_method(results, capsys, monkeypatch):
    monkeypatch.setattr(recovery_bars, "BLIND", (*recovery_bars.RIVALS, "l0", "gain"))
    code, lines = run(results, capsys)
    assert code == 3
    assert "no distilled row at h50-f50 of a criterion that looks at the task" in lines[1]


def test_a_folder_without_scores_is_one_line(tmp_path, capsys):
    assert recovery_bars.main([str(tmp_path)]) == 1
    assert "error:" in capsys.readouterr().err


def test_several_seeds_are_judged_by_their_means(results, capsys):
    write_evaluate(results, "bert", "squad2", 14, questions=1200)
    both = ("--run", "bert-squad2-s13", "bert-squad2-s14")
    _, lines = run(results, capsys, *both)
    runs = [read_run(results / "evaluate" / name, None) for name in both[1:]]
    above = sum(run.variants["teacher"]["f1"] - run.variants["no-answer"]["f1"] for run in runs) / 2
    assert lines[0] == f"holds        teacher {above:+.1f} F1 to no-answer (bar 10)"
    spans = []
    for which in (both[1:2], both[2:], both[1:]):
        _, lines = run(results, capsys, "--run", *which)
        low, high = re.search(r"\[(.+), (.+)\] to random", "\n".join(lines)).groups()
        spans.append(float(high) - float(low))
    assert spans[2] < max(spans[:2]), "the mean of two is known better"


def test_a_rival_that_has_another_name_at_a_budget_is_found(tmp_path, capsys):
    shares = {("l0@ends", "h50-f50"): (0.5, 0.9, 0.9, 2), ("random@ends", "h50-f50"): (0.5, 0.5, 0.6, 2)}
    write_evaluate(tmp_path, "bert", "squad2", questions=400, shares=shares)
    _, lines = run(tmp_path, capsys)
    assert any(line.startswith(("holds", "MISSED")) and line.endswith("to random") for line in lines), lines


@pytest.mark.parametrize(
    ("other", "questions", "message"),
    [
        (("bert", "squad2", 14), 600, "scored on other questions"),
        (("roberta", "squad2", 13), 1200, "expected other seeds of one model and data set"),
        (("bert", "squad2", 13), 1200, "expected other seeds of one model and data set"),
    ],
)
def test_only_seeds_of_one_pair_have_a_mean(results, capsys, other, questions, message):
    name = f"{other[0]}-{other[1]}-s{other[2]}"
    if name != "bert-squad2-s13":
        write_evaluate(results, *other, questions=questions)
    assert recovery_bars.main([str(results), "--run", "bert-squad2-s13", name]) == 4
    assert message in capsys.readouterr().err


def test_pairs_of_a_variant_that_is_not_there_are_one_line(results, capsys):
    words = [str(results), "--run", "bert-squad2-s13"]
    assert pairwise.main(words) == 0
    assert len(capsys.readouterr().out.splitlines()) > 10
    assert pairwise.main([*words, "--variant", "destilled"]) == 1
    assert "has no row 'destilled'; there are" in capsys.readouterr().err
    assert pairwise.main([str(results), "--run", "none"]) == 1
    assert "no such file" in capsys.readouterr().err
