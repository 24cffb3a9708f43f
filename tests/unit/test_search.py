"""Budgets in parameters, FLOPs and time: what they allow, and the best widths within it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qaprune.budget import parse_budget
from qaprune.errors import InputError
from qaprune.models.cost import encoder_flops, parameters, parameters_of_config
from qaprune.models.encoder import EncoderShape, model_shape
from qaprune.prune.costs import Costs, as_shares, flops_costs, limit_of, parameter_costs
from qaprune.prune.mask import Mask, keep_highest
from qaprune.prune.search import addable, best_widths
from qaprune.prune.select import rounded_share
from qaprune.prune.slice import slice_model
from tests.conftest import make_model

SHAPE = EncoderShape(64, 16, (4,) * 3, (40,) * 3)


def table(seed: int, heads: int = 3, units: int = 5) -> Costs:
    """Costs of two layers that rise in uneven steps, as timings do."""
    random = np.random.default_rng(seed)
    steps = [np.append(0.0, np.cumsum(random.gamma(1.0, 1.0, width))) for width in (heads, units)]
    return Costs("ms", 2, float(random.uniform(0, 3)), *steps)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.35, 1.0))
def test_no_other_widths_within_the_limit_are_worth_more(seed, share):
    random = np.random.default_rng(seed)
    costs = table(seed)
    heads, ff = random.normal(0.3, 1, (2, 3)), random.normal(0.3, 1, (2, 5))
    limit = costs.fixed + share * (costs.full - costs.fixed)

    def worth(h: tuple[int, ...], f: tuple[int, ...]) -> float:
        return sum(
            np.sort(scores)[::-1][:width].sum()
            for scores, width in zip((*heads, *ff), (*h, *f), strict=True)
        )

    found = best_widths(heads, ff, costs, limit)
    spent = costs.of(*found)
    assert spent <= limit * (1 + 1e-9)
    # Each sub-layer rounds its cost up to one step, so that the search sees a little less room.
    room, step = limit - costs.fixed, 4 * (limit - costs.fixed) / 16384
    widths = [
        (h, f)
        for h in product(range(4), repeat=2)
        for f in product(range(6), repeat=2)
        if costs.of(h, f) <= limit - step
    ]
    near = [pair for pair in widths if costs.of(*pair) >= costs.fixed + 0.98 * room]
    if near:
        assert spent >= costs.fixed + 0.98 * room - step
    for pair in near or (widths if spent < costs.fixed + 0.98 * room - step else []):
        assert worth(*pair) <= worth(*found) + 1e-9


def test_a_budget_is_spent_even_where_every_gate_seems_to_harm():
    costs = flops_costs(SHAPE, 32)
    limit = 0.5 * costs.full
    heads, ff = best_widths(-np.ones((3, 4)), -np.ones((3, 40)), costs, limit)
    assert costs.of(heads, ff) > 0.97 * limit


@pytest.mark.parametrize("name", ["flops30", "flops50", "flops75"])
def test_flops_are_met_closely(name):
    random = np.random.default_rng(1)
    costs = flops_costs(SHAPE, 32)
    limit = limit_of(parse_budget(name), costs)
    heads, ff = best_widths(random.random((3, 4)), random.random((3, 40)), costs, limit)
    real = encoder_flops(EncoderShape(64, 16, heads, ff), 32)
    assert real == pytest.approx(costs.of(heads, ff))
    assert limit - costs.heads[1] < real <= limit


def test_parameter_costs_are_the_tensors_own():
    model = make_model("roberta")
    costs = parameter_costs(model_shape(model), parameters(model))
    heads, ff = (2, 0, 3), (24, 5, 0)
    mask = Mask(
        *(
            tuple((np.arange(most) < width).astype(np.float32) for width in widths)
            for widths, most in ((heads, 4), (ff, 24))
        )
    )
    assert costs.of(heads, ff) == parameters(slice_model(model, mask))
    assert costs.full == parameters(model)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_parameters_can_be_told_from_the_config(architecture):
    model = make_model(architecture)
    assert parameters_of_config(model.config.to_dict()) == parameters(model)


def test_widths_are_multiples_of_what_the_hardware_likes():
    random = np.random.default_rng(2)
    costs = flops_costs(SHAPE, 32)
    heads, ff = best_widths(random.random((3, 4)), random.random((3, 40)), costs, 0.6 * costs.full, (2, 16))
    assert all(width % 2 == 0 for width in heads)
    assert all(width % 16 == 0 or width == 40 for width in ff)


@given(
    seed=st.integers(0, 2**16),
    share=st.floats(0.5, 100),
    multiple=st.integers(1, 16),
)
def test_rounded_shares_keep_what_ranking_keeps_but_for_a_multiple(seed, share, multiple):
    scores = np.random.default_rng(seed).random((3, 40))
    plain = [int(np.count_nonzero(layer)) for layer in keep_highest(tuple(scores), share)]
    rounded = rounded_share(scores, share, multiple)
    assert all(width % multiple == 0 or width == 40 for width in rounded)
    assert all(abs(width - other) <= multiple for width, other in zip(rounded, plain, strict=True))
    assert sum(plain) - multiple < sum(rounded) <= max(sum(plain), multiple)
    assert any(rounded), "something stays"
    if multiple == 1 or share == 100:
        assert rounded == tuple(plain)


def test_a_jump_in_the_table_is_avoided():
    """Above two units a part costs three times as much: no layer takes a third unit."""
    costs = Costs("ms", 2, 1.0, np.array([0.0, 1, 2]), np.array([0.0, 1, 2, 6, 7]))
    heads, ff = best_widths(np.ones((2, 2)), np.ones((2, 4)), costs, 10.0)
    assert heads == (2, 2)
    assert ff == (2, 2)


@pytest.mark.parametrize("name", ["flops40", "x2.0", "params70"])
def test_shares_of_a_limit_stay_within_it_and_use_it(name):
    costs = flops_costs(SHAPE, 32)
    budget = as_shares(parse_budget(name), costs)
    widths = [3 * budget.heads / 100 * 4, 3 * budget.ff / 100 * 40]
    cost = costs.fixed + widths[0] * costs.heads[1] + widths[1] * costs.ff[1]
    assert cost == pytest.approx(limit_of(parse_budget(name), costs), rel=1e-6)
    assert budget.name == name
    plain = parse_budget("h50-f40")
    assert as_shares(plain, None) == plain


@pytest.mark.parametrize(("name", "least"), [("x1.5", 55), ("x2.0", 35), ("x3.0", 15)])
def test_where_parts_cost_by_being_there_a_budget_closes_some_and_keeps_others(name, least):
    """As on a GPU that waits for launches: the same narrow width everywhere would save nothing."""
    heads, units = np.arange(5.0), np.arange(41.0)
    heads, units = (np.where(table > 0, 1 + 0.01 * table, 0) for table in (heads, units))
    costs = Costs("ms", 6, 1.0, heads, units)
    asked = parse_budget(name)
    shares = as_shares(asked, costs)
    assert least < shares.heads < 100 / asked.limit
    random = np.random.default_rng(0)
    widths = best_widths(random.random((6, 4)), random.random((6, 40)), costs, limit_of(asked, costs))
    kept = [sum(part) / (6 * full) for part, full in zip(widths, (4, 40), strict=True)]
    assert sum(kept) / 2 == pytest.approx(shares.heads / 100, abs=0.15), "what a mask then keeps"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flops1", r"'flops1': out of reach; one head and one unit alone make \d+\.\d % of the FLOPs"),
        ("x90", r"'x90': out of reach; one head and one unit alone make at most \d+\.\d\dx"),
        ("ms0.001", r"'ms0.001': out of reach; one head and one unit alone make .* ms a batch"),
    ],
)
def test_a_limit_out_of_reach_says_what_can_be_reached(name, message):
    with pytest.raises(InputError, match=message):
        limit_of(parse_budget(name), flops_costs(SHAPE, 32))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flops0", "per cent of flops kept must be above 0"),
        ("h50-f50-d0", "per cent of the hidden width kept must be above 0"),
        ("h50-d50", "expected per cents kept like"),
        ("params101", "at most 100"),
        ("x0.5", "a speedup must be at least 1"),
        ("ms0", "milliseconds must be above 0"),
        ("x", "expected per cents kept like"),
        ("flops50%", "expected per cents kept like"),
    ],
)
def test_budgets_without_meaning_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        parse_budget(name)


def test_ranks_add_up_and_keep_the_order():
    scores = np.array([[3.0, -1.0], [0.5, 2.0]])
    ranks = addable(scores)
    assert ranks.sum() == pytest.approx(1)
    assert np.array_equal(np.argsort(ranks.ravel()), np.argsort(scores.ravel()))


@given(seed=st.integers(0, 10_000))
def test_equal_scores_are_worth_the_same_wherever_they_stand(seed):
    """L0 leaves a third of its gates at one bound: by place, the last layers would be filled with them."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 3, (3, 4)).astype(float)
    ranks = addable(scores)
    assert ranks.sum() == pytest.approx(1)
    assert len(set(zip(scores.ravel(), ranks.ravel(), strict=True))) == len(set(scores.ravel()))
    order = random.permutation(3)
    assert np.array_equal(addable(scores[order]), ranks[order])
