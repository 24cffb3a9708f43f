"""The SQuAD 2.0 scorer against hand-worked cases, plain loops and a real model's official figures."""

import gzip
import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from qaprune.data.examples import Answer, Example
from qaprune.errors import InputError
from qaprune.evaluate import squad2
from qaprune.evaluate.holdout import class_weights
from qaprune.evaluate.squad2 import GoldQuestion

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "squad2"


def one(answers, predicted):
    em, f1 = squad2.score_questions([GoldQuestion("q", tuple(answers), "g")], {"q": predicted})
    return em[0], f1[0]


@pytest.mark.parametrize(
    ("answers", "predicted", "em", "f1"),
    [
        (["The Normans"], "normans!", 1, 1),
        (["the theatre"], "theatre, an", 1, 1),
        (
            ["10th and 11th centuries"],
            "in the 11th century",
            0,
            2 / 7,
        ),  # 1 of 3 predicted, 1 of 4 gold words
        (["a b b c"], "b b b", 0, 2 / 3),  # gold b b c, predicted b b b: 2 shared
        (["U.S."], "US", 1, 1),
        (["don't"], "dont", 1, 1),
        (["café"], "cafe", 0, 0),
        (["twelve", "12 men"], "12", 0, 2 / 3),
        ([], "", 1, 1),
        ([], "something", 0, 0),
        ([], "the", 1, 1),  # nothing is left of it
        (["x"], "", 0, 0),
        (["the", "x"], "", 0, 0),  # the empty gold text is dropped
        (["the", "..."], "", 1, 1),  # nothing left in gold: counts as ['']
        (["an–a"], "–", 1, 1),  # a dash outside ASCII stays
    ],
)
def test_hand_worked(answers, predicted, em, f1):
    assert one(answers, predicted) == (em, pytest.approx(f1, abs=1e-12))


def test_summary_splits_by_listed_answers():
    gold = [GoldQuestion("1", ("x y",), "g"), GoldQuestion("2", ("the",), "g"), GoldQuestion("3", (), "g")]
    em, f1 = squad2.score_questions(gold, {"1": "x", "2": "", "3": "no"})
    assert squad2.summarise(gold, em, f1) == {
        "exact": pytest.approx(100 / 3),
        "f1": pytest.approx(500 / 9),
        "total": 3,
        "HasAns_exact": 50.0,
        "HasAns_f1": pytest.approx(250 / 3),
        "HasAns_total": 2,
        "NoAns_exact": 0.0,
        "NoAns_f1": 0.0,
        "NoAns_total": 1,
    }
    assert "NoAns_total" not in squad2.summarise(gold[:2], em[:2], f1[:2])


def test_equal_na_probs_are_steps_in_file_order():
    gold = [GoldQuestion("right", ("x",), "g"), GoldQuestion("wrong", (), "g")]
    predictions = {"right": "x", "wrong": "x"}
    em, f1 = squad2.score_questions(gold, predictions)
    first = squad2.best_thresholds(gold, predictions, em, f1, {"right": 0.5, "wrong": 0.5})
    assert (first["best_f1"], first["best_f1_thresh"]) == (100.0, 0.5)
    last = squad2.best_thresholds(gold, predictions, em, f1, {"wrong": 0.5, "right": 0.5})
    assert (last["best_f1"], last["best_f1_thresh"]) == (50.0, 0.0)


def test_na_prob_above_one_is_null_and_one_is_not():
    gold = [GoldQuestion("a", (), "g"), GoldQuestion("b", (), "g"), GoldQuestion("c", ("x",), "g")]
    scores = squad2.apply_na_probs(gold, np.array([0.0, 0.0, 1.0]), {"a": 1.0, "b": 1.5, "c": 2.0})
    assert scores.tolist() == [0.0, 1.0, 0.0]


def normal(text):
    text = "".join(c for c in text.lower() if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def reference(gold, predictions, na_probs):
    """The definition in plain loops: every threshold is tried by scoring all questions again."""

    def f1_pair(g, p):
        g, p = normal(g).split(), normal(p).split()
        if not g or not p:
            return float(g == p)
        rest, same = list(g), 0
        for word in p:
            if word in rest:
                rest.remove(word)
                same += 1
        return 2 * same / (len(g) + len(p))

    em, f1, answerable = {}, {}, {}
    for q in gold:
        texts = [t for t in q.answers if normal(t)] or [""]
        em[q.id] = max(float(normal(t) == normal(predictions[q.id])) for t in texts)
        f1[q.id] = max(f1_pair(t, predictions[q.id]) for t in texts)
        answerable[q.id] = len(q.answers) > 0
    out = {}
    for name, scores in (("exact", em), ("f1", f1)):
        shown = {k: (float(not answerable[k]) if na_probs[k] > 1.0 else v) for k, v in scores.items()}
        for prefix, ids in (
            ("", list(scores)),
            ("HasAns_", [k for k in scores if answerable[k]]),
            ("NoAns_", [k for k in scores if not answerable[k]]),
        ):
            if ids:
                out[prefix + name] = 100 * sum(shown[k] for k in ids) / len(ids)
                out[prefix + "total"] = len(ids)
        ranked = sorted(na_probs, key=na_probs.get)
        best, threshold = None, 0.0
        for kept in range(len(ranked) + 1):
            total = 0.0
            for place, k in enumerate(ranked):
                answered = place < kept
                if answerable[k]:
                    total += scores[k] if answered else 0.0
                else:
                    total += 0.0 if answered and predictions[k] else 1.0
            if best is None or total > best + 1e-9:
                best, threshold = total, na_probs[ranked[kept - 1]] if kept else 0.0
        out[f"best_{name}"], out[f"best_{name}_thresh"] = 100 * best / len(ranked), threshold
    return out


@pytest.mark.parametrize("seed", range(25))
def test_agrees_with_plain_recomputation(seed):
    rng = random.Random(seed)
    words = ["the", "a", "An", "cat", "dog.", "Dog", "x-y", "42", "naïve", "…", "'s", "theme"]

    def text(low):
        return " ".join(rng.choices(words, k=rng.randint(low, 4)))

    gold = [
        GoldQuestion(str(i), tuple(text(1) for _ in range(rng.choice([0, 0, 1, 3]))), "g")
        for i in range(60)
    ]
    predictions = {q.id: rng.choice([text(0), q.answers[0] if q.answers else ""]) for q in gold}
    ids = [q.id for q in gold]
    rng.shuffle(ids)
    na_probs = {k: rng.choice([0.0, 0.1, 0.5, 0.9, 1.0, 1.1]) for k in ids}
    em, f1 = squad2.score_questions(gold, predictions)
    shown = [squad2.apply_na_probs(gold, s, na_probs) for s in (em, f1)]
    found = squad2.summarise(gold, *shown) | squad2.best_thresholds(gold, predictions, em, f1, na_probs)
    expected = reference(gold, predictions, na_probs)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-9), key


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real data is not beside this checkout")
def test_real_model_has_its_official_figures():
    gold = squad2.read_gold(SHARED / "dev-v2.0-rebuilt.json.gz")
    predictions = squad2.read_predictions(SHARED / "predictions-bert-single-dev.json.gz")
    squad2.check_ids(gold, predictions, "predictions")
    totals = squad2.summarise(gold, *squad2.score_questions(gold, predictions))
    assert totals["total"] == 11873
    assert totals["exact"] == pytest.approx(78.74168280973637, abs=1e-9)
    assert totals["f1"] == pytest.approx(81.77528052374727, abs=1e-9)
    assert totals["HasAns_f1"] == pytest.approx(80.18183293833516, abs=1e-9)
    assert totals["NoAns_f1"] == pytest.approx(83.36417157275021, abs=1e-9)


def brute_threshold(f1, answerable, odds):
    ranked = sorted(set(odds))
    options = [
        ranked[0] - 1,
        *[(a + b) / 2 for a, b in itertools.pairwise(ranked)],
        ranked[-1] + 1,
    ]
    values = [
        sum(f if o <= t else float(not h) for f, h, o in zip(f1, answerable, odds, strict=True))
        for t in options
    ]
    return next(t for t, v in zip(options, values, strict=True) if v >= max(values) - 1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_chosen_threshold_is_the_lowest_best(seed):
    rng = np.random.default_rng(seed)
    answerable = rng.random(40) < 0.6
    f1 = np.where(answerable, rng.choice([0, 1 / 3, 0.5, 1], 40), 0.0)
    odds = rng.choice([-2.0, -1.0, 0.0, 0.5, 3.0], 40)
    chosen = squad2.choose_threshold(f1, answerable, odds)
    assert chosen == brute_threshold(f1, answerable, odds)
    shuffled = rng.permutation(40)
    assert squad2.choose_threshold(f1[shuffled], answerable[shuffled], odds[shuffled]) == chosen


def test_threshold_by_hand():
    # answering the two surest is best: between -1 and 2
    chosen = squad2.choose_threshold(
        np.array([1.0, 1.0, 0.0]), np.array([True, True, False]), np.array([-3.0, -1.0, 2.0])
    )
    assert chosen == 0.5
    # nothing to win by answering: below all odds; a question without any span is null anyway
    odds = np.array([1.0, 4.0, np.inf])
    assert squad2.choose_threshold(np.zeros(3), np.zeros(3, bool), odds) == 0.0
    assert squad2.choose_threshold(np.ones(3), np.ones(3, bool), odds) == 5.0
    with pytest.raises(ValueError, match="null odds"):
        squad2.choose_threshold(np.ones(1), np.ones(1, bool), np.array([np.nan]))


@pytest.mark.parametrize("seed", range(10))
def test_weights_count_questions_as_often_as_they_say(seed):
    rng = np.random.default_rng(seed)
    answerable = rng.random(30) < 0.5
    f1, odds = np.where(answerable, rng.random(30).round(2), 0.0), rng.normal(size=30)
    times = np.where(answerable, 3, 1)
    repeated = np.repeat(np.arange(30), times)
    expected = squad2.choose_threshold(f1[repeated], answerable[repeated], odds[repeated])
    assert squad2.choose_threshold(f1, answerable, odds, times) == expected


def test_the_holdout_counts_answerable_questions_as_train_has_them():
    answerable = np.array([True, False, False, False])
    weights = class_weights(answerable, 0.6)
    assert weights[answerable].sum() / weights.sum() == pytest.approx(0.6)
    assert class_weights(np.ones(3, bool), 0.6).tolist() == [1, 1, 1]
    assert class_weights(answerable, 1.0).tolist() == [1, 1, 1, 1]


def test_threshold_between_neighbouring_floats_separates_them():
    low, high = 1.0, np.nextafter(1.0, 2.0)
    chosen = squad2.choose_threshold(np.array([1.0, 0.0]), np.array([True, False]), np.array([low, high]))
    assert low <= chosen < high


def layout(*questions):
    return {"data": [{"title": "T", "paragraphs": [{"context": "c", "qas": list(questions)}]}]}


def test_reads_the_official_layout_plain_and_gz(tmp_path):
    data = layout({"id": "1", "answers": [{"text": "x", "answer_start": 0}]}, {"id": "2", "answers": []})
    (tmp_path / "g.json").write_text(json.dumps(data))
    with gzip.open(tmp_path / "g.json.gz", "wt") as out:
        json.dump(data, out)
    expected = [GoldQuestion("1", ("x",), "0:0"), GoldQuestion("2", (), "0:0")]
    assert squad2.read_gold(tmp_path / "g.json") == expected == squad2.read_gold(tmp_path / "g.json.gz")
    example = Example("1", "?", "c", "p1", "T", (Answer("x", 0),))
    assert squad2.gold_from_examples([example]) == [GoldQuestion("1", ("x",), "p1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": [\n{"paragraphs" 3}]}', r"g.json:2: invalid JSON: .* \(column 15\)"),
        ("[]", "expected an object"),
        ('{"version": 2}', "missing key 'data'"),
        ('{"data": []}', "empty data set"),
        (json.dumps(layout()), "empty data set"),
        (json.dumps(layout({"answers": []})), r"data\[0\].paragraphs\[0\].qas\[0\]: missing key 'id'"),
        (json.dumps(layout({"id": "1"})), r"qas\[0\] \(id 1\): missing key 'answers'"),
        (json.dumps(layout({"id": "1", "answers": [{"answer_start": 1}]})), "answer: missing key 'text'"),
        (
            json.dumps(layout({"id": "1", "answers": []}, {"id": "1", "answers": []})),
            r"qas\[1\]: duplicate id",
        ),
    ],
)
def test_bad_gold_is_named(tmp_path, text, message):
    (tmp_path / "g.json").write_text(text)
    with pytest.raises(InputError, match=message):
        squad2.read_gold(tmp_path / "g.json")


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none.json: no such file"):
        squad2.read_gold(tmp_path / "none.json")
    whole = gzip.compress(json.dumps(layout({"id": "1", "answers": []})).encode())
    (tmp_path / "cut.json.gz").write_bytes(whole[:-12])
    with pytest.raises(InputError, match=r"cut.json.gz: damaged or cut gzip"):
        squad2.read_gold(tmp_path / "cut.json.gz")
    (tmp_path / "not.json.gz").write_text("{}")
    with pytest.raises(InputError, match=r"not.json.gz: cannot be read"):
        squad2.read_gold(tmp_path / "not.json.gz")


def test_missing_and_unknown_ids_are_counted():
    gold = [GoldQuestion(i, (), "g") for i in "abc"]
    with pytest.raises(InputError, match=r"p\.json: 2 of 3 gold ids missing, first 'b'"):
        squad2.check_ids(gold, {"a": ""}, "p.json")
    with pytest.raises(InputError, match=r"p\.json: 1 ids not in the gold file, first 'z'"):
        squad2.check_ids(gold, dict.fromkeys("abcz", ""), "p.json")
