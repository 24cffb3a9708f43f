"""Criteria that train weights: what they leave is what is cut, and what they were given stays whole."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file

from qaprune.budget import SHARES, parse_budget
from qaprune.data.features import save_features
from qaprune.errors import InputError
from qaprune.gate.gates import masked
from qaprune.gate.gradual import partway
from qaprune.gate.stage import TRAINED_WEIGHTS, gate, load_scores
from qaprune.gate.straight_through import highest
from qaprune.models.encoder import load_model, model_shape
from qaprune.prune.costs import flops_costs
from qaprune.prune.select import costs_of, select
from qaprune.prune.slice import slice_model
from qaprune.prune.stage import load_trained_weights, load_variant
from qaprune.train import loop
from qaprune.train.batches import train_batches
from qaprune.train.loop import plan_steps
from qaprune.train.losses import batch_logits
from qaprune.train.objectives import training_loss
from tests.conftest import make_features, make_model

TRAINING = {
    "epochs": 4,
    "lr": 1e-3,
    "warmup": 0.1,
    "batch_tokens": 256,
    "weight_decay": 0.01,
    "clip": 1.0,
    "dropout": 0.0,
}
SETTINGS = {
    "movement": {"share": 0.5, "lr": 0.1, "warmup": 0.1, "cooldown": 0.3},
    "l0_joint": {"share": 0.5, "lr": 0.1, "warmup": 0.5, "init_heads": 2.5, "init_ff": 2.0, "distil": True},
    "gain@steps": {"windows": 12, "batch_tokens": 256, "gradual": {"steps": 2, "share": 0.5}},
    "l0@steps": {
        "steps": 20,
        "batch_tokens": 256,
        "lr": 0.1,
        "warmup": 0.5,
        "init_heads": 2.5,
        "init_ff": 2.0,
        "gradual": {"steps": 3, "share": 0.5, "distil": True},
    },
    "fisher@steps": {
        "windows": 12,
        "tuning_windows": 8,
        "batch_tokens": 256,
        "damping": 0.01,
        "gradual": {"steps": 2, "share": 0.5},
    },
}


@pytest.fixture
def inputs(tmp_path):
    teacher, features = tmp_path / "teacher", tmp_path / "features"
    make_model("roberta", types=5).save_pretrained(teacher)
    windows = make_features(architecture="roberta", types=5)
    features.mkdir()
    save_features(features / "train.safetensors", windows)
    generator = np.random.default_rng(1)
    spans = generator.normal(size=(len(windows.input_ids), 2)).astype(np.float32)
    types = generator.normal(size=(windows.windows, 5)).astype(np.float32)
    save_file({"spans": spans, "types": types}, teacher / "logits.safetensors")
    return {"teacher": teacher, "features": features}


def spec_of(name: str) -> dict:
    joint = SETTINGS[name].get("gradual") or SETTINGS[name]
    distil = {"temperature": 2.0, "weight": 0.5} if joint.get("distil") else {}
    return {
        "label": name,
        "length": 32,
        "criterion": name,
        "budget": "h50-f50",
        "settings": SETTINGS[name],
        "run": {"model": "m", "dataset": "squad2", "seed": 3},
        "compute": {"device": "cpu", "dtype": "float32", "attention": "eager", "threads": 1},
        "training": TRAINING | distil,
    }


@pytest.mark.parametrize("name", SETTINGS)
def test_the_trained_weights_are_what_is_cut(name, inputs, tmp_path):
    before = {path: path.read_bytes() for path in inputs["teacher"].iterdir()}
    out = tmp_path / "gate"
    out.mkdir()
    result = gate(spec_of(name), inputs, out, print)
    assert result["gate_tokens"] >= 4 * int(make_features().lengths().sum())
    assert {path: path.read_bytes() for path in inputs["teacher"].iterdir()} == before
    model = load_model(inputs["teacher"])
    untouched = {key: weight.clone() for key, weight in model.state_dict().items()}
    load_trained_weights(model, out)
    trained = load_file(out / TRAINED_WEIGHTS)
    assert all(torch.equal(model.state_dict()[key], weight) for key, weight in trained.items())
    assert not all(torch.equal(untouched[key], weight) for key, weight in trained.items())
    scores = load_scores(out / "scores.safetensors")
    shape = model_shape(model)
    mask = select(scores, 0, parse_budget("h50-f50"), shape, name, flops_costs(shape, 32))
    ids = torch.arange(5, 30)[None]
    with torch.no_grad():
        sliced = slice_model(model, mask)(input_ids=ids).start_logits
        with masked(model, mask):
            assert torch.allclose(sliced, model(input_ids=ids).start_logits, atol=1e-4)


def test_a_lost_checkpoint_of_trained_weights_is_not_cut_anew_from_the_teacher(inputs, tmp_path):
    folder = tmp_path / "pruned"
    folder.mkdir()
    facts = {"variant": "pruned", "criterion": "movement", "draw": 0, "own_weights": True}
    (folder / "variant.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        load_variant(folder, inputs["teacher"], "eager")


def test_distilled_joint_training_uses_the_teachers_logits(inputs, tmp_path):
    """Other logits, other weights."""
    found = []
    for name, scale in (("a", 1.0), ("b", 3.0)):
        logits = load_file(inputs["teacher"] / "logits.safetensors")
        scaled = {side: values.numpy() * np.float32(scale) for side, values in logits.items()}
        save_file(scaled, inputs["teacher"] / "logits.safetensors")
        (tmp_path / name).mkdir()
        gate(spec_of("l0_joint"), inputs, tmp_path / name, print)
        found.append(load_file(tmp_path / name / TRAINED_WEIGHTS))
    assert any(not torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_weights_that_train_with_gates_have_recoverys_dropout(inputs, tmp_path):
    found = []
    for dropout in (0.0, 0.5):
        out = tmp_path / str(dropout)
        out.mkdir()
        gate(spec_of("movement") | {"training": TRAINING | {"dropout": dropout}}, inputs, out, print)
        found.append(load_file(out / TRAINED_WEIGHTS))
    assert any(not torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_straight_through_gates_are_binary_and_pass_their_gradient():
    scores = torch.tensor([[0.3, -0.2], [0.1, 0.1]], requires_grad=True)
    mask = highest(scores, 0.5)
    assert mask.tolist() == [[1, 0], [1, 0]]
    opened = mask + (scores - scores.detach())
    assert opened.tolist() == mask.tolist()
    (opened * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert scores.grad.tolist() == [[1, 2], [3, 4]]


def test_joint_training_lowers_the_loss_of_the_masked_model(inputs, tmp_path):
    out = tmp_path / "gate"
    out.mkdir()
    spec = spec_of("movement")
    gate(spec | {"training": TRAINING | {"epochs": 30}}, inputs, out, print)
    model = load_model(inputs["teacher"], dropout=0.0).eval()
    scores, shape = load_scores(out / "scores.safetensors"), model_shape(model)
    mask = select(scores, 0, parse_budget("h50-f50"), shape, "movement", flops_costs(shape, 32))
    batches = list(train_batches(make_features(architecture="roberta", types=5), 256, 0, "cpu", 24))
    loss_of, losses = training_loss(TRAINING), []
    for load in (False, True):
        if load:
            load_trained_weights(model, out)
        with torch.no_grad(), masked(model, mask):
            losses.append(sum(float(loss_of(batch_logits(model, batch), batch)) for batch in batches))
    assert losses[1] < 0.7 * losses[0]


@pytest.mark.parametrize("budget", ["h50-f50", "flops50", "params75"])
def test_cutting_in_steps_ends_at_the_budget(budget, inputs, tmp_path):
    spec = spec_of("gain@steps") | {"budget": budget}
    (tmp_path / "gate").mkdir()
    gate(spec, inputs, tmp_path / "gate", print)
    shape = model_shape(load_model(inputs["teacher"]))
    costs = costs_of(parse_budget(budget), shape, 32, inputs["teacher"], None)
    scores = load_scores(tmp_path / "gate" / "scores.safetensors")
    heads, ff = select(scores, 0, parse_budget(budget), shape, "gain@steps", costs).widths()
    if budget == "h50-f50":
        assert (sum(heads), sum(ff)) == (6, 36)
    else:
        share = float(budget.lstrip("flopsarm")) / 100
        assert costs.least < costs.of(heads, ff) <= share * costs.full
        # A gate more would not have fitted.
        assert costs.of(heads, ff) > share * costs.full - max(costs.heads[1] - costs.heads[0], costs.ff[1])


@pytest.mark.parametrize("name", [name for name in SETTINGS if name.endswith("@steps")])
def test_what_a_step_closed_stays_closed(name, inputs, tmp_path, monkeypatch):
    """Each step keeps a part of what the one before kept."""
    from qaprune.gate import gradual

    masks = []
    fold = gradual.fold
    monkeypatch.setattr(gradual, "fold", lambda model, mask: (masks.append(mask), fold(model, mask)))
    (tmp_path / "gate").mkdir()
    gate(spec_of(name), inputs, tmp_path / "gate", print)
    assert [sum(mask.widths()[0]) for mask in masks] == ([10, 8, 6] if name == "l0@steps" else [9, 6])
    for earlier, later in pairwise(masks):
        for before, after in zip(earlier.heads + earlier.ff, later.heads + later.ff, strict=True):
            assert not (after != 0)[before == 0].any()


def test_steps_train_on_batches_of_their_own(inputs, tmp_path, monkeypatch):
    """Half an epoch twice is not twice the same half."""
    planned = []

    def plan(*words):
        batches = plan_steps(*words)
        planned.append([sorted(batch.windows.tolist()) for batch in batches])
        return batches

    monkeypatch.setattr(loop, "plan_steps", plan)
    (tmp_path / "gate").mkdir()
    gate(spec_of("gain@steps") | {"training": TRAINING | {"epochs": 1}}, inputs, tmp_path / "gate", print)
    assert len(planned) == 2
    assert planned[0] != planned[1]


@pytest.mark.parametrize(
    ("name", "half"), [("h50-f40", (75, 70)), ("flops50", 75), ("params60", 80), ("x2.0", 4 / 3)]
)
def test_half_the_way_to_a_budget(name, half):
    budget = partway(parse_budget(name), 0.5, None)
    found = (budget.heads, budget.ff) if budget.kind == SHARES else budget.limit
    assert found == pytest.approx(half)
    end = partway(parse_budget(name), 1.0, None)
    assert (end.heads, end.ff) == (parse_budget(name).heads, parse_budget(name).ff)
    assert end.limit == pytest.approx(parse_budget(name).limit)
