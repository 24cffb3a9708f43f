"""Several seeds of one point: means and spreads, in the rows, in both tables."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from qaprune.report.collect import collect
from qaprune.report.figures import what_bars_are
from qaprune.report.rows import build_rows, name_of
from qaprune.report.seeds import over_seeds, seeds_of
from qaprune.report.tables import mean_of, points_markdown
from qaprune.report.terminal import terminal_text
from tests.unit.report_data import write_evaluate, write_profile


def rows_of(folder: Path, seeds: tuple[int, ...], dataset: str = "squad2") -> list[dict]:
    evaluate = [write_evaluate(folder, "bert", dataset, seed) for seed in seeds]
    return build_rows(collect(evaluate, [write_profile(folder, run.name) for run in evaluate]), 200)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return rows_of(tmp_path_factory.mktemp("seeds"), (13, 14, 15))


def f1_of(rows: list[dict], name: str) -> list[float]:
    return [row["f1"] for row in rows if name_of(row) == name]


def test_mean_and_spread_are_over_the_seeds(rows: list[dict]):
    assert seeds_of(rows) == [13, 14, 15]
    variant = next(v for v in over_seeds(rows) if name_of(v.first) == "gain-h25-f25/retrained")
    values = f1_of(rows, "gain-h25-f25/retrained")
    assert variant.mean("f1") == pytest.approx(statistics.fmean(values))
    assert variant.spread("f1") == pytest.approx(statistics.stdev(values))
    assert variant.mean("energy_j") is None


def test_random_masks_count_once_a_seed(rows: list[dict]):
    """Five masks of a seed are one value: a seed's spread is not made smaller by drawing more masks."""
    variant = next(v for v in over_seeds(rows) if name_of(v.first) == "random-h50-f50/pruned")
    assert (len(variant.rows), variant.masks) == (3, 5)
    first = [f1_of(rows, f"random-h50-f50/pruned{draw}")[0] for draw in ("", "#1", "#2", "#3", "#4")]
    assert variant.values("f1")[0] == pytest.approx(statistics.fmean(first))


def test_one_seed_has_no_spread(tmp_path: Path):
    variant = over_seeds(rows_of(tmp_path, (13,)))[1]
    assert (variant.spread("f1"), variant.mean("f1")) == (None, variant.first["f1"])


def test_a_point_that_a_seed_lacks_is_the_mean_of_the_others(rows: list[dict]):
    fewer = [row for row in rows if (row["seed"], row["criterion"]) != (14, "l0")]
    variant = next(v for v in over_seeds(fewer) if v.first["criterion"] == "l0")
    assert len(variant.values("f1")) == 2
    assert "|     2 |" in points_markdown(fewer)


def test_both_tables_show_mean_and_spread_and_the_page_each_seed_too(rows: list[dict]):
    values = f1_of(rows, "l0-h50-f50/distilled")
    mean, spread = f"{statistics.fmean(values):.1f}", f"{statistics.stdev(values):.1f}"
    terminal = terminal_text(rows)
    lines = [line for line in terminal.splitlines() if "l0-h50-f50/distilled" in line]
    assert len(lines) == 1
    assert mean in lines[0]
    assert f" {mean} {spread} " in lines[0]
    assert max(map(len, terminal.splitlines())) <= 80
    page = points_markdown(rows)
    assert page.count("| l0-h50-f50/distilled s1") == 3
    assert page.count("| l0-h50-f50/distilled  ") == 1
    assert "Mean of seeds 13, 14, 15" in page


def test_long_answers_have_a_mean_too(tmp_path: Path):
    page = points_markdown(rows_of(tmp_path, (13, 14), "nq"))
    assert "long F1" in page.partition("Each seed:")[0]


def test_rows_of_fewer_seeds_are_said_to_be_that(rows: list[dict]):
    fewer = [row for row in rows if row["criterion"] != "l0" or row["seed"] == 13]
    assert what_bars_are(rows).endswith("lowest to highest seed")
    assert what_bars_are(fewer).endswith(
        "lowest to highest seed, of a point with one seed its 95 % interval"
    )
    assert mean_of(rows).endswith("between the seeds")
    assert "Rows of fewer seeds: compare deltas" in mean_of(fewer)
