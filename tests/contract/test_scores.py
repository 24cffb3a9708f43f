"""What single criteria promise of their numbers, against the slow and obvious way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qaprune.budget import parse_budget
from qaprune.gate.fisher import rearrange
from qaprune.gate.gates import masked
from qaprune.gate.registry import GateTask, load_criterion
from qaprune.gate.torch_pruning_taylor import example_inputs
from qaprune.gate.tuning import tune_mask
from qaprune.models import steps
from qaprune.models.encoder import encoder_layers, head_output, hidden_norms, model_shape
from qaprune.prune.mask import Mask, full_mask
from qaprune.train.batches import train_batches
from qaprune.train.losses import model_inputs, task_loss
from tests.conftest import make_features, make_model, types_of


def make_task(architecture: str = "bert", model=None, **settings) -> GateTask:
    model = model if model is not None else make_model(architecture, types=types_of(architecture))
    features = make_features(architecture=architecture, types=types_of(architecture))

    def batches(tokens, windows, seed):
        return train_batches(features, tokens, seed, "cpu", windows)

    settings = {"windows": 10, "tuning_windows": 10, "batch_tokens": 256, "damping": 1e-6} | settings
    return GateTask(model_shape(model), settings, 5, parse_budget("h50-f50"), model, batches)


def test_a_smaller_last_block_is_scored_by_unit_too():
    task = make_task(block=9)  # 24 units: 9, 9 and 6
    found = load_criterion("leave_one_out").score(task).ff[0, 2]
    last = np.argsort(load_criterion("magnitude").score(task).ff[0, 2], kind="stable")[18:]
    full = full_mask(task.shape)
    units = full.ff[2].copy()
    units[last] = 0
    growth = 0.0
    for batch in task.batches(256, 10, task.seed):
        for mask, sign in ((Mask(full.heads, (*full.ff[:2], units)), 1), (full, -1)):
            with torch.no_grad(), masked(task.model, mask) as model:
                growth += sign * len(batch["input_ids"]) * task_loss(model, batch).item() / 10
    assert found[last].mean() == pytest.approx(growth / 6, rel=1e-3, abs=2e-5)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_steps_put_together_are_the_model(architecture, attention):
    model = make_model(architecture, types=types_of(architecture)).eval()
    model.set_attn_implementation(attention)
    batch = next(make_task(architecture, model).batches(256, None, 1))
    with torch.no_grad():
        start = steps.encoder_input(model, model_inputs(batch))
        hidden = steps.run_layers(model, 0, start.hidden, start)
        expected = model(**model_inputs(batch))
    assert torch.equal(model.qa_outputs(hidden)[..., 0], expected.start_logits)


def test_leave_one_out_is_the_growth_of_the_loss_under_each_mask():
    task = make_task(block=1)
    scores = load_criterion("leave_one_out").score(task)
    full = full_mask(task.shape)
    batches = list(task.batches(256, 10, task.seed))

    def loss(mask: Mask) -> float:
        with torch.no_grad(), masked(task.model, mask) as model:
            return sum(len(b["input_ids"]) * task_loss(model, b).item() for b in batches) / 10

    for kind, layer, gate in (("heads", 0, 3), ("heads", 2, 1), ("ff", 0, 5), ("ff", 1, 20), ("ff", 2, 0)):
        layers = [values.copy() for values in getattr(full, kind)]
        layers[layer][gate] = 0
        mask = Mask(**{"heads": full.heads, "ff": full.ff, kind: tuple(layers)})
        expected = loss(mask) - loss(full)
        assert getattr(scores, kind)[0, layer, gate] == pytest.approx(expected, rel=1e-3, abs=2e-5)


def test_units_of_a_block_share_its_growth_and_are_ordered_by_magnitude():
    task = make_task(block=6)
    units = load_criterion("leave_one_out").score(task).ff[0]
    magnitude = load_criterion("magnitude").score(task).ff[0]
    spread = 1e-5 * np.abs(units).max()
    for layer in range(task.shape.layers):
        order = np.argsort(magnitude[layer], kind="stable")
        for first in range(0, 24, 6):
            block = units[layer, order[first : first + 6]]
            assert np.ptp(block) < spread
            assert (np.diff(block) >= 0).all()


def test_magnitude_is_the_norm_of_what_a_part_adds_and_ignores_where_the_scale_sits():
    model = make_model("roberta", types=5)
    before = load_criterion("magnitude").score(make_task("roberta", model))
    layer = encoder_layers(model)[1]
    value = layer.attention.self.value.weight[8:16]
    product = layer.attention.output.dense.weight[:, 8:16] @ value
    assert before.heads[0, 1, 1] == pytest.approx(product.norm().item(), rel=1e-5)
    with torch.no_grad():
        layer.attention.output.dense.weight.mul_(4)
        layer.attention.self.value.weight.div_(4)
        layer.intermediate.dense.weight.mul_(0.5)
        layer.output.dense.weight.mul_(2)
    after = load_criterion("magnitude").score(make_task("roberta", model))
    for kind in ("heads", "ff"):
        assert np.allclose(getattr(before, kind), getattr(after, kind), rtol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_torch_pruning_s_own_pruner_removes_what_its_scores_rank_lowest(architecture):
    """Its pruner ranks units beside the channels inside heads: how many of them go is its own choice."""
    import torch_pruning as tp

    model = make_model(architecture, types=types_of(architecture))
    model.set_attn_implementation("eager")
    task = make_task(architecture, model)
    scores = load_criterion("torch_pruning_global").score(task)
    for batch in task.batches(256, 10, task.seed):
        task_loss(model, batch).backward()
    layers = encoder_layers(model)
    attentions = [layer.attention.self for layer in layers]
    pruner = tp.pruner.BasePruner(
        model,
        example_inputs("cpu"),
        importance=tp.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=0.5,
        head_pruning_ratio=0.5,
        num_heads={linear: 4 for a in attentions for linear in (a.query, a.key, a.value)},
        prune_num_heads=True,
        prune_head_dims=False,
        ignored_layers=[
            getattr(model, architecture).embeddings,
            model.qa_outputs,
            *(part.attention.output.dense for part in layers),
            *(part.output.dense for part in layers),
            *hidden_norms(model),
        ],
    )
    removed = {group[0][0].target.module: group[0][1] for group in pruner.step(interactive=True)}
    heads, ff = np.zeros((3, 4), bool), np.zeros((3, 24), bool)
    for number, layer in enumerate(layers):
        heads[number, [index // 8 for index in removed.get(head_output(layer), [])]] = True
        ff[number, removed.get(layer.intermediate.dense, [])] = True
    assert heads.sum() == 6
    assert 0 < ff.sum() < ff.size
    for gone, kind in ((heads, scores.heads[0]), (ff, scores.ff[0])):
        assert kind[gone].max() < kind[~gone].min()


@pytest.mark.parametrize("seed", range(20))
def test_rearranging_keeps_the_count_and_never_costs_more(seed):
    random = np.random.default_rng(seed)
    gradients = random.normal(size=(30, 12)) * random.gamma(1, 1, 12)
    gradients[:, 3] = 0
    mask = (np.square(gradients).sum(0) > np.median(np.square(gradients).sum(0))).astype(np.float32)
    found = rearrange(gradients, int(mask.sum()))

    def cost(chosen: np.ndarray) -> float:
        return float(np.square(gradients[:, chosen == 0].sum(1)).sum())

    assert found.sum() == mask.sum()
    assert cost(found) <= cost(mask) * (1 + 1e-9)
    assert found[3] == 0, "a gate without any information stays removed"


def test_rearranging_sees_that_two_gates_cancel():
    gradients = np.array([[1.0, -1.0, 0.9, 0.95]] * 4) * np.array([[1, 1, 1, 1], [2, 2, 2, 2]] * 2)
    assert rearrange(gradients, 2).tolist() == [1, 0, 1, 0]
    assert rearrange(gradients, 4).tolist() == [1, 1, 1, 1]
    assert rearrange(gradients, 0).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_tuning_lets_a_twin_stand_in_for_its_removed_brother(architecture):
    """Two units (two heads) compute the same: without one of them, the other must count double."""
    model = make_model(architecture, types=types_of(architecture))
    layer = encoder_layers(model)[0]
    with torch.no_grad():
        for name in ("query", "key", "value"):
            linear = getattr(layer.attention.self, name)
            linear.weight[8:16], linear.bias[8:16] = linear.weight[:8], linear.bias[:8]
        layer.attention.output.dense.weight[:, 8:16] = layer.attention.output.dense.weight[:, :8]
        dense = layer.intermediate.dense
        dense.weight[1], dense.bias[1] = dense.weight[0], dense.bias[0]
        layer.output.dense.weight[:, 1] = layer.output.dense.weight[:, 0]
    full = full_mask(model_shape(model))
    heads, ff = full.heads[0].copy(), full.ff[0].copy()
    heads[1] = ff[1] = 0
    mask = Mask((heads, *full.heads[1:]), (ff, *full.ff[1:]))
    task = make_task(architecture, model)
    tuned, windows, tokens = tune_mask(task, mask)
    assert windows == 10
    assert tokens > 0
    for values, kept in ((tuned.heads[0], 4), (tuned.ff[0], 24)):
        assert values[:2].tolist() == pytest.approx([2, 0], abs=2e-3)
        assert values[2:].tolist() == pytest.approx([1] * (kept - 2), abs=2e-3)
    batch = next(task.batches(256, None, 1))
    with torch.no_grad(), masked(model, tuned):
        logits = model(**model_inputs(batch)).start_logits
    expected = model(**model_inputs(batch)).start_logits
    assert (logits - expected).abs().max() < 1e-2 * expected.abs().max()


def test_tuning_brings_a_pruned_model_nearer_to_its_teacher():
    task = make_task(windows=20, tuning_windows=20)
    random = np.random.default_rng(3)
    full = full_mask(task.shape)
    mask = Mask(
        tuple((random.random(layer.size) < 0.6).astype(np.float32) for layer in full.heads),
        tuple((random.random(layer.size) < 0.6).astype(np.float32) for layer in full.ff),
    )
    tuned, _, _ = tune_mask(task, mask)
    batch = next(task.batches(256, None, 1))
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        start = steps.encoder_input(task.model, model_inputs(batch))
        teacher = steps.run_layers(task.model, 0, start.hidden, start)[real]
        apart = []
        for candidate in (mask, tuned):
            with masked(task.model, candidate):
                apart.append((steps.run_layers(task.model, 0, start.hidden, start)[real] - teacher).norm())
    assert apart[1] < apart[0]
    assert [list(layer == 0) for layer in tuned.ff] == [list(layer == 0) for layer in mask.ff]
