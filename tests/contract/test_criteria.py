"""The contract of every criterion: shapes, determinism, a teacher left alone, dead gates found."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qaprune.budget import Budget, parse_budget
from qaprune.data.features import FlatLogits
from qaprune.errors import InputError
from qaprune.gate.gates import gated
from qaprune.gate.registry import BUILT_IN, GateTask, Scores, load_criterion
from qaprune.gate.stage import check_scores
from qaprune.models.encoder import EncoderShape, hidden_norms, model_shape
from qaprune.prune.costs import as_shares, flops_costs
from qaprune.prune.mask import Mask
from qaprune.prune.select import costs_of, select
from qaprune.prune.slice import slice_model
from qaprune.train.batches import train_batches
from qaprune.train.compute import Compute
from qaprune.train.loop import Job, train
from qaprune.train.losses import task_loss
from tests.conftest import make_features, make_model, types_of

SETTINGS = {
    "random": {"draws": 5},
    "magnitude": {},
    "gain": {"windows": 20, "batch_tokens": 256},
    "leave_one_out": {"windows": 20, "batch_tokens": 256, "block": 1},
    "fisher": {"windows": 20, "tuning_windows": 8, "batch_tokens": 256, "damping": 0.01},
    "l0": {"steps": 200, "batch_tokens": 256, "lr": 0.05, "warmup": 0.5, "init_heads": 2.5, "init_ff": 2.0},
    "movement": {"lr": 0.1, "warmup": 0.1, "cooldown": 0.2, "share": 0.5},
    "l0_joint": {"lr": 0.1, "warmup": 0.5, "init_heads": 2.5, "init_ff": 2.0, "share": 0.5, "distil": True},
    "torch_pruning_global": {"windows": 20, "batch_tokens": 256},
    "torch_pruning_layer": {"windows": 20, "batch_tokens": 256},
    "uniform": {},
    "first_layers": {},
    "alternate_layers": {},
}
OWN = json.loads(os.environ.get("QAPRUNE_CRITERION", "{}"))
"""Criteria of other packages that are to be held to the contract, with settings: docs/criteria.md."""
SETTINGS |= OWN
NAMES = [*BUILT_IN, *OWN]
LOOKS_AT_WEIGHTS = [name for name in NAMES if load_criterion(name).needs_model]
JOINT = [name for name in NAMES if load_criterion(name).trains_weights]
TRAINING = {"epochs": 8, "lr": 1e-3, "warmup": 0.1, "batch_tokens": 256, "weight_decay": 0.01, "clip": 1.0}
BUDGET = parse_budget("h75-f75")
NARROW = parse_budget("h75-f75-d75")
NARROWING = [
    name for name in NAMES if load_criterion(name).scores_hidden and not load_criterion(name).whole_layers
]


def run(
    name: str, architecture: str = "bert", model=None, budget: Budget = BUDGET, settings=None, **more
) -> tuple[Scores, torch.nn.Module]:
    model = model if model is not None else make_model(architecture, types=types_of(architecture))
    features = make_features(architecture=architecture, types=types_of(architecture))

    generator = np.random.default_rng(0)
    logits = FlatLogits(
        generator.normal(size=(len(features.input_ids), 2)).astype(np.float32),
        generator.normal(size=(features.windows, 5)).astype(np.float32) if types_of(architecture) else None,
    )

    def batches(tokens, windows, seed):
        return train_batches(features, tokens, seed, "cpu", windows, logits)

    def fit(objective, settings):
        with tempfile.TemporaryDirectory() as folder:
            compute = Compute(torch.device("cpu"), torch.float32, "eager")
            log = Path(folder) / "train.jsonl"
            return train(objective, Job(features, 5, compute, log, name, logits), settings)

    more.setdefault("hidden", budget.hidden is not None)
    task = GateTask(
        model_shape(model), settings or SETTINGS[name], 5, budget, model, batches, fit=fit, **more
    )
    if load_criterion(name).trains_weights:
        distil = {"temperature": 2.0, "weight": 0.5} if SETTINGS[name].get("distil") else {}
        task = replace(task, training=TRAINING | distil)
    torch.manual_seed(5)  # as every stage does: dropout draws from it
    return load_criterion(name).score(task), model


def mask_of(scores: Scores, model: torch.nn.Module, name: str, budget: Budget) -> Mask:
    shape = model_shape(model)
    return select(scores, 0, budget, shape, name, flops_costs(shape, 32))


def test_every_built_in_criterion_is_under_contract():
    assert set(SETTINGS) - set(OWN) == set(BUILT_IN)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_shapes_determinism_and_an_unchanged_teacher(name, architecture):
    model = make_model(architecture, types=types_of(architecture))
    before = {key: weight.clone() for key, weight in model.state_dict().items()}
    expected = model(input_ids=torch.ones(1, 9, dtype=torch.long)).start_logits
    first, _ = run(name, architecture, model)
    second, _ = run(name, architecture)
    check_scores(first, model_shape(model), name)
    for kind in ("heads", "ff", "head_values", "ff_values"):
        if getattr(first, kind) is not None:
            assert np.array_equal(getattr(first, kind), getattr(second, kind)), kind
    same = all(torch.equal(weight, before[key]) for key, weight in model.state_dict().items())
    logits = model(input_ids=torch.ones(1, 9, dtype=torch.long)).start_logits
    assert same == (name not in JOINT)
    assert torch.equal(logits, expected) == (name not in JOINT)
    if name in BUILT_IN:
        assert (load_criterion(name).needs_model and name != "magnitude") == (first.passes > 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_budget_is_met(name):
    budget = parse_budget("h50-f50")
    scores, model = run(name, budget=budget)
    mask = mask_of(scores, model, name, budget)
    heads, ff = mask.widths()
    if load_criterion(name).whole_layers:
        assert sorted(zip(heads, ff, strict=True)) == [(0, 0), (4, 24), (4, 24)]
    else:
        assert (sum(heads), sum(ff)) == (6, 36)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("l0_joint", "movement")])
def test_a_limit_on_cost_is_met(name):
    model = make_model("bert")
    shape = model_shape(model)
    costs, asked = flops_costs(shape, 32), parse_budget("flops60")
    limit = 0.6 * costs.full
    scores, _ = run(name, model=model, budget=as_shares(asked, costs), asked=asked, costs=costs)
    cost = costs.of(*mask_of(scores, model, name, asked).widths())
    if load_criterion(name).whole_layers:
        assert abs(cost - limit) <= (costs.full - costs.fixed) / shape.layers / 2
    else:
        assert limit - costs.heads[1] < cost <= limit


@pytest.mark.parametrize("name", LOOKS_AT_WEIGHTS)
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_dead_gates_are_removed_at_a_quarter_cut(name, architecture, trained_weights):
    """In a teacher that has learnt something: in a random one many gates do harm and go first."""
    model = make_model(architecture, types=types_of(architecture))
    model.load_state_dict(trained_weights[architecture])
    layer = getattr(model, architecture).encoder.layer[1]
    with torch.no_grad():
        layer.attention.output.dense.weight[:, 2 * 8 : 3 * 8] = 0
        layer.output.dense.weight[:, 7] = 0
    scores, _ = run(name, architecture, model)
    mask = mask_of(scores, model, name, BUDGET)
    assert mask.heads[1][2] == 0
    assert mask.ff[1][7] == 0


@pytest.mark.parametrize("name", NARROWING)
def test_the_hidden_width_is_cut_where_the_budget_says_so(name):
    budget = parse_budget("h50-f50-d25")
    scores, model = run(name, budget=budget)
    again, _ = run(name, budget=budget)
    check_scores(scores, model_shape(model), name)
    assert np.array_equal(scores.hidden, again.hidden)
    mask = mask_of(scores, model, name, budget)
    assert np.count_nonzero(mask.hidden) == 8
    assert [sum(widths) for widths in mask.widths()] == [6, 36]
    assert model_shape(slice_model(model, mask)).hidden == 8
    costs = flops_costs(model_shape(model), 32)
    rounded = select(scores, 0, budget, model_shape(model), name, costs, (1, 1, 5))
    assert scores.decided or np.count_nonzero(rounded.hidden) == 5


@pytest.mark.parametrize("name", NARROWING)
def test_heads_and_units_are_scored_the_same_with_hidden_gates_beside(name):
    """Of criteria that look at one gate at a time."""
    plain, _ = run(name)
    beside, _ = run(name, hidden=True) if not load_criterion(name).per_budget else run(name)
    for kind in ("heads", "ff"):
        assert np.array_equal(getattr(plain, kind), getattr(beside, kind))


@pytest.mark.parametrize("name", ["torch_pruning_global", "torch_pruning_layer"])
def test_scores_without_a_hidden_width_cannot_meet_its_budget(name):
    scores, model = run(name, budget=NARROW)
    with pytest.raises(InputError, match=f"'h75-f75-d75': criterion '{name}' gives no scores of hidden"):
        mask_of(scores, model, name, NARROW)


def test_whole_layers_come_nearest_to_a_narrowed_budget():
    """Attention scores cost the same at any hidden width: half of it leaves more than half of the FLOPs."""
    shape = EncoderShape(64, 16, (4,) * 8, (64,) * 8)
    scores = load_criterion("first_layers").score(GateTask(shape, {}, 0))
    for name, layers in (("h100-f100-d50", 5), ("h50-f50-d50", 2)):
        costs = costs_of(parse_budget(name), shape, 32, None, None)
        mask = select(scores, 0, parse_budget(name), shape, "first_layers", costs)
        assert sum(width > 0 for width in mask.widths()[0]) == layers
        assert mask.hidden is None


@pytest.mark.parametrize("name", [name for name in LOOKS_AT_WEIGHTS if name in NARROWING])
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_dead_hidden_dimensions_are_removed_at_a_quarter_cut(name, architecture, trained_weights):
    """Dead is a dimension that no LayerNorm puts anything out in: nothing ever reads it."""
    model = make_model(architecture, types=types_of(architecture))
    model.load_state_dict(trained_weights[architecture])
    with torch.no_grad():
        for norm in hidden_norms(model):
            norm.weight[[5, 20]] = norm.bias[[5, 20]] = 0
    scores, _ = run(name, architecture, model, NARROW)
    assert mask_of(scores, model, name, NARROW).hidden[[5, 20]].tolist() == [0, 0]


def test_the_same_share_of_each_layer_goes_by_torch_pruning_s_ranking_inside_it():
    (by_layer, model), (overall, _) = run("torch_pruning_layer"), run("torch_pruning_global")
    mask = mask_of(by_layer, model, "torch_pruning_layer", parse_budget("h50-f25"))
    assert mask.widths() == ((2, 2, 2), (6, 6, 6))
    for layers, scores in ((mask.heads, overall.heads[0]), (mask.ff, overall.ff[0])):
        for kept, layer in zip(layers, scores, strict=True):
            assert layer[kept > 0].min() > layer[kept == 0].max()


def test_uniform_takes_every_layer_alike():
    scores, model = run("uniform")
    for budget in ("h50-f25", "h56-f51.9", "h39.9-f21.6"):
        mask = mask_of(scores, model, "uniform", parse_budget(budget))
        for widths in mask.widths():
            assert max(widths) - min(widths) <= 1


def test_random_draws_differ_and_keep_their_numbers():
    scores, _ = run("random")
    assert len({layer.tobytes() for layer in scores.heads}) == 5
    more = load_criterion("random").score(GateTask(model_shape(make_model("bert")), {"draws": 9}, 5))
    assert np.array_equal(more.heads[:5], scores.heads)


def test_gain_is_the_sum_of_absolute_gradients_of_single_examples():
    """Against one backward pass an example, the slow and obvious way."""
    scores, model = run("gain")
    features = make_features()
    expected = torch.zeros(3, 4)
    with gated(model) as gates:
        for batch in train_batches(features, 256, 5, "cpu", 20):
            for row in range(len(batch["input_ids"])):
                one = {key: value[row : row + 1] for key, value in batch.items()}
                heads = [torch.ones(4, requires_grad=True) for _ in range(3)]
                gates.set(heads, [torch.ones(24) for _ in range(3)])
                gradients = torch.autograd.grad(task_loss(model, one), heads)
                expected += torch.stack(gradients).abs()
    assert np.allclose(scores.heads[0], expected.numpy(), rtol=1e-4)
    assert scores.passes == 20


def test_l0_drives_the_open_share_to_the_budget():
    from qaprune.gate.hard_concrete import open_probability

    settings = SETTINGS["l0"] | {"steps": 300, "lr": 0.1}
    scores, _ = run("l0", budget=parse_budget("h50-f25"), settings=settings)
    assert open_probability(torch.tensor(scores.heads)).mean() == pytest.approx(0.5, abs=0.1)
    assert open_probability(torch.tensor(scores.ff)).mean() == pytest.approx(0.25, abs=0.1)


def test_an_unknown_criterion_is_answered_with_the_likely_one():
    with pytest.raises(InputError, match="did you mean 'gain'"):
        load_criterion("gian")


def test_a_criterion_from_another_package_is_found(monkeypatch):
    from qaprune.gate import registry

    class Point:
        name = "flat"

        def load(self):
            class Flat:
                needs_model, per_budget, whole_layers, version = False, False, False, 1

                def score(self, task):
                    return Scores(np.zeros((1, 3, 4), np.float32), np.zeros((1, 3, 24), np.float32))

            return Flat

    monkeypatch.setattr(
        registry, "entry_points", lambda group: [Point()] if group == "qaprune.criteria" else []
    )
    assert "flat" in registry.criterion_names()
    scores = load_criterion("flat").score(GateTask(model_shape(make_model("bert")), {}, 0))
    mask = mask_of(scores, make_model("bert"), "flat", parse_budget("h50-f50"))
    assert mask.widths()[0] == (2, 2, 2)  # of equal scores layers keep one in turn


@pytest.mark.parametrize(
    "scores",
    [
        Scores(np.zeros((1, 3, 5)), np.zeros((1, 3, 24))),
        Scores(np.zeros((3, 4)), np.zeros((1, 3, 24))),
        Scores(np.full((1, 3, 4), np.nan), np.zeros((1, 3, 24))),
    ],
)
def test_scores_that_break_the_contract_are_refused(scores):
    with pytest.raises(InputError, match="heads"):
        check_scores(scores, model_shape(make_model("bert")), "mine")
