"""Windows: the labels point at the answers, nothing is lost, and characters come back exactly."""

from __future__ import annotations

import random

import numpy as np
import pytest

from qaprune.data.examples import Answer, Example
from qaprune.data.features import Features, FlatLogits, batch_inputs, load_features, save_features
from qaprune.data.scratch import bert_tokenizer, roberta_tokenizer
from qaprune.data.windows import WindowSettings, featurise, load_tokenizer
from qaprune.errors import InputError
from qaprune.evaluate.predictions import predict_spans

WORDS = [
    "the",
    "old",
    "mill",
    "of",
    "Árnes",
    "was",
    "built",
    "by",
    "Jon",
    "Stefánsson",
    "in",
    "1,874",
    "near",
    "a",
    "river;",
    "it",
    "burned",
    "twice",
]


def make_examples(count: int = 40, seed: int = 3) -> list[Example]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        words = [rng.choice(WORDS) for _ in range(rng.randint(8, 90))]
        context = " ".join(words)
        answers = ()
        if rng.random() < 0.7:
            first = rng.randrange(len(words) - 3)
            start = len(" ".join(words[:first])) + (first > 0)
            text = " ".join(words[first : first + rng.randint(1, 3)])
            answers = (Answer(text, start),)
        question = "Who built " + " ".join(rng.choices(WORDS, k=5)) + "?"
        found.append(Example(f"q{number}", question, context, f"g{number}", f"a{number // 4}", answers))
    return found


@pytest.fixture(scope="module", params=["bert", "roberta"])
def encoder(request, tmp_path_factory):
    make = {"bert": bert_tokenizer, "roberta": roberta_tokenizer}[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    make([e.context + e.question for e in make_examples(200)], 400, 128).save_pretrained(folder)
    return request.param, folder


@pytest.fixture(scope="module")
def made(encoder) -> tuple[list[Example], Features]:
    architecture, folder = encoder
    examples = make_examples()
    settings = WindowSettings(64, 16, 24)
    return examples, featurise(examples, load_tokenizer(folder), architecture, settings, labels=True)


def span_text(features: Features, examples: list[Example], window: int, start: int, end: int) -> str:
    row = features.row_ptr[window]
    context = examples[features.question_index[window]].context
    return context[features.char_start[row + start] : features.char_end[row + end]]


def test_every_gold_answer_is_the_label_of_a_window(made):
    examples, features = made
    labelled = np.flatnonzero(features.start_position)
    for window in labelled:
        example = examples[features.question_index[window]]
        text = span_text(
            features, examples, window, features.start_position[window], features.end_position[window]
        )
        assert text == example.answers[0].text
    answerable = {i for i, example in enumerate(examples) if example.answers}
    assert set(features.question_index[labelled].tolist()) == answerable


def test_windows_cover_every_context_token_and_keep_their_length(made):
    examples, features = made
    assert features.lengths().max() <= 64
    for index, example in enumerate(examples):
        covered = np.zeros(len(example.context), bool)
        for window in np.flatnonzero(features.question_index == index):
            row = features.row_ptr[window]
            for token in range(features.context_start[window], features.context_end[window]):
                covered[features.char_start[row + token] : features.char_end[row + token]] = True
        assert all(covered[i] or character == " " for i, character in enumerate(example.context))


def test_perfect_logits_decode_to_the_gold_text(made):
    examples, features = made
    logits = np.zeros((len(features.input_ids), 2), np.float32)
    for window in range(features.windows):
        row = features.row_ptr[window]
        logits[row + features.start_position[window], 0] = 9
        logits[row + features.end_position[window], 1] = 9
    spans = predict_spans(features, [e.context for e in examples], FlatLogits(logits), 30)
    answers = spans.answers(0.0)
    assert answers == {e.id: e.answers[0].text if e.answers else "" for e in examples}


def test_encoding_equals_the_library_s_own_pairs(encoder):
    from transformers import AutoTokenizer

    architecture, folder = encoder
    library = AutoTokenizer.from_pretrained(folder)
    examples = [e for e in make_examples() if len(e.context.split()) < 20]
    features = featurise(
        examples, load_tokenizer(folder), architecture, WindowSettings(128, 16, 64), labels=False
    )
    for window, example in enumerate(examples):
        pair = library(example.question, example.context)
        row = slice(features.row_ptr[window], features.row_ptr[window + 1])
        assert features.input_ids[row].tolist() == pair["input_ids"]
        batch = batch_inputs(features, np.array([window]), len(pair["input_ids"]))
        if "token_type_ids" in pair:
            assert batch["token_type_ids"][0].tolist() == pair["token_type_ids"]
        else:
            assert "token_type_ids" not in batch


def test_dev_features_carry_no_labels(encoder):
    architecture, folder = encoder
    features = featurise(
        make_examples(), load_tokenizer(folder), architecture, WindowSettings(64, 16, 24), labels=False
    )
    assert len(features.start_position) == len(features.end_position) == 0


def test_null_windows_are_thinned_and_answers_are_not(encoder):
    architecture, folder = encoder
    tokenizer = load_tokenizer(folder)
    kept, thin = (
        featurise(make_examples(), tokenizer, architecture, WindowSettings(48, 12, 20, share), labels=True)
        for share in (1.0, 0.2)
    )
    assert np.count_nonzero(thin.start_position) == np.count_nonzero(kept.start_position)
    assert (thin.start_position == 0).sum() < 0.6 * (kept.start_position == 0).sum()


def test_the_way_to_disk_and_back_changes_nothing(made, tmp_path):
    _, features = made
    save_features(tmp_path / "f.safetensors", features)
    loaded = load_features(tmp_path / "f.safetensors")
    for name, value in vars(features).items():
        assert (
            np.array_equal(value, getattr(loaded, name))
            if isinstance(value, np.ndarray)
            else value == getattr(loaded, name)
        )


def test_head_is_the_first_questions(made):
    _, features = made
    head = features.head(7)
    assert head.questions == 7
    assert set(head.question_index.tolist()) == set(range(7))
    assert head.row_ptr[-1] == len(head.input_ids)
    assert np.array_equal(head.input_ids, features.input_ids[: len(head.input_ids)])


def test_padding_is_masked_and_cutting_keeps_the_front(made):
    _, features = made
    short = int(features.lengths().argmin())
    size = int(features.lengths()[short])
    batch = batch_inputs(features, np.array([short]), size + 5)
    assert batch["attention_mask"][0].tolist() == [1] * size + [0] * 5
    assert set(batch["input_ids"][0, size:].tolist()) == {features.meta["pad_id"]}
    cut = batch_inputs(features, np.array([short]), size - 2)
    assert cut["input_ids"].tolist() == batch["input_ids"][:, : size - 2].tolist()


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "f.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a features file"):
        load_features(tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="no such features file"):
        load_features(tmp_path / "g.safetensors")


def test_a_question_that_fills_the_window_is_refused(encoder):
    architecture, folder = encoder
    with pytest.raises(InputError, match=r"leaves .* tokens for the context"):
        featurise(
            make_examples(), load_tokenizer(folder), architecture, WindowSettings(30, 16, 24), labels=True
        )
