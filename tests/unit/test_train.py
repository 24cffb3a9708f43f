"""Losses, batches and the loop."""

from __future__ import annotations

import json
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qaprune.data.features import FlatLogits
from qaprune.errors import InputError
from qaprune.models.rebuild import with_answer_types
from qaprune.prune.slice import slice_model
from qaprune.train.batches import (
    SHAPES,
    ahead,
    labelled_batch,
    padded_length,
    plan_epoch,
    plan_prediction,
    shape_lengths,
    train_batches,
)
from qaprune.train.compute import start
from qaprune.train.loop import Job, fit
from qaprune.train.losses import Logits, batch_logits, distillation_loss, gold_loss
from qaprune.train.optimizers import schedule
from qaprune.train.predict import predict_logits
from qaprune.train.stages import check_teacher, epochs_left
from tests.conftest import closed_mask, make_features, make_model

COMPUTE = {"device": "cpu", "dtype": "float32", "attention": "eager", "threads": 1}
TRAINING = {
    "epochs": 2,
    "lr": 1e-3,
    "warmup": 0.1,
    "batch_tokens": 256,
    "weight_decay": 0.01,
    "clip": 1.0,
    "dropout": 0.0,
}


@settings(max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=80),
    tokens=st.integers(32, 2000),
    seed=st.none() | st.integers(0, 9),
)
def test_batches_hold_every_window_once_within_the_budget(lengths, tokens, seed):
    lengths = np.array(lengths)
    if seed is None:
        batches = plan_prediction(lengths, tokens)
    else:
        batches = plan_epoch(lengths, tokens, np.random.default_rng(seed))
    assert sorted(np.concatenate([batch.windows for batch in batches]).tolist()) == list(
        range(len(lengths))
    )
    for windows, length in batches:
        assert lengths[windows].max() <= length == padded_length(length)
        assert len(windows) == 1 or len(windows) * length <= tokens


@settings(max_examples=50)
@given(lengths=st.lists(st.integers(1, 512), min_size=1, max_size=300), tokens=st.integers(32, 4000))
def test_training_has_few_shapes(lengths, tokens):
    batches = plan_epoch(np.array(lengths), tokens, np.random.default_rng(0))
    whole = {length: max(1, tokens // length) for _, length in batches}
    assert len(whole) <= SHAPES
    assert sum(len(windows) != whole[length] for windows, length in batches) <= 1


@settings(max_examples=50)
@given(lengths=st.lists(st.integers(1, 160), min_size=1, max_size=60), shapes=st.integers(1, 4))
def test_the_shapes_pad_least(lengths, shapes):
    """Against trying all sets of padded lengths."""
    lengths = np.array(lengths)
    allowed = sorted({padded_length(int(length)) for length in lengths})

    def cost(chosen):
        return np.array(chosen)[np.searchsorted(chosen, lengths)].sum()

    least = min(
        cost([*others, allowed[-1]])
        for count in range(min(shapes, len(allowed)))
        for others in combinations(allowed[:-1], count)
    )
    found = shape_lengths(lengths, shapes)
    assert len(found) <= shapes
    assert cost(found) == least


@pytest.mark.parametrize("thread", [False, True])
def test_batches_made_ahead_come_in_order_and_bring_their_errors(thread):
    assert list(ahead(range(5), lambda n: n * n, thread)) == [(n, n * n) for n in range(5)]
    made = []
    steps = ahead(range(5), lambda n: made.append(n) or 1 / (2 - n), thread)
    assert [next(steps)[0], next(steps)[0]] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(steps)
    assert 4 not in made


def test_training_batches_follow_the_seed():
    features = make_features()
    first, same, other = (
        [
            batch["input_ids"]
            for batch, _ in zip(train_batches(features, 256, seed, "cpu"), range(9), strict=False)
        ]
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_gold_loss_is_the_cross_entropy_of_both_positions():
    model, batch = make_model("bert"), labelled_batch(make_features(), np.arange(6), "cpu")
    logits = batch_logits(model, batch)
    expected = 0.0
    for row in range(6):
        for side, name in enumerate(("start_position", "end_position")):
            valid = logits.spans[side, row][batch["attention_mask"][row] == 1]
            expected -= torch.log_softmax(valid, 0)[batch[name][row]].item() / 12
    assert gold_loss(logits, batch).item() == pytest.approx(expected, rel=1e-5)


def test_distilling_from_oneself_costs_nothing_and_padding_plays_no_part():
    batch = labelled_batch(make_features(), np.arange(6), "cpu")
    logits = batch_logits(make_model("bert"), batch).spans.detach().requires_grad_(True)
    teacher = batch_logits(make_model("bert", seed=1), batch).spans.detach()
    assert distillation_loss(Logits(logits), Logits(logits.detach()), 2.0).item() == pytest.approx(
        0, abs=1e-6
    )
    loss = distillation_loss(Logits(logits), Logits(teacher), 2.0)
    loss.backward()
    assert loss.item() > 0
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[:, batch["attention_mask"] == 0] == 0).all()
    row = batch["attention_mask"][0] == 1
    student, target = (torch.log_softmax(x[0, 0][row] / 2, 0) for x in (logits.detach(), teacher))
    by_hand = 4 * (target.exp() * (target - student)).sum()
    one = distillation_loss(Logits(logits.detach()[:1, :1]), Logits(teacher[:1, :1]), 2.0)
    assert one.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_answer_types_are_a_third_of_both_losses():
    """As much as start and as end; each of the three is checked by leaving the others at zero."""
    batch = labelled_batch(make_features(types=5), np.arange(6), "cpu")
    logits = batch_logits(make_model("bert", types=5), batch)
    gold = torch.nn.functional.cross_entropy(logits.types, batch["answer_type"])
    spans = gold_loss(Logits(logits.spans), batch)
    assert gold_loss(logits, batch).item() == pytest.approx(((2 * spans + gold) / 3).item(), rel=1e-6)
    teacher = logits._replace(types=torch.zeros_like(logits.types))
    log_student = torch.log_softmax(logits.types / 2, -1)
    by_hand = 4 * (0.2 * (np.log(0.2) - log_student)).sum(-1).mean() / 3
    assert distillation_loss(logits, teacher, 2.0).item() == pytest.approx(by_hand.item(), rel=1e-4)


def test_a_span_model_becomes_one_with_answer_types_and_more_tokens():
    for architecture in ("bert", "roberta"):
        model = make_model(architecture)
        joint = with_answer_types(model, 5, 70, 1)
        inputs = {"input_ids": torch.tensor([[5, 8, 13]])}
        before, after = model(**inputs), joint(**inputs)
        assert torch.equal(before.start_logits, after.start_logits)
        assert after.answer_type_logits.shape == (1, 5)
        assert joint.get_input_embeddings().weight.shape[0] == joint.config.vocab_size == 70
        assert torch.isfinite(joint(input_ids=torch.tensor([[5, 69]])).answer_type_logits).all()
        assert with_answer_types(joint, 5, 70, 2) is joint
        assert model.config.vocab_size == 60, "the model given stays as it is"


def test_the_cached_teacher_logits_are_those_of_a_forward_pass():
    model, features = make_model("bert"), make_features()
    flat = predict_logits(model, features, start(COMPUTE, 0))
    batch = labelled_batch(features, np.array([3, 8, 1]), "cpu", flat)
    with torch.no_grad():
        fresh = batch_logits(model, batch)
    mask = batch["attention_mask"] == 1
    assert torch.allclose(batch["teacher_spans"][:, mask], fresh.spans[:, mask], atol=1e-4)
    assert torch.isinf(batch["teacher_spans"][:, ~mask]).all()


def test_the_schedule_rises_and_falls_to_nearly_zero():
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates.index(1.0) == 9
    assert 0 < rates[-1] < 0.02
    assert all(a >= b for a, b in pairwise(rates[10:]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_learns_and_repeats_bit_for_bit(tmp_path, dtype):
    def trained():
        model = make_model("bert", layers=2, scale=0.1)
        compute = start(COMPUTE | {"dtype": dtype}, 7)
        settings = TRAINING | {"epochs": 40, "lr": 5e-3}
        result = fit(model, Job(make_features(), 7, compute, tmp_path / "log.jsonl", "t"), settings)
        return model, result

    first, result = trained()
    second, _ = trained()
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == result.steps
    assert result.loss < 0.8 * gold_loss_before()
    assert result.tokens == 40 * len(make_features().input_ids)


def gold_loss_before() -> float:
    features = make_features()
    batch = labelled_batch(features, np.arange(features.windows), "cpu")
    return gold_loss(batch_logits(make_model("bert", layers=2, scale=0.1), batch), batch).item()


def test_part_of_an_epoch_is_part_of_its_batches(tmp_path):
    compute = start(COMPUTE, 7)
    steps = [
        fit(
            make_model("bert"),
            Job(make_features(), 7, compute, tmp_path / "l", "t"),
            TRAINING | {"epochs": epochs},
        ).steps
        for epochs in (1, 1.5, 2)
    ]
    assert steps[0] < steps[1] < steps[2]


@pytest.mark.parametrize("distilled", [False, True])
def test_a_loss_that_is_not_a_number_names_the_questions(distilled, tmp_path):
    model = make_model("bert")
    teacher, training = None, TRAINING
    if distilled:  # towards the teacher alone: no gold answer shows it
        training = TRAINING | {"temperature": 2.0, "weight": 1.0}
        teacher = FlatLogits(np.zeros((len(make_features().input_ids), 2), np.float32))
    with torch.no_grad():
        model.qa_outputs.weight[0, 0] = float("nan")
    first = plan_epoch(make_features().lengths(), 256, np.random.default_rng([7, 0]))[0]
    read = make_features().question_index[first.windows]
    names = ", ".join([f"q{number}" for number in dict.fromkeys(read.tolist())][:5])
    with pytest.raises(
        InputError, match=rf"^t: loss is not a number in step 1; questions {names}( \.\.\.)?$"
    ):
        fit(model, Job(make_features(), 7, start(COMPUTE, 7), tmp_path / "l", "t", teacher), training)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"head": False}, "no span head"),
        ({"architecture": "roberta"}, "model_type 'roberta'; the model's source has 'bert'"),
        ({"vocab_size": 61}, "vocab_size 61; the data set's features have 60"),
        ({"num_hidden_layers": 2}, "other layers or widths than the model's source has"),
        ({"cut": True}, "pruned already"),
    ],
)
def test_an_existing_teacher_must_fit_its_model(changes, message, tmp_path):
    make_model("bert").bert.save_pretrained(tmp_path / "encoder")
    shape = {key: value for key, value in changes.items() if key in ("vocab_size", "num_hidden_layers")}
    model = make_model(changes.get("architecture", "bert"), **shape)
    if "cut" in changes:
        model = slice_model(model, closed_mask())
    (model if changes.get("head", True) else model.base_model).save_pretrained(tmp_path / "teacher")
    if message is None:
        check_teacher(tmp_path / "teacher", tmp_path / "encoder", "squad2", {})
        check_teacher(tmp_path / "teacher", tmp_path / "encoder", "squad2", {"answerable": 0.5})
        return
    with pytest.raises(InputError, match=message):
        check_teacher(tmp_path / "teacher", tmp_path / "encoder", "squad2", {})


def test_an_existing_teacher_for_nq_must_know_answer_types_and_structure_tokens(tmp_path):
    make_model("bert").bert.save_pretrained(tmp_path / "encoder")
    for name, types, rows, message in (
        ("spans", 0, 70, "no answer types"),
        ("few", 5, 60, "vocab_size 60; the data set's features have 70"),
        ("good", 5, 70, None),
    ):
        make_model("bert", types=types, vocab_size=rows).save_pretrained(tmp_path / name)
        if message is None:
            check_teacher(tmp_path / name, tmp_path / "encoder", "nq", {"vocabulary": 70})
            continue
        with pytest.raises(InputError, match=message):
            check_teacher(tmp_path / name, tmp_path / "encoder", "nq", {"vocabulary": 70})


def test_prediction_does_not_depend_on_its_batching():
    model, features, compute = (
        make_model("roberta"),
        make_features(architecture="roberta"),
        start(COMPUTE, 0),
    )
    whole = predict_logits(model, features, compute)
    small = predict_logits(model, features, compute, tokens=64)
    assert np.allclose(whole.spans, small.spans, atol=1e-4)


def test_what_the_gate_read_comes_out_of_recovery():
    train = make_features()
    tokens = int(train.lengths().sum())
    assert epochs_left(2.0, train, {}) == 2.0
    assert epochs_left(2.0, train, {"train_tokens": tokens // 2}) == pytest.approx(1.5, abs=1e-2)
    with pytest.raises(InputError, match=r"include_gate: l0 read .* tokens for its mask"):
        epochs_left(1.0, train, {"train_tokens": tokens, "criterion": "l0"})
