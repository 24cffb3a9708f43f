"""The report: columns, figures, honest gaps, and the same bytes twice."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from matplotlib.text import Text

from qaprune.errors import InputError
from qaprune.gate.registry import BUILT_IN
from qaprune.report.collect import collect
from qaprune.report.columns import COLUMNS, NAMES, columns_markdown
from qaprune.report.figures import f1_speedup_figure, plotted_points
from qaprune.report.published import PAPER, PUBLISHED
from qaprune.report.rows import build_rows, name_of
from qaprune.report.stage import build_report
from qaprune.report.style import COLOURS, looks
from qaprune.report.tables import points_csv, points_markdown
from qaprune.report.terminal import terminal_text
from tests.unit.report_data import scores_entry, write_evaluate, write_profile

ROOT = Path(__file__).parents[2]
CONTRACT = [
    "model",
    "dataset",
    "seed",
    "criterion",
    "budget",
    "draw",
    "variant",
    "f1",
    "f1_low",
    "f1_high",
    "holdout_f1",
    "f1_best",
    "em",
    "hasans_f1",
    "noans_f1",
    "long_f1",
    "long_f1_best",
    "delta_f1",
    "margin_share",
    "params",
    "flops",
    "heads_kept",
    "ff_kept",
    "hidden_kept",
    "train_tokens",
    "gate_seconds",
    "gate_passes",
    "recover_seconds",
    "latency_ms",
    "latency_e2e_ms",
    "speedup",
    "speedup_low",
    "speedup_high",
    "speedup_same",
    "speedup_asked",
    "speedup_predicted",
    "throughput_qps",
    "energy_j",
    "peak_memory_mb",
    "batch",
    "length",
    "stride",
    "windows_per_question",
    "dtype",
    "backend",
    "compile",
    "threads",
    "device",
    "schema_version",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """BERT on SQuAD 2.0, profiled; RoBERTa on NQ, not profiled."""
    folder = tmp_path_factory.mktemp("results")
    evaluate = [write_evaluate(folder, "bert", "squad2"), write_evaluate(folder, "roberta", "nq")]
    return evaluate, [write_profile(folder, evaluate[0].name)]


@pytest.fixture(scope="module")
def rows(folders: tuple[list[Path], list[Path]]) -> list[dict]:
    return build_rows(collect(*folders), resamples=300)


@pytest.fixture(scope="module")
def squad(rows: list[dict]) -> dict[str, dict]:
    return {name_of(row): row for row in rows if row["dataset"] == "squad2"}


def test_columns_are_the_contracts_in_its_order():
    assert list(NAMES[: len(CONTRACT)]) == CONTRACT
    assert len(set(NAMES)) == len(NAMES)
    assert all(column.meaning for column in COLUMNS)


def test_columns_page_is_the_generated_one():
    assert (ROOT / "docs" / "columns.md").read_text(encoding="utf-8") == columns_markdown()


def test_csv_has_every_column_and_gaps_where_nothing_was_measured(rows: list[dict]):
    table = list(csv.DictReader(io.StringIO(points_csv(rows))))
    assert list(table[0]) == list(NAMES)
    assert len(table) == len(rows)
    for row in table:
        if row["dataset"] == "nq":
            assert row["speedup"] == row["latency_ms"] == row["energy_j"] == row["device"] == ""
        assert "nan" not in ",".join(row.values()).lower()
        assert "None" not in row.values()


def test_gaps_carry_their_reason(squad: dict[str, dict], rows: list[dict]):
    assert "no GPU" in squad["teacher"]["not_measured"]
    assert "not timed" in squad["random-h50-f50/pruned#2"]["not_measured"]
    assert squad["no-answer"]["not_measured"] is None, "there is nothing to time"
    nq = next(row for row in rows if row["dataset"] == "nq" and row["variant"] == "teacher")
    assert "not profiled" in nq["not_measured"]
    assert "not profiled" in points_markdown(rows)


def test_speed_columns_come_from_the_samples(squad: dict[str, dict]):
    teacher, half = squad["teacher"], squad["l0-h50-f50/distilled"]
    assert teacher["speedup"] == 1.0
    assert half["speedup"] == pytest.approx(1.74, rel=0.01)
    assert half["speedup_low"] <= half["speedup"] == half["speedup_same"] <= half["speedup_high"]
    assert half["latency_ms"] <= half["latency_p90_ms"] <= half["latency_p99_ms"]
    assert half["throughput_qps"] == pytest.approx(8 / 1.25 / (half["latency_ms"] / 1000))
    assert (half["batch"], half["length"], half["threads"], half["device"]) == (
        8,
        128,
        2,
        "Example CPU 3000",
    )


def test_delta_is_against_the_better_teacher_on_the_holdout(folders, tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2")
    scores = json.loads((run / "scores.json").read_text())
    scores["variants"]["teacher+"]["holdout_f1"] = 99.0
    (run / "scores.json").write_text(json.dumps(scores))
    by_name = {name_of(row): row for row in build_rows(collect([run], []), 300)}
    best = by_name["teacher+"]
    point = by_name["l0-h25-f25/retrained"]
    assert point["reference"] == "teacher+"
    assert (best["delta_f1"], best["delta_f1_low"], best["delta_f1_high"]) == (0, 0, 0)
    assert point["delta_f1"] == pytest.approx(point["f1"] - best["f1"])
    assert point["delta_f1_low"] <= point["delta_f1"] <= point["delta_f1_high"]
    margin = best["f1"] - by_name["no-answer"]["f1"]
    assert point["margin_share"] == pytest.approx(-100 * point["delta_f1"] / margin)


def test_rows_stand_in_a_fixed_order_whatever_the_files_order(
    folders, tmp_path: Path, squad: dict[str, dict]
):
    run = write_evaluate(tmp_path, "bert", "squad2")
    scores = json.loads((run / "scores.json").read_text())
    (run / "scores.json").write_text(json.dumps(scores, sort_keys=True))
    names = [name_of(row) for row in build_rows(collect([run], []), 300)]
    assert names == list(squad)
    assert names[:5] == ["no-answer", "teacher", "teacher+", "l0-h50-f50/pruned", "l0-h50-f50/retrained"]
    assert names.index("l0-h50-f50/distilled") < names.index("l0-h25-f25/pruned")


def test_full_dev_figures_show_where_they_were_scored(tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2")
    scores = json.loads((run / "scores.json").read_text())
    scores["variants"]["teacher"] |= {"f1_full": 71.25, "hasans_f1_full": 66.5}
    (run / "scores.json").write_text(json.dumps(scores))
    rows = build_rows(collect([run], []), 300)
    assert next(row for row in rows if row["variant"] == "teacher")["f1_full"] == 71.25
    text = points_markdown(rows).partition("All of dev")[2]
    assert "71.2" in text
    assert "66.5" in text
    assert text.count("teacher+") == 0


def test_intervals_hold_their_point(rows: list[dict]):
    for row in rows:
        assert row["f1_low"] <= row["f1"] <= row["f1_high"]


def test_random_masks_show_mean_and_spread_and_keep_their_rows(rows: list[dict], squad: dict[str, dict]):
    draws = [squad["random-h50-f50/pruned"]] + [
        squad[f"random-h50-f50/pruned#{draw}"] for draw in range(1, 5)
    ]
    mean = sum(row["f1"] for row in draws) / 5
    text = terminal_text(rows)
    line = next(line for line in text.splitlines() if "mean of 5 masks" in line)
    assert f"{mean:.1f}" in line
    assert "sd" in line
    assert "#2" not in text, "single draws are in points.csv only"
    assert "mean of 5 masks" in points_markdown(rows)
    point = next(p for p in plotted_points(list(squad.values())) if p[:2] == ("random", "h50-f50"))
    assert point.f1 == pytest.approx(mean)
    assert point.f1_span == (min(row["f1"] for row in draws), max(row["f1"] for row in draws))


def test_terminal_fits_80_columns(rows: list[dict]):
    assert max(map(len, terminal_text(rows).splitlines())) <= 80
    long = [row | {"device": "A processor with a very long name indeed @ 2.10GHz"} for row in rows]
    assert max(map(len, terminal_text(long).splitlines())) <= 80


def test_same_input_same_bytes(folders, tmp_path: Path):
    texts = [build_report({"resamples": 200}, *folders, tmp_path / name) for name in ("a", "b")]
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    names = {str(path) for path in files}
    assert names >= {f"plots/{pair}.{k}" for pair in ("bert-squad2", "roberta-nq") for k in ("png", "svg")}
    assert names >= {
        "tables/matrix.csv",
        *(f"tables/points.{kind}" for kind in ("csv", "md", "txt", "tex")),
    }
    assert names >= {"report.html", "tables/macros.tex"}
    assert (tmp_path / "a" / "tables" / "points.txt").read_text(encoding="utf-8") == texts[0]
    assert texts[0] == texts[1]
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def test_figure_names_its_setting_and_labels_its_points(squad: dict[str, dict]):
    figure = f1_speedup_figure(list(squad.values()))
    words = " ".join(text.get_text() for text in [*figure.texts, *figure.axes[0].texts])
    for expected in ("bert on squad2", "Example CPU 3000", "8 x 128", "float32", "l0 h50-f50", "no-answer"):
        assert expected in words
    assert "McCarley" not in words


def test_a_cut_hidden_width_has_a_column_of_its_own(squad: dict[str, dict]):
    assert "hidden %" not in points_markdown(list(squad.values()))
    name = "l0-h25-f25/pruned"
    rows = [dict(row, hidden_kept=75.0) if key == name else row for key, row in squad.items()]
    table = [line for line in points_markdown(rows).splitlines() if line.startswith("|")]
    first = table[
        : next((i for i, line in enumerate(table) if i > 1 and line.startswith("| variant")), None)
    ]
    assert len({line.count("|") for line in first}) == 1
    found = {cells[1].strip(): cells[-2].strip() for line in first if (cells := line.split("|"))}
    assert found["variant"] == "hidden %"
    assert (found[name], found["teacher"]) == ("75", "100")


def test_rows_at_a_setting_of_their_own_are_named(squad: dict[str, dict]):
    odd = dict(squad["l0-h25-f25/pruned"], backend="sdpa")
    rows = [odd if name == "l0-h25-f25/pruned" else row for name, row in squad.items()]
    timed = [line for line in points_markdown(rows).splitlines() if line.startswith("- timed:")]
    assert [line.partition(" (")[2] for line in timed] == ["all others)", "l0-h25-f25/pruned)"]
    assert ", sdpa," in timed[1]
    texts = [text.get_text() for text in f1_speedup_figure(rows).findobj(Text)]
    assert any("some rows at a setting of their own" in text for text in texts)


def test_labels_do_not_overlap(squad: dict[str, dict]):
    figure = f1_speedup_figure(list(squad.values()))
    renderer = figure.canvas.get_renderer()
    labels = [text for text in figure.axes[0].texts if " h" in text.get_text()]
    for label in labels:
        label.update_positions(renderer)
    # Text's own method: an annotation's would count the line to its point in.
    boxes = [Text.get_window_extent(label, renderer) for label in labels]
    assert len(boxes) == 7
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])


def test_published_points_only_when_asked_and_only_on_their_data_set(
    rows: list[dict], squad: dict[str, dict]
):
    figure = f1_speedup_figure(list(squad.values()), published=True)
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "McCarley et al." in words
    nq = [row for row in rows if row["dataset"] == "nq"]
    assert "McCarley" not in points_markdown(rows)
    claimed = points_markdown(nq, published=True)
    assert "near-doubled" in claimed
    assert not any(point.source in claimed for point in PUBLISHED if point.source != PAPER)
    assert "84.6" not in claimed
    table = points_markdown(rows, published=True)
    assert all(point.source in table and point.hardware in table for point in PUBLISHED)


def test_natural_questions_have_long_answers_and_a_question_blind_row(rows: list[dict]):
    nq = [row for row in rows if row["dataset"] == "nq"]
    assert [row["variant"] for row in nq[:4]] == ["no-answer", "longest_candidate", "teacher", "teacher+"]
    blind = nq[1]
    assert blind["long_f1"] is not None
    assert (blind["delta_f1"], blind["speedup"], blind["latency_ms"]) == (None, None, None)
    table, squad = (
        points_markdown([row for row in rows if row["dataset"] == name]) for name in ("nq", "squad2")
    )
    assert "best long F1" in table
    assert "HasAns" not in table
    assert "long F1" not in squad
    assert "HasAns" in squad


def test_long_answers_have_an_interval_from_the_same_resamples(rows: list[dict]):
    nq = [row for row in rows if row["dataset"] == "nq"]
    assert all(row["long_f1_low"] < row["long_f1"] < row["long_f1_high"] for row in nq[2:])
    span = f"{nq[2]['long_f1_low']:.1f} to {nq[2]['long_f1_high']:.1f}"
    line = next(line for line in points_markdown(nq).splitlines() if line.startswith("| teacher "))
    assert span in line
    assert all(row["long_f1_low"] is None for row in rows if row["dataset"] == "squad2")


def test_older_folders_leave_the_interval_of_long_answers_out_and_say_why(tmp_path: Path):
    rows = build_rows(collect([write_evaluate(tmp_path, "bert", "nq", older=True)], []), 200)
    teacher = next(row for row in rows if row["variant"] == "teacher")
    assert (teacher["long_f1"] is None, teacher["long_f1_low"]) == (False, None)
    assert "run evaluate again" in teacher["not_measured"]
    assert "run evaluate again" in points_markdown(rows)


def test_a_reference_is_called_what_it_is_and_not_better(rows: list[dict]):
    """The two teachers may differ by less than their intervals: the choice is the hold-out's alone."""
    for text in (points_markdown(rows), terminal_text(rows)):
        assert "the teacher with the higher hold-out F1" in " ".join(text.split())
        assert "better" not in text


def test_published_speedups_are_the_papers():
    ours = [point.speedup for point in PUBLISHED if point.work == "McCarley et al."]
    assert ours == [1.00, 1.19, 1.29, 1.63, 1.95, 2.24, 2.40]


def test_criteria_keep_their_look_and_never_share_one():
    names = ["l0", "mine", "random", "gain", "first_layers", "theirs", *BUILT_IN, "fourth", "fifth"]
    chosen = looks(names)
    assert len(set(chosen.values())) == len(set(names))
    assert looks(["l0"])["l0"] == chosen["l0"]
    assert {colour for colour, _ in chosen.values()} <= set(COLOURS)


def test_settings_of_one_criterion_share_its_colour():
    names = ["mine@b", "l0@ends", "l0", "l0_joint", "mine", "l0@short", "fisher@steps"]
    chosen = looks(names)
    assert len(set(chosen.values())) == len(names)
    for name in names:
        base = name.partition("@")[0]
        assert chosen[name][0] == (chosen[base] if base in chosen else looks([base])[base])[0], name


def test_gpu_figures_pass_through(folders, tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2")
    profile = write_profile(tmp_path, run.name)
    described = json.loads((profile / "cells.json").read_text())
    for cell in described["cells"]:
        cell |= {
            "energy_j": 0.125,
            "energy_reason": None,
            "peak_memory_mb": 512.5,
            "peak_memory_reason": None,
        }
    (profile / "cells.json").write_text(json.dumps(described))
    teacher = build_rows(collect([run], [profile]), 300)[1]
    assert (teacher["energy_j"], teacher["peak_memory_mb"], teacher["not_measured"]) == (0.125, 512.5, None)


def breakages() -> dict[str, tuple]:
    """Name -> (what to break in an evaluate folder, what the error must say)."""

    def scores(change):
        def apply(run: Path) -> None:
            value = json.loads((run / "scores.json").read_text())
            change(value)
            (run / "scores.json").write_text(json.dumps(value))

        return apply

    return {
        "absent": (lambda run: (run / "scores.json").unlink(), "scores.json: no such file"),
        "not json": (lambda run: (run / "scores.json").write_text("{"), "scores.json:1: invalid JSON"),
        "no teacher": (scores(lambda value: value["variants"].pop("teacher")), "expected a row 'teacher'"),
        "no questions": (
            scores(lambda value: value["variants"].update(new=scores_entry("pruned", 50.0))),
            "expected rows of the variant 'new'",
        ),
        "another f1": (
            scores(lambda value: value["variants"]["teacher"].update(f1=12.0)),
            "teacher: f1 is 12.0, but its questions give",
        ),
        "another long f1": (
            scores(lambda value: value["variants"]["teacher"].update(long_f1=12.0)),
            "teacher: long_f1 is 12.0, but its questions give",
        ),
    }


@pytest.mark.parametrize("name", list(breakages()))
def test_broken_input_is_named(name: str, tmp_path: Path):
    damage, message = breakages()[name]
    run = write_evaluate(tmp_path, "bert", "nq" if "long" in name else "squad2", questions=40)
    damage(run)
    with pytest.raises(InputError, match=message):
        collect([run], [])


def test_profile_without_its_run_is_refused(folders, tmp_path: Path):
    stray = write_profile(tmp_path, "other-squad2-s1")
    with pytest.raises(InputError, match="'other-squad2-s1' has no evaluate folder"):
        collect(folders[0], [stray])


def test_report_package_is_torch_free():
    import subprocess

    code = (
        "import sys, qaprune.report.stage; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
