"""The bootstrap: it covers, it is paired, and it resamples paragraphs rather than questions."""

from __future__ import annotations

import numpy as np
import pytest

from qaprune.errors import InputError
from qaprune.report.intervals import (
    _row_medians,
    bootstrap_f1,
    group_sums,
    paired_ratios,
    percentile_interval,
    speedup_interval,
)


def sums_of(per_variant: dict[str, np.ndarray], group_size: int):
    """GroupSums of per-question F1 in [0, 1]; consecutive questions share a paragraph."""
    questions = len(next(iter(per_variant.values())))
    groups = [f"p{number // group_size}" for number in range(questions)]
    variants = [name for name in per_variant for _ in range(questions)]
    values = np.concatenate(list(per_variant.values()))
    return group_sums(variants, groups * len(per_variant), values, np.ones_like(values))


def test_point_estimate_is_the_mean_over_questions_not_over_paragraphs():
    values = np.array([1.0, 1.0, 0.0])
    sums = group_sums(["a"] * 3, ["p", "p", "q"], values, np.ones(3))
    assert sums.f1()[0] == pytest.approx(200 / 3)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    covered = 0
    for trial in range(100):
        sums = sums_of({"a": (random.random(300) < 0.7).astype(float)}, 1)
        low, high = percentile_interval(bootstrap_f1(sums, 400, trial)[0])
        covered += low <= 70 <= high
    assert 88 <= covered <= 100


def test_paragraphs_are_what_is_resampled():
    random = np.random.default_rng(6)
    by_paragraph = np.repeat((random.random(100) < 0.5).astype(float), 10)
    wide = percentile_interval(bootstrap_f1(sums_of({"a": by_paragraph}, 10))[0])
    narrow = percentile_interval(bootstrap_f1(sums_of({"a": by_paragraph}, 1))[0])
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_all_variants_share_one_resampling():
    random = np.random.default_rng(7)
    values = (random.random(200) < 0.6).astype(float)
    samples = bootstrap_f1(sums_of({"a": values, "b": values, "c": np.minimum(values + 0.1, 1)}, 4))
    assert percentile_interval(samples[0] - samples[1]) == (0.0, 0.0)
    paired = percentile_interval(samples[2] - samples[0])
    alone = percentile_interval(samples[0])
    assert paired[1] - paired[0] < (alone[1] - alone[0]) / 3


def test_same_seed_same_interval_another_seed_another():
    sums = sums_of({"a": np.random.default_rng(8).random(100)}, 2)
    assert np.array_equal(bootstrap_f1(sums, 300, 1), bootstrap_f1(sums, 300, 1))
    assert not np.array_equal(bootstrap_f1(sums, 300, 1), bootstrap_f1(sums, 300, 2))


def test_chunks_do_not_repeat_resamples():
    samples = bootstrap_f1(sums_of({"a": np.random.default_rng(9).random(500)}, 1), 600, 3)[0]
    assert samples.shape == (600,)
    assert len(np.unique(samples)) > 590


def test_ratio_of_sums_for_natural_questions():
    tp, predicted, gold = np.array([1, 0, 1, 0.0]), np.array([1, 1, 1, 0.0]), np.array([1, 0, 1, 1.0])
    sums = group_sums(["a"] * 4, ["d1", "d2", "d3", "d4"], 2 * tp, predicted + gold)
    precision, recall = 2 / 3, 2 / 3
    assert sums.f1()[0] == pytest.approx(100 * 2 * precision * recall / (precision + recall))
    silent = group_sums(["a"], ["d"], np.zeros(1), np.zeros(1))
    assert silent.f1()[0] == 0


def test_speedup_is_paired_by_round_so_drift_cancels():
    random = np.random.default_rng(10)
    drift = np.linspace(1, 3, 50)
    teacher = dict(enumerate(drift * 0.02 * (1 + 0.01 * random.random(50))))
    slow = dict(enumerate(drift * 0.04 * (1 + 0.01 * random.random(50))))
    ratio, low, high = speedup_interval(paired_ratios(teacher, slow))
    assert low <= ratio <= high
    assert ratio == pytest.approx(0.5, rel=0.02)
    assert high - low < 0.02


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_medians_of_rows_are_numpy_s_to_the_last_bit(count: int):
    values = np.random.default_rng(11).random((50, count))
    assert np.array_equal(_row_medians(values), np.median(values, axis=1))


def test_a_denominator_that_differs_by_variant_is_each_one_s_own():
    """NQ variants predict for different questions: sharing a denominator would be quick and wrong."""
    one, two = np.array([1.0, 1.0]), np.array([1.0, 0.0])
    sums = group_sums(["a", "a", "b", "b"], ["p", "q"] * 2, np.ones(4), np.concatenate([one, 2 * two + 1]))
    samples = bootstrap_f1(sums, 200)
    alone = bootstrap_f1(group_sums(["b", "b"], ["p", "q"], np.ones(2), 2 * two + 1), 200)
    assert np.array_equal(samples[1], alone[0])


def test_rounds_that_lack_a_side_do_not_count():
    assert paired_ratios({0: 2.0, 1: 3.0, 2: 4.0}, {0: 1.0, 2: 1.0}).tolist() == [2.0, 4.0]
    with pytest.raises(InputError, match="no round timed both"):
        speedup_interval(paired_ratios({0: 1.0}, {1: 1.0}))


def test_no_groups_is_refused():
    with pytest.raises(InputError, match="no groups"):
        bootstrap_f1(group_sums([], [], np.zeros(0), np.zeros(0)))
