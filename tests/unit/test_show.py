"""`qaprune show`: the table and the plot as text, colour only in terminals, and unfinished folders."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qaprune.cli import main
from qaprune.config import load_config
from qaprune.report.collect import collect
from qaprune.report.columns import NAMES
from qaprune.report.rows import build_rows, name_of
from qaprune.report.table_files import read_rows
from qaprune.report.tables import points_csv
from qaprune.report.terminal import make_console, print_rows, terminal_text
from qaprune.report.text_plot import HEIGHT, LEFT, letters_of, scatter
from tests.conftest import ROOT
from tests.unit.report_data import write_evaluate, write_profile

REFERENCES = sorted(path.parent for path in (ROOT / "results" / "reference").glob("*/points.csv"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`evaluate` of two pairs and `profile` of the first, as finished stages."""
    folder = tmp_path_factory.mktemp("made")
    evaluate = [write_evaluate(folder, "bert", name, questions=200) for name in ("squad2", "nq")]
    for path in (*evaluate, write_profile(folder, evaluate[0].name, rounds=12)):
        (path / "stage.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def rows(made: Path) -> list[dict]:
    folders = [made / "evaluate" / f"bert-{name}-s13" for name in ("squad2", "nq")]
    return build_rows(collect(folders, [made / "profile" / folders[0].name]), 100)


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "mine")
    return tmp_path / "mine"


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_a_table_comes_back_from_its_file_as_it_was(rows, tmp_path: Path):
    (tmp_path / "points.csv").write_text(points_csv(rows))
    back = read_rows(tmp_path / "points.csv", NAMES)
    assert terminal_text(back) == terminal_text(rows)
    for before, after in zip(rows, back, strict=True):
        for name in NAMES:
            expected = before[name]
            exact = not isinstance(expected, float)
            assert after[name] == (expected if exact else pytest.approx(expected, rel=1e-9)), name


@pytest.mark.parametrize("folder", REFERENCES, ids=lambda path: path.name)
def test_committed_tables_fit_eighty_columns(folder, capsys):
    assert main(["show", str(folder)]) == 0
    out = capsys.readouterr().out
    assert widest(out) <= 80
    assert "speedup over the teacher" in out


def test_figures_stand_in_their_rows_and_long_names_are_whole(rows):
    long = "a_criterion_with_a_long_name"
    renamed = [row | {"criterion": long} if row["criterion"] == "gain" else row for row in rows]
    text = terminal_text(renamed)
    assert widest(text) <= 80
    assert re.search(rf"{long} .*\n +-h50-f50/distilled", text), "a budget is not cut in two"
    assert text.count("/distilled") == terminal_text(rows).count("/distilled")
    teacher = next(row for row in rows if row["variant"] == "teacher")
    line = next(line for line in text.splitlines() if line.split()[:1] == ["teacher"])
    assert f"{teacher['f1']:.1f}" in line
    assert f"{teacher['delta_f1']:+.1f}" in line


def plot_of(group: list[dict], width: int = 80) -> tuple[dict[str, tuple[int, int]], str]:
    """letter -> (line from below, column) of the frame, and the plot's text."""
    text = scatter(group, letters_of(group), width).plain
    frame = text.splitlines()[1 : HEIGHT + 1]
    found = {}
    for line, content in enumerate(reversed(frame)):
        points = re.sub(
            r"(no-answer|teacher\+?) [\d.]+", lambda name: " " * len(name[0]), content[LEFT + 1 :]
        )
        for match in re.finditer("[a-zA-Z]", points):
            found[match[0]] = (line, match.start())
    return found, text


def test_the_plot_orders_points_as_their_numbers_do(rows):
    group = [row for row in rows if row["dataset"] == "squad2"]
    letters = letters_of(group)
    found, text = plot_of(group)
    assert widest(text) <= 80
    shown = [
        (found[letter], row)
        for row in group
        if (letter := letters.get((row["criterion"], row["budget"], row["variant"]))) in found
        and row["draw"] in (None, 0)
        and (row["criterion"], row["variant"]) != ("random", "pruned")  # those are means of masks
    ]
    assert len(shown) > 8
    for (line, column), row in shown:
        for (other_line, other_column), other in shown:
            if row["f1"] < other["f1"]:
                assert line <= other_line
            if row["speedup"] < other["speedup"]:
                assert column <= other_column


def test_every_point_is_in_the_plot_or_said_to_lie_under_another(rows):
    group = [row for row in rows if row["dataset"] == "squad2"]
    found, text = plot_of(group)
    below = text.partition("at the same place: ")[2]
    hidden = {letter for names in below.split(", ") for letter in names.split()[1:]}
    assert set(found) | hidden == set(letters_of(group).values())
    assert not set(found) & hidden


def test_levels_are_named_where_no_point_is(rows):
    group = [row for row in rows if row["dataset"] == "squad2"]
    _, text = plot_of(group)
    for variant in ("teacher", "teacher+", "no-answer"):
        f1 = next(row["f1"] for row in group if row["variant"] == variant)
        assert f"{variant} {f1:.1f}" in text
    silent = [row | {"f1": 0.0} if row["variant"] == "no-answer" else row for row in group]
    assert "no-answer 0.0" in plot_of(silent)[1]


def test_points_that_are_all_alike_have_round_scales(rows):
    group = [
        row | {"f1": 50.0, "speedup": row["speedup"] and 1.0} for row in rows if row["dataset"] == "squad2"
    ]
    text = scatter(group, letters_of(group), 80).plain
    scale = [line[:LEFT].strip() for line in text.splitlines()[1 : HEIGHT + 1]]
    assert [tick for tick in scale if tick] == ["51", "50.5", "50", "49.5", "49"]
    assert "1x" in text


def test_a_pair_without_timings_says_so_instead_of_a_plot(rows):
    text = terminal_text([row for row in rows if row["dataset"] == "nq"])
    assert "no plot: no point was timed" in text
    assert "this run was not profiled" in text


def test_colour_in_a_terminal_and_none_elsewhere(rows, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    console = make_console(stream, force_terminal=True, color_system="256", width=80)
    print_rows(console, rows)
    coloured = stream.getvalue()
    assert "\x1b[38;5;" in coloured
    plain = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert "\n".join(line.rstrip() for line in plain.splitlines()) + "\n" == terminal_text(rows)
    assert "\x1b" not in terminal_text(rows)


def test_a_pipe_gets_plain_text_whatever_the_terminal_is(results: Path):
    done = subprocess.run(
        [sys.executable, "-m", "qaprune", "show", str(REFERENCES[0])],
        capture_output=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    assert widest(done.stdout.decode()) <= 80


def test_an_unfinished_folder_shows_rows_progress_and_what_is_missing(results: Path, capsys):
    assert main(["show", str(results)]) == 0
    out = capsys.readouterr().out
    assert widest(out) <= max(80, len(str(results)) + 15)
    assert "done: evaluate 2, profile 1; what is planned is not known" in out
    assert "bert on squad2" in out
    assert "l0-h50-f50/distilled" in out
    assert "bert-nq-s13: not timed yet" in out
    assert "bert-squad2-s13: not timed" not in out
    assert "report: not written yet" in out


def test_a_run_that_is_not_scored_has_its_holdout_figures(results: Path, capsys):
    shutil.rmtree(results / "evaluate")
    shutil.rmtree(results / "profile")
    checkpoints = {
        "teacher/bert-nq-s13": {"variant": "teacher", "holdout_f1": 88.04},
        "prune/bert-nq-s13/l0-h50-f50": {
            "variant": "pruned",
            "criterion": "l0",
            "budget": "h50-f50",
            "draw": 0,
            "holdout_f1": 61.26,
        },
        "recover/bert-nq-s13/l0-h50-f50/distilled": None,
    }
    for place, facts in checkpoints.items():
        (results / place).mkdir(parents=True)
        if facts:
            (results / place / "variant.json").write_text(json.dumps(facts))
            (results / place / "stage.json").write_text("{}")
    assert main(["show", str(results)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "done: teacher 1, prune 1;" in out, "a folder without stage.json is not done"
    assert "not scored yet; hold-out F1 so far: teacher 88.0, l0-h50-f50/pruned 61.3" in out


def test_progress_counts_against_the_plan(results: Path, tmp_path: Path, capsys):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("name: mine\n")
    assert main(["show", str(results), "--config", str(overlay)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "evaluate 2/4, profile 1/4, report 0/1" in out
    assert "roberta-nq-s13: not scored yet; hold-out F1 so far: none" in out
    overlay.write_text("name: other\n")
    assert main(["show", str(results), "--config", str(overlay)]) == 1
    assert "is that of 'other', but the folder is 'mine'" in capsys.readouterr().err


def test_a_folder_named_after_a_config_of_the_project_knows_its_plan(results: Path, capsys):
    results = results.rename(results.with_name("embedded"))
    assert main(["show", str(results)]) == 0
    assert "evaluate 2/4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"), [("empty", "no finished stage here"), ("absent", "no such folder")]
)
def test_a_folder_of_no_results_is_one_line(tmp_path: Path, capsys, name, message):
    (tmp_path / "empty").mkdir()
    assert main(["show", str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_reader_that_stops_is_no_error():
    command = f"{sys.executable} -m qaprune show {REFERENCES[0]} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[1:] == ["0"]
    assert done.stderr == ""


def test_letters_are_those_of_the_table(rows):
    group = [row for row in rows if row["dataset"] == "squad2"]
    letters = letters_of(group)
    lines = terminal_text(group).splitlines()
    for row in group:
        letter = letters.get((row["criterion"], row["budget"], row["variant"]))
        if letter and (row["criterion"], row["variant"]) != ("random", "pruned"):
            assert any(line.startswith(f"{letter} {name_of(row).partition('/')[0]}") for line in lines)
    assert sum("mean of 5 masks" in line and line[0] != " " for line in lines) == 2


def test_another_dev_set_has_the_figures_of_the_checkpoints_that_it_scores(
    results: Path, tmp_path: Path, capsys
):
    overlay = tmp_path / "overlay.yaml"
    datasets = load_config([])["datasets"]
    news = datasets["squad2"] | {"checkpoints_of": "squad2"}
    overlay.write_text(
        yaml.safe_dump({"name": "mine", "datasets": {"squad2": datasets["squad2"], "news": news}})
    )
    made = results / "teacher" / "roberta-squad2-s13"
    made.mkdir(parents=True)
    (made / "variant.json").write_text(json.dumps({"variant": "teacher", "holdout_f1": 88.04}))
    (made / "stage.json").write_text("{}")
    assert main(["show", str(results), "--config", str(overlay)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    expected = "hold-out F1 of the checkpoints of roberta-squad2-s13 so far: teacher 88.0"
    assert f"roberta-news-s13: not scored yet; {expected}" in out
