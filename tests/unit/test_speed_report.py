"""Speed in the report: fastest settings, matrix.csv, questions end to end, untrained models."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from qaprune.errors import InputError
from qaprune.report.collect import collect
from qaprune.report.rows import build_rows, matrix_rows
from qaprune.report.stage import build_report
from tests.unit.compare_data import edit_json, keep_timed
from tests.unit.report_data import write_evaluate, write_profile


def matrix_of(folder: Path, **more: object) -> tuple[list[dict], list[dict]]:
    """Rows of points.csv and of matrix.csv of a run that was timed with two attention backends."""
    run = write_evaluate(folder, "bert", "squad2")
    profile = write_profile(folder, run.name, settings=(("eager", 1.5), ("sdpa", 1.0)), **more)
    runs = collect([run], [profile])
    return build_rows(runs, 300), matrix_rows(runs, 300)


def test_speedup_is_against_the_teacher_at_its_own_best(tmp_path: Path):
    points, matrix = matrix_of(tmp_path)
    timed = [row for row in points if row["latency_ms"]]
    assert {(row["backend"], row["teacher_backend"]) for row in timed} == {("sdpa", "sdpa")}
    slow = next(r for r in matrix if r["backend"] == "eager" and r["criterion"] == "l0")
    quick = next(r for r in matrix if r["backend"] == "sdpa" and r["variant"] == slow["variant"])
    assert (slow["fastest"], quick["fastest"]) == ("no", "yes")
    assert slow["teacher_backend"] == "sdpa"
    assert slow["speedup_same"] / slow["speedup"] == pytest.approx(1.5, rel=0.02)
    assert quick["speedup_same"] == quick["speedup"]
    assert slow["speedup_low"] < slow["speedup"] < slow["speedup_high"]
    assert slow["latency_e2e_ms"] is None, "questions are timed at the fastest setting"


def test_a_median_has_an_interval_and_a_tail(tmp_path: Path):
    _, matrix = matrix_of(tmp_path)
    for row in matrix:
        assert row["latency_low_ms"] < row["latency_ms"] < row["latency_high_ms"]
        assert row["latency_ms"] < row["latency_p90_ms"] < row["latency_p99_ms"]


def test_end_to_end_figures_are_a_question(tmp_path: Path):
    points, _ = matrix_of(tmp_path)
    teacher = next(row for row in points if row["variant"] == "teacher")
    assert teacher["latency_e2e_ms"] == pytest.approx((teacher["latency_ms"] + 6) / 6, rel=1e-6)
    fast = next(row for row in points if row["criterion"] == "l0" and row["budget"] == "h25-f25")
    assert 1 < fast["speedup_e2e"] < fast["speedup"], "tokenising and decoding take their share"


def test_a_cell_that_did_not_run_keeps_its_reason(tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2")
    profile = write_profile(tmp_path, run.name)
    refused = {"backend": "sdpa", "not_measured": "does not fit: out of memory"}
    edit_json(profile / "cells.json", lambda d: d["cells"].append(d["cells"][0] | refused))
    row = matrix_rows(collect([run], [profile]), 300)[-1]
    assert (row["backend"], row["latency_ms"], row["speedup"]) == ("sdpa", None, None)
    assert row["not_measured"] == "does not fit: out of memory"


def test_a_warm_up_that_was_not_steady_marks_its_rows(tmp_path: Path):
    run = write_evaluate(tmp_path, "bert", "squad2")
    profile = write_profile(tmp_path, run.name)
    unsteady = {"warmup_steady": False, "warmup_cv_percent": 12.3}
    edit_json(profile / "cells.json", lambda d: [cell.update(unsteady) for cell in d["cells"]])
    teacher = build_rows(collect([run], [profile]), 300)[1]
    assert "warm-up did not become steady (12.3 %)" in teacher["not_measured"]


@pytest.fixture
def speed_only(tmp_path: Path) -> Path:
    """The profile of untrained models at two published cuts and one of the project's."""
    profile = write_profile(tmp_path, "bert-squad2-s13")
    names = ("teacher", "l0-h50-f50/pruned", "l0-h25-f25/pruned", "gain-h50-f50/pruned")
    keep_timed(profile, names)
    budgets = dict(zip(names[1:], ("h56-f51.9", "h39.9-f21.6", "h50-f50"), strict=True))
    facts = {
        name: {
            "criterion": "uniform" if name in budgets else None,
            "budget": budgets.get(name),
            "draw": None,
            "variant": "pruned" if name in budgets else "teacher",
            "params": 1000,
        }
        for name in names
    }
    run = {"model": "bert", "dataset": "squad2", "seed": 13}
    (profile / "variants.json").write_text(json.dumps({"run": run, "variants": facts}))
    (profile / "end_to_end.csv.gz").unlink()
    return profile


def test_untrained_models_have_speed_beside_the_published_one_and_no_quality(speed_only, tmp_path: Path):
    text = build_report({"resamples": 200, "published": True}, [], [speed_only], tmp_path / "out")
    with (tmp_path / "out" / "tables" / "points.csv").open() as stream:
        rows = {row["budget"]: row for row in csv.DictReader(stream)}
    assert {row["f1"] for row in rows.values()} == {""}
    assert rows["h56-f51.9"]["speedup_published"] == "1.63"
    assert rows["h39.9-f21.6"]["speedup_published"] == "2.4"
    assert rows["h50-f50"]["speedup_published"] == "", "no published cut keeps these per cents"
    assert "packed windows hold none" in rows["h50-f50"]["not_measured"]
    assert max(map(len, text.splitlines())) <= 80
    assert "untrained weights" in text
    assert (tmp_path / "out" / "plots" / "bert-squad2.png").stat().st_size > 10_000


def test_a_profile_alone_must_be_one_of_untrained_models(speed_only, tmp_path: Path):
    (speed_only / "variants.json").unlink()
    with pytest.raises(InputError, match=r"no evaluate folder and no variants\.json"):
        collect([], [speed_only])
