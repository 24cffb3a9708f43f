"""`qaprune recommend`: the rule, what it never looks at, near misses, other shapes, and bad input."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from qaprune.cli import main
from qaprune.report.collect import collect
from qaprune.report.recommend import Need, recommend
from qaprune.report.rows import build_rows, matrix_rows
from qaprune.report.tables import matrix_csv, points_csv
from qaprune.stage import digest
from tests.unit.report_data import write_evaluate, write_profile

HOLDOUT = {
    "teacher": 80.0,
    "teacher+": 81.0,
    "l0-h50-f50/pruned": 70.0,
    "l0-h50-f50/retrained": 79.5,
    "l0-h50-f50/distilled": 80.5,
    "gain-h50-f50/distilled": 80.2,
    "l0-h25-f25/distilled": 78.0,
    "gain-h25-f25/distilled": 76.0,
}
"""Hold-out F1 of the rows that a test may get; all others have 50. Speeds: `report_data.variant_table`."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of two seeds of one model, timed at 8 x 128."""
    folder = tmp_path_factory.mktemp("made")
    evaluate = [write_evaluate(folder, "bert", "squad2", seed, questions=80) for seed in (13, 14)]
    profile = [write_profile(folder, run.name, rounds=12) for run in evaluate]
    for run in evaluate:
        scores = json.loads((run / "scores.json").read_text())
        for key, entry in scores["variants"].items():
            entry["holdout_f1"] = HOLDOUT.get(key, 50.0)
        (run / "scores.json").write_text(json.dumps(scores))
    runs = collect(evaluate, profile)
    (folder / "tables").mkdir()
    (folder / "tables" / "points.csv").write_text(points_csv(build_rows(runs, 100)))
    (folder / "tables" / "matrix.csv").write_text(matrix_csv(matrix_rows(runs, 100)))
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy with seed 13 alone, to be edited."""
    folder = tmp_path / "small"
    shutil.copytree(made / "tables", folder / "tables")
    for name in ("points.csv", "matrix.csv"):
        edit(folder, lambda row: None, name, keep=lambda row: row["seed"] == "13")
    return folder


def edit(
    folder: Path,
    change: Callable[[dict[str, str]], object],
    name: str = "points.csv",
    keep: Callable[[dict[str, str]], bool] = lambda row: True,
) -> None:
    """Change the rows of a table in place, and keep some."""
    path = folder / "tables" / name
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    names = list(rows[0])
    rows = [row for row in rows if keep(row)]
    for row in rows:
        change(row)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def point(row: dict[str, str]) -> str:
    return f"{row['criterion']}-{row['budget']}/{row['variant']}" if row["criterion"] else row["variant"]


def names(results: Path, drop: float, **more: object) -> list[str]:
    (answer,) = recommend([results], Need("squad2", drop, **more))
    return [candidate.name for candidate in answer.points]


def test_the_fastest_within_the_drop_and_the_runner_up(results: Path):
    assert names(results, 1.0) == ["l0-h50-f50/distilled", "gain-h50-f50/distilled"]
    assert names(results, 3.0)[0] == "l0-h25-f25/distilled"
    assert names(results, 5.0)[:2] == ["l0-h25-f25/distilled", "gain-h25-f25/distilled"]


def test_the_drop_is_against_the_better_teacher_on_the_holdout(results: Path):
    """teacher+ has 81: what teacher's 80 would let through is refused."""
    assert names(results, 0.5) == ["l0-h50-f50/distilled"]
    assert names(results, 0.4) == []
    edit(results, lambda row: row.update(holdout_f1="70.0") if row["variant"] == "teacher+" else None)
    assert names(results, 0.0)[0] == "l0-h50-f50/distilled"


def test_dev_never_chooses(results: Path):
    before = names(results, 1.0), names(results, 3.0, min_speedup=1.5)
    edit(results, lambda row: row.update(f1=str(99 if row["variant"] == "pruned" else 1), f1_best="0"))
    assert (names(results, 1.0), names(results, 3.0, min_speedup=1.5)) == before


def test_the_speedup_counts_by_the_lower_end_of_its_interval(results: Path):
    def widen(row):
        if point(row) == "l0-h25-f25/distilled":
            row |= {"speedup": "2.7", "speedup_low": "1.9", "speedup_high": "3"}

    assert names(results, 3.0, min_speedup=2.0) == ["l0-h25-f25/distilled"]
    edit(results, widen)
    assert names(results, 3.0, min_speedup=2.0) == []
    assert names(results, 3.0, min_speedup=1.9)[0] == "l0-h25-f25/distilled"


def test_of_one_points_variants_the_best_on_the_holdout_stands_for_it(results: Path):
    """Recovery changes no width: a lucky timing must not choose the worse weights."""

    def lucky(row):
        if point(row) == "l0-h50-f50/retrained":
            row |= {"speedup": "1.9", "speedup_low": "1.88", "speedup_high": "1.92"}

    edit(results, lucky)
    assert names(results, 2.0)[0] == "l0-h50-f50/distilled"
    # Nor where that timing alone passes a limit.
    assert "l0-h50-f50/retrained" not in names(results, 2.0, min_speedup=1.85)


def test_several_seeds_count_by_their_mean_and_the_best_one_is_named(made: Path, tmp_path: Path, capsys):
    folder = tmp_path / "two"
    shutil.copytree(made / "tables", folder / "tables")

    def worse(row):
        if point(row) == "l0-h50-f50/distilled" and row["seed"] == "13":
            row["holdout_f1"] = "79.1"  # 1.9 below; the mean of the seeds is 1.2

    edit(folder, worse)
    assert "l0-h50-f50/distilled" not in names(folder, 1.0)
    (answer,) = recommend([folder], Need("squad2", 1.3))
    best = answer.points[0]
    assert (best.name, [seed.row["seed"] for seed in best.seeds]) == ("l0-h50-f50/distilled", [14, 13])
    assert best.drop == pytest.approx(1.2)
    assert main(["recommend", str(folder), "--dataset", "squad2", "--max-f1-drop", "1.3"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    f1, delta = (statistics.fmean(seed.row[name] for seed in best.seeds) for name in ("f1", "delta_f1"))
    assert "mean of seeds 13, 14: 1.20 F1 lost" in out
    assert f"x; dev F1 {f1:.1f}, to the teachers {delta:+.1f} below, seed 14, the best" in out


def test_a_point_of_one_seed_is_not_compared_with_means_of_two(made: Path, tmp_path: Path, capsys):
    folder = tmp_path / "two"
    shutil.copytree(made / "tables", folder / "tables")
    edit(folder, lambda row: None, keep=lambda row: row["seed"] == "13" or row["budget"] != "h25-f25")
    (answer,) = recommend([folder], Need("squad2", 3.0))
    assert answer.points[0].name == "l0-h50-f50/distilled"
    assert "l0-h25-f25/distilled" in answer.left_out
    assert main(["recommend", str(folder), "--dataset", "squad2", "--max-f1-drop", "3"]) == 0
    assert "left out, not measured at every seed: " in capsys.readouterr().out


def test_none_within_the_limits_exits_3_and_names_the_closest_miss(results: Path, capsys):
    asked = ["recommend", str(results), "--dataset", "squad2", "--max-f1-drop", "1", "--min-speedup", "2.5"]
    assert main(asked) == 3
    out = capsys.readouterr().out
    assert "no measured point meets this" in out
    closest = out.index("closest miss: --min-speedup")
    assert "l0-h50-f50/distilled" in out[closest:].splitlines()[0]
    other = out[out.index("the other limit: --max-f1-drop, 2.00 F1 too much lost") :]
    assert "l0-h25-f25/distilled" in other.splitlines()[0]
    assert main([*asked[:5], "0", "--json"]) == 3
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["recommended"] is None
    assert [miss["limit"] for miss in answer["misses"]] == ["--max-f1-drop"]


def test_a_point_off_both_limits_is_named_where_none_meets_either(results: Path):
    (answer,) = recommend([results], Need("squad2", 0.1, 9.0))
    assert [miss.limit for miss in answer.misses] == ["--max-f1-drop and --min-speedup"]


def test_the_text_has_figures_intervals_the_rule_and_fits_eighty_columns(results: Path, capsys):
    folder = results / "recover" / "bert-squad2-s13" / "l0-h50-f50" / "distilled"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("")
    assert main(["recommend", str(results), "--dataset", "squad2", "--max-f1-drop", "1"]) == 0
    out = capsys.readouterr().out
    assert "hold-out F1 80.5, teacher+ 81.0: 0.50 lost" in out
    assert "rule: Of the timed points" in out
    assert "Example CPU 3000, batch 8 x 128, 2 threads" in out
    assert f"checkpoint {folder}" in out
    target = "results/small/recover/bert-squad2-s13/gain-h50-f50/distilled/model.safetensors"
    assert f"snakemake {target} --cores all --configfile config/small.yaml" in out
    free = [line for line in out.splitlines() if "checkpoint" not in line and "snakemake" not in line]
    assert max(map(len, free)) <= 80


def test_another_dev_sets_points_lead_to_the_checkpoints_that_were_scored(results: Path, capsys):
    """`checkpoints_of: squad2` trains nothing on news."""
    for name in ("points.csv", "matrix.csv"):
        edit(results, lambda row: row.update(dataset="news"), name)
    teacher, evaluate = results / "teacher" / "bert-squad2-s13", results / "evaluate" / "bert-news-s13"
    for folder in (teacher, evaluate):
        folder.mkdir(parents=True)
    record = {"stage": "teacher", "spec": {}, "inputs": {}}
    (teacher / "stage.json").write_text(json.dumps(record))
    (evaluate / "stage.json").write_text(json.dumps({"inputs": {"variant teacher": digest(teacher)}}))
    folder = results / "recover" / "bert-squad2-s13" / "l0-h50-f50" / "distilled"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("")
    assert main(["recommend", str(results), "--dataset", "news", "--max-f1-drop", "1"]) == 0
    out = capsys.readouterr().out
    assert f"checkpoint {folder}" in out
    assert "results/small/recover/bert-squad2-s13/gain-h50-f50/distilled/model.safetensors" in out
    assert "bert-news-s13" not in out


def test_tables_alone_in_a_folder_of_another_name_make_no_wrong_command(results: Path, capsys):
    moved = results.with_name("small-cpu")
    results.rename(moved)
    assert main(["recommend", str(moved), "--dataset", "squad2", "--max-f1-drop", "1"]) == 0
    out = capsys.readouterr().out
    assert "small-cpu" not in out
    target = "results/NAME/recover/bert-squad2-s13/l0-h50-f50/distilled/model.safetensors"
    assert f"snakemake {target} --cores all --configfile CONFIG" in out
    assert "(results/NAME and CONFIG: those of the run that made these rows)" in " ".join(out.split())


def test_json_carries_the_rows_figures_and_folders(results: Path, capsys):
    assert main(["recommend", str(results), "--dataset", "squad2", "--max-f1-drop", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["need"]["max_f1_drop"] == 1.0
    (answer,) = found["answers"]
    best = answer["recommended"]
    assert (best["criterion"], best["budget"], best["variant"]) == ("l0", "h50-f50", "distilled")
    (seed,) = best["seeds"]
    assert seed["holdout_drop"] == pytest.approx(0.5)
    assert seed["holdout_reference"] == "teacher+"
    assert seed["speedup_low"] <= seed["speedup"] <= seed["speedup_high"]
    assert seed["f1_low"] <= seed["f1"] <= seed["f1_high"]
    assert seed["checkpoint"] is None
    assert seed["command"].startswith("snakemake results/small/recover/bert-squad2-s13/")
    assert answer["runner_up"]["criterion"] == "gain"


def add_shape(results: Path, batch: int, fastest: str) -> None:
    """Every cell of matrix.csv again at another batch, where l0 at half size is eight times as fast."""
    path = results / "tables" / "matrix.csv"
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    for row in list(rows):
        more = row | {"batch": str(batch), "fastest": fastest}
        if point(row) == "gain-h50-f50/distilled":
            more |= {"speedup": "8", "speedup_low": "7.9", "speedup_high": "8.1"}
        rows.append(more)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def test_another_shape_takes_its_speeds_from_the_matrix(results: Path):
    add_shape(results, 1, "yes")
    assert names(results, 1.0)[0] == "l0-h50-f50/distilled"
    assert names(results, 1.0, batch=1)[0] == "gain-h50-f50/distilled"
    assert names(results, 1.0, batch=1, length=128)[0] == "gain-h50-f50/distilled"
    assert names(results, 1.0, batch=8)[0] == "l0-h50-f50/distilled"


def test_only_each_sides_fastest_setting_counts(results: Path):
    add_shape(results, 8, "no")
    assert names(results, 1.0, batch=8)[0] == "l0-h50-f50/distilled"


def mixed(folder: Path) -> None:
    edit(
        folder,
        lambda row: row.update(fingerprint="other") if row["criterion"] == "gain" else None,
        keep=lambda row: True,
    )


def no_speed(folder: Path) -> None:
    edit(folder, lambda row: row.update(speedup="", latency_ms="", not_measured="no clock"))


def untrained(folder: Path) -> None:
    edit(folder, lambda row: row.update(f1=""))


def two_versions(folder: Path) -> None:
    edit(folder, lambda row: row.update(schema_version="1") if row["criterion"] == "gain" else None)


def no_tables(folder: Path) -> None:
    shutil.rmtree(folder / "tables")


def no_holdout(folder: Path) -> None:
    edit(folder, lambda row: row.update(holdout_f1=""))


def nothing(folder: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("plant", "options", "code", "message"),
    [
        (nothing, ["--dataset", "squad"], 1, "no rows of 'squad'; did you mean 'squad2'?"),
        (nothing, ["--dataset", "natural"], 1, "no rows of 'natural'; there are squad2"),
        (nothing, ["--model", "brt"], 1, "--model: no rows of 'brt'; did you mean 'bert'?"),
        (
            nothing,
            ["--batch", "1"],
            1,
            "bert was not timed at that shape; there are (batch x length) 8 x 128",
        ),
        (mixed, [], 4, "timed on 2 machines, Example CPU 3000 (abc), Example CPU 3000 (other)"),
        (no_speed, [], 1, "bert on squad2: no point was timed (no clock)"),
        (untrained, [], 1, "untrained models, timed for speed alone"),
        (two_versions, [], 1, "schema version 1 and 2; this qaprune reads version 2"),
        (no_tables, [], 1, "no tables/points.csv here"),
        (no_holdout, [], 1, "teacher has no holdout_f1 to choose by"),
    ],
)
def test_bad_input_is_one_line(results: Path, capsys, plant, options, code, message):
    plant(results)
    words = ["recommend", str(results), "--dataset", "squad2", "--max-f1-drop", "1", *options]
    assert main(words) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_two_shapes_that_fit_must_be_told_apart(results: Path, capsys):
    add_shape(results, 1, "yes")
    words = ["recommend", str(results), "--dataset", "squad2", "--max-f1-drop", "1", "--length", "128"]
    assert main(words) == 1
    assert "name both; there are (batch x length) 8 x 128, 1 x 128" in capsys.readouterr().err


def test_several_folders_are_read_as_one_table_and_no_row_twice(made: Path, results: Path, capsys):
    other = results.parent / "other"
    shutil.copytree(made / "tables", other / "tables")
    edit(other, lambda row: None, keep=lambda row: row["seed"] == "14")
    (answer,) = recommend([results, other], Need("squad2", 1.0))
    assert {seed.results for seed in answer.points[0].seeds} == {results, other}
    words = ["recommend", str(results), str(results), "--dataset", "squad2", "--max-f1-drop", "1"]
    assert main(words) == 1
    assert "expected each row once" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--max-f1-drop=-1", "--min-speedup=0", "--batch=0", "--length=x"])
def test_limits_without_a_meaning_are_a_usage_error(results: Path, option):
    words = ["recommend", str(results), "--dataset", "squad2", "--max-f1-drop", "1", option]
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_committed_tables_can_be_asked(capsys):
    from tests.conftest import ROOT

    folder = ROOT / "results" / "reference" / "small-cpu"
    assert main(["recommend", str(folder), "--dataset", "squad2", "--max-f1-drop", "99"]) == 0
    assert "--configfile CONFIG" in capsys.readouterr().out


def test_a_run_of_local_files_is_made_again_from_them(results: Path, capsys):
    record = {"stage": "report", "spec": {"name": "small", "data_root": "/data of mine"}, "inputs": {}}
    (results / "stage.json").write_text(json.dumps(record))
    words = ["recommend", str(results), "--dataset", "squad2", "--max-f1-drop", "1", "--json"]
    assert main(words) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    command = answer["recommended"]["seeds"][0]["command"]
    assert command.endswith("--configfile config/small.yaml --config data_root='/data of mine'")
