"""The gate between two results folders: what it catches, what it leaves alone, what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import compare_real
from qaprune.cli import main
from qaprune.data.examples import open_text
from qaprune.profile.outputs import NOT_FASTEST
from qaprune.report.compare_speed import compare_timings, energy_growth
from qaprune.report.findings import CHANGED, FINE, REGRESSION, UNCLEAR, Tolerances
from qaprune.report.intervals import ratio_of_medians
from tests.unit.compare_data import (
    MEDIAN_MS,
    POINT,
    RUN,
    drop_rows,
    edit_json,
    edit_points,
    give_up_half,
    noisy_seconds,
    replace_in,
    scale_samples,
    timings,
    write_results,
)

SEEDS = range(20)


def slowed(before: dict, after: dict, **more) -> dict[str, set[str]]:
    """Variants with a regression, by measure."""
    found = compare_timings(
        RUN, timings(before, **more), timings(after, **more), Tolerances(), resamples=1000
    )
    by_measure: dict[str, set[str]] = {}
    for finding in found.having(REGRESSION):
        by_measure.setdefault(finding.measure, set()).add(finding.variant)
    return by_measure


# The bar: realistic noise, one variant 20 % slower, on a CPU's tolerance.


def test_a_planted_slowdown_of_one_variant_is_caught_every_time():
    for seed in SEEDS:
        found = slowed(noisy_seconds(seed), noisy_seconds(1000 + seed, {POINT: 1.2}))
        assert set().union(*found.values()) == {POINT}, f"seed {seed}: {found}"


def test_unchanged_pairs_raise_no_alarm():
    alarms = {seed: slowed(noisy_seconds(seed), noisy_seconds(1000 + seed)) for seed in SEEDS}
    assert not any(alarms.values()), alarms


def test_unchanged_pairs_with_few_noisy_rounds_raise_no_alarm_either():
    for seed in SEEDS:
        before, after = (noisy_seconds(number, rounds=20, noise=0.2) for number in (seed, 1000 + seed))
        assert not slowed(before, after), f"seed {seed}"


def test_a_slower_everything_is_caught_and_said_to_be_everything():
    slower = dict.fromkeys(MEDIAN_MS, 1.3)
    before, after = timings(noisy_seconds(1)), timings(noisy_seconds(2, slower))
    found = compare_timings(RUN, before, after, Tolerances(), resamples=300)
    regressions = found.having(REGRESSION)
    assert {finding.variant for finding in regressions} == set(MEDIAN_MS)
    assert {finding.measure for finding in regressions} == {"latency_ms"}, "no variant slowed by itself"
    for finding in regressions:
        expected = "slow the teacher too" if finding.variant == "teacher" else "the teacher moved too"
        assert expected in finding.note


def test_a_slowdown_behind_a_faster_machine_is_caught_against_the_teacher():
    faster = dict.fromkeys(MEDIAN_MS, 0.8)
    found = slowed(noisy_seconds(1), noisy_seconds(2, faster | {POINT: 0.8 * 1.2}))
    assert found == {"speedup_same": {POINT}}


def test_a_gpu_has_the_tighter_default_and_an_asked_tolerance_wins():
    before, after = (noisy_seconds(number, noise=0.005) for number in (1, 1))
    after = {v: {n: s * (1.08 if v == POINT else 1) for n, s in r.items()} for v, r in after.items()}
    assert not slowed(before, after)
    assert slowed(before, after, gpu="Example GPU")["latency_ms"] == {POINT}
    wide = Tolerances(slowdown=50.0)
    a, b = timings(before, gpu="Example GPU"), timings(after, gpu="Example GPU")
    assert not compare_timings(RUN, a, b, wide, resamples=300).having(REGRESSION)


def test_what_noise_hides_is_called_unclear_not_fine():
    before, after = (noisy_seconds(seed, rounds=8, noise=0.4) for seed in (1, 2))
    found = compare_timings(RUN, timings(before), timings(after), Tolerances(), resamples=300)
    assert found.having(UNCLEAR)
    for finding in found.findings:
        if finding.verdict == FINE:
            assert finding.high <= finding.tolerance
        if finding.verdict == UNCLEAR:
            assert finding.low <= finding.tolerance < finding.high


def test_more_windows_a_question_slow_questions_at_equal_latency():
    same = timings(noisy_seconds(3, noise=0.001))
    found = compare_timings(RUN, same, same, Tolerances(), {POINT: (1.0, 1.3)}, resamples=300)
    assert [(f.measure, f.variant) for f in found.having(REGRESSION)] == [("throughput_qps", POINT)]
    (finding,) = found.having(REGRESSION)
    assert finding.change == pytest.approx(30)
    assert finding.baseline / finding.new == pytest.approx(1.3)


# The interval.


def test_ratio_of_medians_scales_with_units_and_turns_over_with_the_sides():
    a, b = (np.random.default_rng(seed).lognormal(0, 0.1, 41) for seed in (1, 2))
    ratio, low, high = ratio_of_medians(a, b)
    assert low <= ratio <= high
    assert ratio_of_medians(1000 * a, 1000 * b) == pytest.approx((ratio, low, high))
    assert ratio_of_medians(a, 3 * b) == pytest.approx((3 * ratio, 3 * low, 3 * high))
    back = ratio_of_medians(b, a)
    assert back == pytest.approx((1 / ratio, 1 / high, 1 / low), rel=0.05)


def test_slow_spells_widen_the_interval_that_single_rounds_would_not():
    """A machine that is 10 % slower for whole stretches: the same values shuffled look far more certain."""
    random = np.random.default_rng(4)
    spells = np.repeat(random.choice([1.0, 1.1], 10), 12) * random.lognormal(0, 0.02, 120)

    def width(values: np.ndarray) -> float:
        _, low, high = ratio_of_medians(np.ones(5), values)
        return high - low

    assert width(spells) > 1.5 * width(random.permutation(spells))


@pytest.mark.parametrize("rounds", [1, 2, 3, 10])
def test_intervals_exist_from_one_round_up(rounds):
    values = np.linspace(1, 2, rounds)
    ratio, low, high = ratio_of_medians(values, 2 * values)
    assert ratio == 2
    assert low <= ratio <= high


# Whole folders, through the command line.


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_results(tmp_path_factory.mktemp("made") / "results")


@pytest.fixture
def a_and_b(made: Path, tmp_path: Path) -> tuple[Path, Path]:
    return tuple(Path(shutil.copytree(made, tmp_path / name)) for name in "ab")


def compare(a: Path, b: Path, *options: str) -> tuple[int, dict]:
    """Exit code and the JSON record."""
    record = a.parent / "record.json"
    code = main(["compare", str(a), str(b), "--json", str(record), *options])
    return code, json.loads(record.read_text())


def regressions(record: dict) -> set[tuple[str, str]]:
    return {(f["variant"], f["measure"]) for f in record["findings"] if f["verdict"] == REGRESSION}


def test_a_folder_against_itself_is_fine(a_and_b, capsys):
    code, record = compare(*a_and_b)
    text = capsys.readouterr().out
    assert (code, record["exit_code"], regressions(record)) == (0, 0, set())
    assert {f["change"] for f in record["findings"]} == {0}
    assert text.startswith("# Comparison: no regression")
    assert "energy: measured in neither (no GPU: timed on the CPU)" in text
    assert {"f1", "params", "flops", "latency_ms", "throughput_qps", "speedup_same"} <= {
        f["measure"] for f in record["findings"]
    }


def test_a_slow_variant_is_listed_first_in_every_output(a_and_b, tmp_path, capsys):
    scale_samples(a_and_b[1], {POINT: 1.4})
    out = [tmp_path / name for name in ("out.md", "out.xml")]
    code, record = compare(*a_and_b, "--markdown", str(out[0]), "--junit", str(out[1]))
    text = capsys.readouterr().out
    assert code == record["exit_code"] == 3
    assert regressions(record) == {(POINT, m) for m in ("latency_ms", "throughput_qps", "speedup_same")}
    assert text == out[0].read_text()
    assert (
        text.index("## Regressions") < text.index(POINT) < text.index("## Not compared") < text.index("|")
    )
    assert "(+40.0 %" in text
    failures = [
        case for case in ElementTree.parse(out[1]).iter("testcase") if case.find("failure") is not None
    ]
    assert {case.get("classname") for case in failures} == {f"{RUN}.{POINT}"}
    root = ElementTree.parse(out[1]).getroot()
    assert int(root.get("failures")) == len(failures) == 3
    assert int(root.get("tests")) == len(record["findings"]) + len(record["not_compared"])
    assert int(root.get("skipped")) == len(record["not_compared"]) > 0


def test_every_line_fits_eighty_columns(a_and_b, capsys):
    scale_samples(a_and_b[1], {}, default=1.3)
    edit_points(a_and_b[1], POINT, params=2_000_000)
    drop_rows(a_and_b[1], "l0-h25-f25/pruned")
    assert compare(*a_and_b)[0] == 3
    lines = capsys.readouterr().out.splitlines()
    # The names of the two folders are the caller's; everything else is this command's.
    assert max(len(line) for line in lines if str(a_and_b[0].parent) not in line) <= 80


@pytest.mark.parametrize(("drop", "code"), [(0.31, 3), (0.3, 0), (0.0, 0), (-2.0, 0)])
def test_f1_gates_on_the_difference_in_points(a_and_b, drop, code):
    for folder in a_and_b:
        shutil.rmtree(folder / "evaluate")  # F1 is then the table's alone and can be planted
        edit_points(folder, POINT, f1=40.1)  # 40.1 - 39.8 is a little more than 0.3
    edit_points(a_and_b[1], POINT, f1=round(40.1 - drop, 2))
    found, record = compare(*a_and_b)
    assert (found, regressions(record)) == (code, {(POINT, "f1")} if code else set())
    (finding,) = (f for f in record["findings"] if (f["variant"], f["measure"]) == (POINT, "f1"))
    assert finding["change"] == pytest.approx(-drop)
    assert finding["verdict"] == (REGRESSION if code else "changed" if drop else FINE)
    assert any(gap["what"] == "intervals of F1" for gap in record["not_compared"])
    assert compare(*a_and_b, "--max-f1-drop", "0.5")[0] == 0


def test_f1_interval_pairs_the_questions_of_both_folders(a_and_b):
    path = a_and_b[1] / "evaluate" / RUN / "questions.csv.gz"
    with open_text(path) as stream:
        lines = stream.read().splitlines()
    mine = [
        number
        for number, line in enumerate(lines)
        if line.startswith(f"{POINT},") and line.endswith(",1,1,1")
    ]
    for number in mine[:8]:  # eight right answers of 200 turn wrong: 4 points
        lines[number] = lines[number].replace(",1,1,1", ",0,0,1")
    with open_text(path, "w") as stream:
        stream.write("\n".join(lines) + "\n")
    before = next(f["new"] for f in compare(a_and_b[0], a_and_b[0])[1]["findings"] if f["variant"] == POINT)
    edit_points(a_and_b[1], POINT, f1=before - 4)
    code, record = compare(*a_and_b)
    (finding,) = (f for f in record["findings"] if (f["variant"], f["measure"]) == (POINT, "f1"))
    assert (code, finding["verdict"]) == (3, REGRESSION)
    assert -10 < finding["low"] < -4 < finding["high"] < 0, "unpaired, it would reach far above zero"
    same = [f for f in record["findings"] if f["measure"] == "f1" and f["variant"] != POINT]
    assert {(f["low"], f["high"]) for f in same} == {(0.0, 0.0)}


@pytest.mark.parametrize(
    ("column", "value", "verdict"),
    [
        ("params", 1_900_001, REGRESSION),
        ("params", 1_899_999, "changed"),
        ("flops", 410_000_001, REGRESSION),
        ("flops", 409_999_999, "changed"),
        ("heads_kept", 99.9, "changed"),
        ("ff_kept", 50, "changed"),
        ("hidden_kept", 0, "changed"),
    ],
)
def test_exact_figures_are_compared_exactly(a_and_b, column, value, verdict):
    edit_points(a_and_b[1], POINT, **{column: value})
    code, record = compare(*a_and_b)
    odd = [f for f in record["findings"] if f["change"] != 0]
    assert [(f["variant"], f["measure"], f["verdict"]) for f in odd] == [(POINT, column, verdict)]
    assert code == (3 if verdict == REGRESSION else 0)


def test_growth_from_zero_has_no_per_cent_and_is_still_valid_json(a_and_b, capsys):
    edit_points(a_and_b[0], POINT, heads_kept=0)
    code, record = compare(*a_and_b)
    (odd,) = (f for f in record["findings"] if f["verdict"] == "changed")
    assert (code, odd["measure"], odd["change"]) == (0, "heads_kept", None)
    assert "heads_kept 0 -> 100 (from nothing)" in capsys.readouterr().out


@pytest.mark.parametrize(("side", "code"), [(0, 0), (1, 4)])
def test_an_exact_figure_that_one_table_lacks(a_and_b, side, code):
    edit_points(a_and_b[side], POINT, flops="")
    found, record = compare(*a_and_b)
    assert found == code
    gap = next(gap for gap in record["not_compared"] if gap["what"] == f"flops of {POINT}")
    assert (gap["why"], gap["lost"]) == (f"empty in {'AB'[side]}", code == 4)


def test_another_environment_refuses_speed_names_the_field_and_still_gates_quality(a_and_b, capsys):
    a, b = a_and_b
    edit_json(a / "profile" / RUN / "environment.json", lambda e: e.update(torch="2.13", git_commit="1"))
    edit_json(b / "profile" / RUN / "environment.json", lambda e: e.update(torch="2.14", git_commit="2"))
    edit_json(b / "profile" / RUN / "cells.json", lambda c: c.update(fingerprint="other"))
    scale_samples(b, {}, default=3.0)
    code, record = compare(a, b)
    text = " ".join(capsys.readouterr().out.split())
    assert (code, record["outcome"]) == (4, "not comparable")
    assert "torch is 2.13 in A, 2.14 in B" in text
    assert "git_commit" not in text
    assert {f["measure"] for f in record["findings"]} >= {"f1", "params"}
    assert not any(f["measure"] in ("latency_ms", "throughput_qps") for f in record["findings"])
    edit_points(b, POINT, params=2_000_000)
    assert compare(a, b)[0] == 3, "a regression outranks what could not be compared"


@pytest.mark.parametrize(("lacking", "code"), [("a", 4), ("b", 4), ("ab", 0)])
def test_unprofiled_folders(a_and_b, lacking, code):
    for folder in a_and_b:
        if folder.name in lacking:
            shutil.rmtree(folder / "profile")
    found, record = compare(*a_and_b)
    assert found == code
    why = " and ".join(lacking.upper())
    assert [g["why"] for g in record["not_compared"] if "speed" in g["what"]] == [f"not profiled in {why}"]


@pytest.mark.parametrize(("lacking", "code", "why"), [("a", 0, "A"), ("b", 4, "B"), ("ab", 0, "")])
def test_folders_of_untrained_models_compare_speed_alone(a_and_b, lacking, code, why):
    for folder in a_and_b:
        if folder.name in lacking:
            shutil.rmtree(folder / "evaluate")
            edit_points(folder, "all", f1="", questions="")
    found, record = compare(*a_and_b)
    assert found == code
    expected = [f"untrained models in {why}: speed alone"] if why else []
    assert [gap["why"] for gap in record["not_compared"] if gap["what"] == "F1"] == expected
    measures = {finding["measure"] for finding in record["findings"]}
    assert "latency_ms" in measures
    assert "f1" not in measures
    scale_samples(a_and_b[1], {POINT: 1.3})
    assert compare(*a_and_b)[0] == 3


def test_a_lost_row_is_not_comparable_and_a_new_one_is_fine(a_and_b):
    a, b = a_and_b
    drop_rows(b, POINT)
    code, record = compare(a, b)
    assert code == 4
    assert [(g["what"], g["why"]) for g in record["not_compared"] if g["lost"]] == [
        (f"rows {POINT}", "only in A")
    ]
    code, record = compare(b, a)
    assert code == 0
    assert (f"rows {POINT}", "only in B") in [(g["what"], g["why"]) for g in record["not_compared"]]


def test_other_runs_are_said_and_a_lost_one_is_not_comparable(a_and_b):
    a, b = a_and_b
    shutil.copy(a / "tables" / "points.csv", a / "points.csv")
    edit_points(a, "all", seed=14)
    other = (a / "tables" / "points.csv").read_text().partition("\n")[2]
    (a / "tables" / "points.csv").write_text((a / "points.csv").read_text() + other)
    code, record = compare(a, b)
    assert code == 4
    assert [g["why"] for g in record["not_compared"] if g["run"] == "bert-squad2-s14"] == ["only in A"]
    assert compare(b, a)[0] == 0


def test_a_setting_that_is_no_longer_timed_is_lost(a_and_b):
    replace_in(a_and_b[1] / "profile" / RUN / "samples.csv.gz", ",eager,", ",sdpa,")
    code, record = compare(*a_and_b)
    assert code == 4
    assert any("batch 8 x 128, float32, eager" in g["what"] for g in record["not_compared"] if g["lost"])


def test_other_questions_make_f1_not_comparable(made, tmp_path):
    other = write_results(tmp_path / "other", questions=240)
    mine = Path(shutil.copytree(made, tmp_path / "mine"))
    code, record = compare(mine, other)
    assert code == 4
    assert "other questions: 200 in A, 240 in B" in [g["why"] for g in record["not_compared"]]
    assert not any(f["measure"] == "f1" for f in record["findings"])


def test_as_many_questions_of_other_paragraphs_are_other_questions(a_and_b):
    replace_in(a_and_b[1] / "evaluate" / RUN / "questions.csv.gz", ",p7,", ",p6,")
    code, record = compare(*a_and_b)
    assert code == 4
    assert any("of other ids, paragraphs" in g["why"] for g in record["not_compared"])


def test_f1_of_documents_with_several_questions_is_gated_however_many_were_answered(tmp_path):
    """F1 of Natural Questions has predictions in its denominator: it moves with the model."""
    folders = [write_results(tmp_path / name, dataset="nq") for name in ("a", "b")]
    assert compare(*folders)[0] == 0
    worse = {POINT, "gain-h25-f25/distilled"}
    give_up_half(folders[1], RUN.replace("squad2", "nq"), worse)
    code, record = compare(*folders)
    assert code == 3
    assert regressions(record) == {(variant, "f1") for variant in worse}
    assert not any(gap["lost"] for gap in record["not_compared"])


def test_a_row_that_keeps_no_heads_is_compared(a_and_b):
    for folder in a_and_b:
        edit_points(folder, POINT, heads_kept=0)
    assert compare(*a_and_b)[0] == 0
    edit_points(a_and_b[1], POINT, heads_kept=3)
    code, record = compare(*a_and_b)
    (changed,) = (f for f in record["findings"] if f["variant"] == POINT and f["measure"] == "heads_kept")
    assert (code, changed["baseline"], changed["new"], changed["verdict"]) == (0, 0, 3, CHANGED)


def measured(folder: Path, **figures: float) -> None:
    """Plant energy or memory figures into the cell of POINT."""

    def edit(record: dict) -> None:
        for cell in record["cells"]:
            if cell["variant"] == POINT:
                cell.update(figures)

    edit_json(folder / "profile" / RUN / "cells.json", edit)


def test_energy_is_compared_at_each_sides_own_fastest_setting(a_and_b):
    measured(a_and_b[0], energy_j=40.0)

    def edit(record: dict) -> None:
        (cell,) = (cell for cell in record["cells"] if cell["variant"] == POINT)
        record["cells"].append(cell | {"backend": "sdpa", "energy_j": 50.0})
        cell["energy_reason"] = NOT_FASTEST

    edit_json(a_and_b[1] / "profile" / RUN / "cells.json", edit)
    code, record = compare(*a_and_b)
    assert code == 3
    (worse,) = (f for f in record["findings"] if f["verdict"] == REGRESSION)
    assert (worse["measure"], worse["variant"], worse["change"]) == ("energy_j", POINT, 25.0)


@pytest.mark.parametrize(
    ("measure", "factor", "code"),
    [
        ("energy_j", 1.11, 3),
        ("energy_j", 1.09, 0),
        ("energy_j", 0.5, 0),
        ("peak_memory_mb", 1.02, 3),
        ("peak_memory_mb", 1.005, 0),
    ],
)
def test_energy_and_memory_are_gated(a_and_b, capsys, measure, factor, code):
    measured(a_and_b[0], **{measure: 40.0})
    measured(a_and_b[1], **{measure: 40.0 * factor})
    found, record = compare(*a_and_b)
    assert (found, regressions(record)) == (code, {(POINT, measure)} if code else set())
    assert "J/question" in capsys.readouterr().out
    assert (compare(*a_and_b, "--max-energy", "20%")[0] == 0) == (measure == "energy_j" or not code)


def window(seed: int, watts: float, idle_w: float, seconds_a_pass: float = 0.01) -> dict:
    """The energy columns of a window of four parts, whose power wanders by half a per cent."""
    rng = np.random.default_rng(seed)
    parts = [
        {"seconds": 0.5, "passes": round(0.5 / seconds_a_pass), "joules": float(0.5 * watts * factor)}
        for factor in rng.normal(1, 0.005, 4)
    ]
    questions = 8 * sum(part["passes"] for part in parts)
    gross = sum(part["joules"] for part in parts) / questions
    net = gross - idle_w * 2.0 / questions
    return {
        "energy_j": net,
        "energy_gross_j": gross,
        "energy_parts": parts,
        "idle_power_w": idle_w,
        "energy_reason": None,
    }


@pytest.mark.parametrize("seed", range(20))
def test_more_energy_is_caught_and_an_idle_reading_that_moved_is_no_alarm(seed: int):
    before = window(seed, 200.0, 120.0)
    same = energy_growth(before, window(100 + seed, 200.0, 115.5))
    assert window(100 + seed, 200.0, 115.5)["energy_j"] > 1.03 * before["energy_j"]
    assert same.verdict(5.0) != REGRESSION
    assert same.low < 0 < same.high
    more = energy_growth(before, window(200 + seed, 200.0, 120.0, 0.012))
    assert more.change == pytest.approx(20, abs=3)
    assert more.verdict(5.0) == REGRESSION


def test_parts_of_energy_give_its_gate_an_interval(a_and_b):
    measured(a_and_b[0], **window(1, 200.0, 120.0))
    measured(a_and_b[1], **window(2, 200.0, 120.0, 0.011))
    code, record = compare(*a_and_b)
    (found,) = (f for f in record["findings"] if f["measure"] == "energy_j")
    assert found["low"] < found["tolerance"] < found["high"]
    assert found["verdict"] == "unclear"
    assert "above 120.0 W of idle in both" in found["note"]
    assert code == 0


def test_energy_without_parts_above_idle_is_compared_as_it_is():
    before = window(1, 200.0, 120.0)
    assert energy_growth(before, before | {"energy_parts": None}) is None
    assert energy_growth(before, window(2, 114.0, 110.0)) is None


def test_energy_that_is_no_longer_measured_is_lost(a_and_b):
    measured(a_and_b[0], energy_j=2.0)
    code, record = compare(*a_and_b)
    assert code == 4
    assert [g["why"] for g in record["not_compared"] if g["lost"]] == [
        "not measured in B (no GPU: timed on the CPU)"
    ]
    assert compare(a_and_b[1], a_and_b[0])[0] == 0


# Bad input: one line, exit 1, nothing written.


def plant_nothing(folder: Path) -> None:
    shutil.rmtree(folder / "tables")


def plant_version(folder: Path) -> None:
    edit_points(folder, "all", schema_version=99)


def plant_mixed_versions(folder: Path) -> None:
    edit_points(folder, POINT, schema_version=0)


def plant_word(folder: Path) -> None:
    edit_points(folder, POINT, params="many")


def plant_empty_f1(folder: Path) -> None:
    edit_points(folder, POINT, f1="")


def plant_lone_f1(folder: Path) -> None:
    edit_points(folder, "all", f1="", questions="")
    edit_points(folder, POINT, f1=50)


def plant_stale_table(folder: Path) -> None:
    edit_points(folder, POINT, f1=12.0)


def plant_twice(folder: Path) -> None:
    edit_points(folder, POINT, variant="pruned")


def plant_short_table(folder: Path) -> None:
    path = folder / "tables" / "points.csv"
    path.write_text(path.read_text().replace(",params,", ",weights,"))


def plant_damaged_samples(folder: Path) -> None:
    path = folder / "profile" / RUN / "samples.csv.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(bytes(data))


def plant_zero_seconds(folder: Path) -> None:
    scale_samples(folder, {POINT: 0.0})


def plant_no_environment(folder: Path) -> None:
    (folder / "profile" / RUN / "environment.json").unlink()


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (plant_nothing, "no tables/points.csv here"),
        (plant_version, "schema version 99; this qaprune reads version"),
        (plant_mixed_versions, "schema version 0 and "),
        (plant_word, "params: expected a number, found 'many'"),
        (plant_empty_f1, "f1: found nothing; a run has scores in all rows or in none"),
        (plant_lone_f1, "f1: found 50; a run has scores in all rows or in none"),
        (plant_stale_table, "is not that of evaluate"),
        (plant_twice, "a second row of l0-h50-f50/pruned"),
        (plant_short_table, "expected the columns params"),
        (plant_damaged_samples, "samples.csv.gz: "),
        (plant_zero_seconds, "expected a positive number"),
        (plant_no_environment, "environment.json: no such file"),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
def test_bad_input_is_one_line(a_and_b, capsys, plant, message, side):
    plant(a_and_b[side])
    outputs = [a_and_b[0].parent / name for name in ("o.json", "o.xml", "o.md")]
    options = zip(("--json", "--junit", "--markdown"), map(str, outputs), strict=True)
    assert main(["compare", *map(str, a_and_b), *(word for pair in options for word in pair)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not any(path.exists() for path in outputs)


def test_an_output_that_cannot_be_written_leaves_no_other_half_written(a_and_b, capsys):
    parent = a_and_b[0].parent
    (parent / "kept.md").write_text("old")
    before = sorted(parent.iterdir())
    for bad in ("absent/o.json", "a", "kept.md"):
        options = ["--markdown", str(parent / "kept.md"), "--json", str(parent / bad)]
        assert main(["compare", *map(str, a_and_b), *options]) == 1
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)
        assert f"{bad}: " in captured.err
    assert sorted(parent.iterdir()) == before
    assert (parent / "kept.md").read_text() == "old"


def test_an_output_is_replaced_by_rename(a_and_b):
    """A reader that holds the old file must never see half of the new one."""
    path, held = (a_and_b[0].parent / name for name in ("report.md", "held.md"))
    path.write_text("old")
    held.hardlink_to(path)
    compare(*a_and_b, "--markdown", str(path))
    assert held.read_text() == "old"
    assert path.read_text().startswith("# Comparison")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--max-slowdown", "0.05"),
        ("--max-slowdown", "-5%"),
        ("--max-energy", "%"),
        ("--max-f1-drop", "nan"),
    ],
)
def test_tolerances_without_a_clear_meaning_are_a_usage_error(a_and_b, capsys, option, value):
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *map(str, a_and_b), f"{option}={value}"])
    assert stopped.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_the_same_folders_give_the_same_bytes_and_need_no_torch(a_and_b, capsys):
    scale_samples(a_and_b[1], {POINT: 1.2})
    compare(*a_and_b)
    first = capsys.readouterr().out
    program = (
        "import sys; from qaprune.cli import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "compare", *map(str, a_and_b)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == first


def test_the_real_benchmark_counts_what_is_planted():
    """Its counting, on a clock that the models move; its own run is made by hand."""
    clock = Ticking()
    models = {"teacher": clock.model(0.02), "half": clock.model(0.01)}
    caught, alarms = compare_real.count_pairs(
        models, "half", pairs=2, rounds=12, wait=clock.pass_time, clock=clock
    )
    assert (caught, alarms) == (2, 0)


class Ticking:
    """Time that passes only where a model says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_time(self, until: float) -> None:
        self.now = max(self.now, until)

    def model(self, seconds: float):
        def forward(number: int) -> None:
            self.now += seconds * (1 + 0.01 * (number % 3))

        return forward
