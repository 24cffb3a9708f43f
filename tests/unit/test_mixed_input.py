"""What must not stand in one table or plot: rows of two stage versions, speeds of two machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.text import Text

from qaprune.cli import main
from qaprune.config import load_config
from qaprune.errors import InputError, NotComparable
from qaprune.plan import make_plan
from qaprune.report.collect import check_one_machine, collect
from qaprune.report.figures import f1_speedup_figure
from qaprune.report.headline import headline
from qaprune.report.macros import macros_tex
from qaprune.report.matrix_figure import matrix_figure
from qaprune.report.rows import build_rows, matrix_rows
from qaprune.report.stage import build_report
from qaprune.report.tables import points_markdown
from qaprune.report.terminal import terminal_text
from tests.unit.compare_data import edit_json
from tests.unit.report_data import write_evaluate, write_profile

Folders = tuple[list[Path], list[Path]]


@pytest.fixture
def two_seeds(tmp_path: Path) -> Folders:
    """Two seeds of one model and data set, scored and timed."""
    evaluate = [write_evaluate(tmp_path, "bert", "squad2", seed, questions=60) for seed in (13, 14)]
    return evaluate, [write_profile(tmp_path, run.name, rounds=6) for run in evaluate]


def on_another_machine(profile: Path) -> None:
    edit_json(profile / "cells.json", lambda record: record.update(fingerprint="def"))
    edit_json(profile / "environment.json", lambda record: record.update(device="Example GPU 9"))


def with_versions(folders: list[Path], *versions: int) -> None:
    for folder, version in zip(folders, versions, strict=True):
        (folder / "stage.json").write_text(json.dumps({"spec": {"version": version}}))


@pytest.mark.parametrize("stage", ["evaluate", "profile"])
def test_folders_of_two_stage_versions_are_named(two_seeds: Folders, stage):
    folders = two_seeds[stage == "profile"]
    with_versions(folders, 2, 2)
    assert len(collect(*two_seeds)) == 2
    with_versions(folders, 2, 3)
    message = rf"{folders[0]} was written by version 2 of the stage {stage}, {folders[1]} by version 3"
    with pytest.raises(InputError, match=message):
        collect(*two_seeds)


def test_two_machines_in_one_plot_are_refused_by_name(two_seeds: Folders):
    check_one_machine(collect(*two_seeds))
    on_another_machine(two_seeds[1][1])
    message = (
        r"bert-squad2-s13 was timed on Example CPU 3000 \(abc\), bert-squad2-s14 on Example GPU 9 \(def\)"
    )
    with pytest.raises(NotComparable, match=message):
        check_one_machine(collect(*two_seeds))


def test_two_machines_in_two_plots_are_fine(tmp_path: Path):
    evaluate = [write_evaluate(tmp_path, "bert", name, questions=60) for name in ("squad2", "nq")]
    profile = [write_profile(tmp_path, run.name, rounds=6) for run in evaluate]
    on_another_machine(profile[1])
    check_one_machine(collect(evaluate, profile))


def test_the_stage_ends_with_exit_code_4_and_writes_no_table(two_seeds: Folders, tmp_path: Path, capsys):
    on_another_machine(two_seeds[1][1])
    words = ["--evaluate", *map(str, two_seeds[0]), "--profile", *map(str, two_seeds[1])]
    spec = json.dumps({"label": "mine", "resamples": 100})
    assert main(["report", "--spec", spec, *words, "--out", str(tmp_path / "out")]) == 4
    error = capsys.readouterr().err
    assert "qaprune: error: report mine: " in error
    assert "report.mixed_hardware" in error
    assert not (tmp_path / "out" / "tables").exists()


def test_mixed_hardware_that_is_asked_for_says_so_everywhere(two_seeds: Folders, tmp_path: Path):
    on_another_machine(two_seeds[1][1])
    out = tmp_path / "out"
    build_report({"resamples": 100, "mixed_hardware": True}, *two_seeds, out)
    said = "mixed hardware: 2 machines, whose speeds do not compare"
    rows = build_rows(collect(*two_seeds), 100)
    matrix = matrix_rows(collect(*two_seeds), 100)
    for figure in (f1_speedup_figure(rows), matrix_figure(matrix)):
        assert any(said in text.get_text() for text in figure.findobj(Text))
    macros = macros_tex(rows)
    assert f"no mean of speeds, {said}" in macros
    assert "MeanLZeroHFiveZeroFFiveZeroDistilledSpeedup" not in macros
    assert "MeanLZeroHFiveZeroFFiveZeroDistilledFOne}" in macros
    assert any(said in line.lower() for line in headline(rows).details)
    for text in (points_markdown(rows), terminal_text(rows)):
        assert said in text
        assert "Example CPU 3000" in text
        assert "Example GPU 9" in text


def test_one_machine_is_not_called_mixed(two_seeds: Folders):
    rows = build_rows(collect(*two_seeds), 100)
    assert "mixed hardware" not in points_markdown(rows) + terminal_text(rows)


def test_the_config_has_the_key_and_the_stage_gets_it(tmp_path: Path):
    assert make_plan(load_config([])).spec("report")["mixed_hardware"] is False
    asked = load_config([], {"report": {"mixed_hardware": True}})
    assert make_plan(asked).spec("report")["mixed_hardware"] is True
    with pytest.raises(InputError, match=r"report\.mixed_hardware: expected boolean"):
        load_config([], {"report": {"mixed_hardware": 2}})
