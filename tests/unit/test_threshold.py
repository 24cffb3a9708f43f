"""The bagged no-answer threshold: what it may hang on, and what it is good for."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import threshold_noise
from qaprune.evaluate.holdout import Outcomes
from qaprune.evaluate.threshold import RESAMPLES, bagged


def made_up(seed: int, questions: int = 400) -> Outcomes:
    """Odds that tell answerable questions apart as badly as a weak model's do; four to a paragraph."""
    rng = np.random.default_rng(seed)
    answerable = rng.random(questions) < 0.6
    odds = rng.normal(np.where(answerable, -2.0, 2.0), 5.0)
    f1 = np.where(answerable, rng.random(questions) < 0.7, 0.0)
    groups = tuple(f"p{number // 4}" for number in range(questions))
    return Outcomes(f1, answerable, odds, np.ones(questions), groups)


def test_paragraphs_are_drawn_whole_and_as_many_as_there_are():
    groups = ["a", "b", "a", "c", "b", "a"]
    seen = []
    assert bagged(groups, lambda times: seen.append(times) or 1.5) == 1.5
    drawn = np.array(seen)
    assert drawn.shape == (RESAMPLES, 6)
    assert (drawn[:, [0, 1]] == drawn[:, [2, 4]]).all()
    assert (drawn[:, 0] + drawn[:, 1] + drawn[:, 3] == 3).all()
    assert (drawn.std(axis=0) > 0).all()


def test_a_lone_paragraph_gives_the_single_best_threshold():
    outcomes = made_up(0)
    assert bagged(["p"] * 400, outcomes.choose) == pytest.approx(outcomes.choose(np.ones(400)))


def test_the_order_of_questions_plays_no_part():
    outcomes = made_up(1)
    order = np.random.default_rng(2).permutation(400)
    shuffled = threshold_noise.part(outcomes, order)
    assert bagged(shuffled.groups, shuffled.choose) == pytest.approx(
        bagged(outcomes.groups, outcomes.choose)
    )


def test_it_wanders_less_than_the_single_best():
    single, steady = [], []
    for seed in range(40):
        outcomes = made_up(seed)
        single.append(outcomes.choose(np.ones(400)))
        steady.append(bagged(outcomes.groups, outcomes.choose))
    assert np.std(steady) < 0.8 * np.std(single)


def test_halves_never_judge_what_they_chose_by():
    """Odds that tell nothing: what a half chose from its own noise is worth less on the other."""
    outcomes = made_up(3)._replace(null_odds=np.random.default_rng(0).normal(size=400))
    f1, thresholds = threshold_noise.halves(outcomes, 20)
    assert f1.shape == thresholds.shape == (20, 3)
    assert (f1[:, [2]] >= f1[:, :2] - 1e-9).all()
    assert f1[:, 2].mean() > f1[:, 0].mean() + 0.1


def test_a_run_without_checkpoints_is_one_line(tmp_path, capsys):
    assert threshold_noise.main([str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
