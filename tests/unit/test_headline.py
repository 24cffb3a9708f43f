"""The headline: chosen on the hold-out alone, and no difference called where an interval holds none."""

from __future__ import annotations

from pathlib import Path

import pytest

from qaprune.report.collect import collect
from qaprune.report.headline import MOST_LOST, choose, headline
from qaprune.report.recommend import Need, recommend
from qaprune.report.rows import build_rows, name_of
from qaprune.report.tables import points_csv
from tests.unit.report_data import write_evaluate, write_profile


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Two seeds of BERT on SQuAD 2.0, both timed."""
    folder = tmp_path_factory.mktemp("results")
    runs = [write_evaluate(folder, "bert", "squad2", seed) for seed in (13, 14)]
    return build_rows(collect(runs, [write_profile(folder, run.name) for run in runs]), 200)


@pytest.fixture
def group(made: list[dict]) -> list[dict]:
    return [dict(row) for row in made if row["seed"] == 13]


def named(group: list[dict], name: str) -> dict:
    return next(row for row in group if name_of(row) == name)


def lose(group: list[dict], name: str, points: float) -> dict:
    """Set what a row loses to its teacher on the hold-out."""
    row = named(group, name)
    row["holdout_f1"] = named(group, row["reference"])["holdout_f1"] - points
    return row


def test_the_fastest_row_within_the_loss_is_chosen(group):
    for row in group:
        if row["criterion"]:
            row["holdout_f1"] -= 50
    slow = lose(group, "l0-h50-f50/distilled", 0.2)
    fast = lose(group, "gain-h25-f25/retrained", MOST_LOST - 0.01)
    assert choose(group).rows == (fast,)
    fast["holdout_f1"] -= 0.02
    assert choose(group).rows == (slow,)


def test_of_one_points_recoveries_a_lucky_timing_does_not_choose(group):
    for row in group:
        if row["criterion"]:
            row["holdout_f1"] -= 50
    best = lose(group, "l0-h50-f50/distilled", 0.2)
    lose(group, "l0-h50-f50/retrained", 0.9)["speedup"] = best["speedup"] + 0.01
    assert choose(group).rows == (best,)


@pytest.mark.parametrize("seeds", [(13,), (13, 14)])
@pytest.mark.parametrize("lift", [0, 3, 10, 40])
def test_it_names_the_point_that_recommend_does(made, tmp_path: Path, seeds, lift):
    """What `qaprune recommend --max-f1-drop 1` prints, or the point that it says is nearest."""
    rows = [dict(row) for row in made if row["seed"] in seeds]
    for row in rows:
        if row["criterion"]:
            row["holdout_f1"] += lift
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "points.csv").write_text(points_csv(rows))
    (answer,) = recommend([tmp_path], Need("squad2", MOST_LOST))
    best = answer.points[0] if answer.points else answer.misses[0].candidate
    assert name_of(choose(rows).rows[0]) == best.name


def test_dev_plays_no_part(group):
    before = choose(group).rows[0]
    for number, row in enumerate(group):
        for column in ("f1", "f1_best", "em", "hasans_f1", "delta_f1", "delta_f1_low", "delta_f1_high"):
            if row[column] is not None:
                row[column] = 7.0 * number % 90
    assert choose(group).rows[0] is before


def test_as_much_as_the_teacher_is_no_gain_of_minus_nothing(group):
    for row in group:
        if row["criterion"]:
            row["holdout_f1"] -= 50
    for points in (0.0, -0.04, 0.04):
        lose(group, "l0-h50-f50/distilled", points)
        assert "(it loses 0.0)" in " ".join(headline(group).details)


def test_on_natural_questions_it_is_the_f1_of_short_answers(group):
    for row in group:
        row["long_f1"] = 60.0
    assert "; short-answer F1 " in headline(group).details[0]


def test_where_none_is_within_the_loss_the_least_is_named_as_such(group):
    for row in group:
        if row["criterion"]:
            row["holdout_f1"] -= 50
    least = lose(group, "l0-h25-f25/retrained", 4.0)
    found = headline(group)
    assert found.rows == (least,)
    assert "no row stays within 1 F1 there, this one loses least (4.0)" in " ".join(found.details)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(-0.7, -0.1, True), (0.1, 0.7, True), (-0.7, 0.0, False), (0.0, 0.3, False), (-0.9, 0.2, False)],
)
def test_a_difference_inside_its_interval_is_none(group, low, high, shown):
    row = choose(group).rows[0]
    row |= {"speedup": 2.03, "speedup_low": 1.9, "speedup_high": 2.1}
    row |= {"delta_f1": (low + high) / 2, "delta_f1_low": low, "delta_f1_high": high}
    claim = headline(group).claim
    assert claim.startswith(f"2.03x faster at {(low + high) / 2:+.1f} F1 [{low:+.1f}, {high:+.1f}]")
    assert ("no difference in F1 shown" in claim) is not shown


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (1.1, 1.3, "1.20x faster at"),
        (0.9, 1.3, "1.20x as fast (no difference in speed shown)"),
        (0.7, 0.9, "1.20x as fast at"),
    ],
)
def test_a_speedup_whose_interval_holds_one_is_not_called_faster(group, low, high, words):
    choose(group).rows[0].update(speedup=1.2, speedup_low=low, speedup_high=high)
    for row in group:
        if row["criterion"] and row["speedup"] != 1.2:
            row["holdout_f1"] -= 50
    assert headline(group).claim.startswith(words)


def test_the_details_say_which_row_data_device_and_setting(group):
    found = headline(group)
    text = " ".join((found.pair, *found.details))
    for words in ("bert on squad2", name_of(found.rows[0]), "seed 13", "Example CPU 3000", "batch 8 x 128"):
        assert words in text
    assert "float32, eager, compile off, 2 threads" in text
    assert "Chosen on the train hold-out" in text
    assert "answering nothing" in text
    assert "questions that have an answer" in text


def test_several_seeds_make_one_sentence_of_what_all_of_them_have(made):
    rows = [dict(row) for row in made]
    found = headline(rows)
    assert [row["seed"] for row in found.rows] == [13, 14]
    for low, high, shown in ((-0.9, 0.4, False), (-0.9, -0.2, True)):
        for row, delta in zip(found.rows, (-0.2, -0.6), strict=True):
            row |= {"delta_f1": delta, "delta_f1_low": low, "delta_f1_high": high}
        found.rows[0]["delta_f1_low"] = -1.0
        claim = headline(rows).claim
        assert f"at -0.4 F1 (mean of 2 seeds) [-1.0, {high:+.1f}]" in claim
        assert ("no difference in F1 shown" in claim) != shown
    for (first, second), words in {
        ((-1.0, 0.4), (-0.9, -0.2)): "[-1.0, +0.4]: a loss in 1 of 2 seeds",
        ((-1.0, 0.4), (0.1, 0.5)): "[-1.0, +0.5]: a gain in 1 of 2 seeds",
        ((-1.0, -0.4), (0.1, 0.5)): "[-1.0, +0.5]: a loss in 1 and a gain in 1 of 2 seeds",
    }.items():
        for row, (low, high) in zip(found.rows, (first, second), strict=True):
            row |= {"delta_f1_low": low, "delta_f1_high": high}
        assert headline(rows).claim.endswith(words)
    gone = found.rows[1]
    gone["speedup"] = None
    assert name_of(headline(rows).rows[0]) != name_of(gone)


def test_without_timings_nothing_is_chosen_and_the_reason_is_given(group):
    for row in group:
        row |= {"speedup": None, "not_measured": "speed: this run was not profiled"}
    found = headline(group)
    assert found.rows == ()
    assert found.details == ("speed: this run was not profiled",)


def test_untrained_models_have_a_speed_and_no_quality(group):
    for row in group:
        row |= dict.fromkeys(("f1", "holdout_f1", "delta_f1", "reference"))
    found = headline(group)
    assert found.claim.endswith("the teacher's speed; F1 was not measured")
    assert found.rows == ()
