"""The Natural Questions scorer against hand-worked cases and plain loops over every threshold."""

import gzip
import itertools
import json
import random

import numpy as np
import pytest

from qaprune.errors import InputError
from qaprune.evaluate import nq, nq_files
from qaprune.evaluate.nq import Side
from qaprune.evaluate.nq_files import Label, Prediction, Span


def tok(start, end):
    return Span(start_token=start, end_token=end)


LONG = Label(long=tok(0, 50))
SHORT = Label(long=tok(0, 50), shorts=(tok(3, 5),))
TWO_SPANS = Label(long=tok(0, 50), shorts=(tok(3, 5), tok(8, 9)))
YES = Label(long=tok(0, 50), yes_no="yes")
NULL = Label()


@pytest.mark.parametrize(
    ("labels", "predicted", "outcome"),
    [
        ([SHORT, SHORT, NULL, NULL, NULL], SHORT, (True, True, True)),
        ([SHORT, NULL, NULL, NULL, NULL], SHORT, (False, True, False)),  # one vote of five
        ([SHORT, TWO_SPANS, NULL, NULL, NULL], TWO_SPANS, (True, True, True)),
        ([TWO_SPANS, TWO_SPANS, NULL, NULL, NULL], SHORT, (True, True, False)),  # half of a set
        ([SHORT, SHORT, NULL, NULL, NULL], TWO_SPANS, (True, True, False)),  # more than the set
        ([SHORT, YES, NULL, NULL, NULL], YES, (True, True, True)),  # yes/no and span make two votes
        ([SHORT, YES, NULL, NULL, NULL], Label(yes_no="no"), (True, True, False)),
        ([SHORT, SHORT, NULL, NULL, NULL], YES, (True, True, False)),
        ([YES, YES, NULL, NULL, NULL], SHORT, (True, True, False)),
        ([SHORT, SHORT, NULL, NULL, NULL], LONG, (True, False, False)),
        ([NULL] * 5, NULL, (False, False, False)),
    ],
)
def test_short_answers_by_hand(labels, predicted, outcome):
    assert nq.short_outcome(labels, predicted) == outcome


def test_order_and_null_spans_of_a_set_do_not_matter():
    turned = Label(shorts=(tok(8, 9), nq_files.NULL_SPAN, tok(3, 5)))
    assert nq.short_outcome([TWO_SPANS, TWO_SPANS], turned) == (True, True, True)


def test_long_answers_by_hand():
    other = Label(long=tok(60, 70))
    assert nq.long_outcome([LONG, other, NULL, NULL, NULL], other) == (True, True, True)
    assert nq.long_outcome([LONG, LONG, NULL], other) == (True, True, False)
    assert nq.long_outcome([LONG, NULL, NULL], LONG) == (False, True, False)
    assert nq.long_outcome([LONG, LONG], NULL) == (True, False, False)


def test_spans_match_by_bytes_or_by_tokens():
    both = Span(10, 20, 1, 3)
    assert both.same(Span(10, 20, 7, 8))
    assert both.same(tok(1, 3))
    assert not both.same(tok(1, 4))
    assert both.same(Span(10, 21, 1, 3))  # as in the official script: equal tokens are enough
    assert not Span(10, 20).same(tok(1, 3))


def predictions_of(labels, scores):
    return {
        str(i): Prediction(str(i), label, s, s)
        for i, (label, s) in enumerate(zip(labels, scores, strict=True))
    }


def test_best_threshold_counts_tied_scores_together():
    gold = {str(i): labels for i, labels in enumerate([(SHORT, SHORT), (SHORT, SHORT), (NULL, NULL)])}
    predictions = predictions_of([SHORT, SHORT, SHORT], [2.0, 1.0, 1.0])
    metrics = nq.official_metrics(nq.score_questions(gold, predictions))
    # at 2.0: P 1, R 1/2, F1 2/3; at 1.0 both others at once: P 2/3, R 1, F1 0.8
    assert metrics["short-best-threshold-f1"] == pytest.approx(0.8, abs=1e-12)
    assert metrics["short-best-threshold"] == 1.0
    assert metrics["short-best-threshold-precision"] == pytest.approx(2 / 3, abs=1e-12)
    assert metrics["short-recall-at-precision>=0.5"] == 1.0
    assert metrics["short-recall-at-precision>=0.75"] == 0.5
    assert metrics["short-precision-at-precision>=0.9"] == 1.0


def test_all_null_predictions_score_zero():
    gold = {"0": (SHORT, SHORT), "1": (NULL, NULL)}
    metrics = nq.official_metrics(nq.score_questions(gold, predictions_of([NULL, NULL], [5.0, 3.0])))
    assert set(metrics.values()) == {0.0}
    assert len(metrics) == 20


def test_lone_annotator_is_a_choice_for_the_hold_out():
    gold, predictions = {"0": (SHORT,)}, predictions_of([SHORT], [1.0])
    assert not nq.score_questions(gold, predictions).short.has_gold[0]
    kept = nq.score_questions(gold, predictions, lone_annotator=True)
    assert kept.short.is_correct[0]
    assert kept.long.is_correct[0]
    five = {"0": (SHORT, NULL, NULL, NULL, NULL)}
    assert not nq.score_questions(five, predictions, lone_annotator=True).short.has_gold[0]


def test_ids_must_agree():
    with pytest.raises(InputError, match="1 of 2 gold ids missing, first '1'"):
        nq.score_questions({"0": (NULL,), "1": (NULL,)}, predictions_of([NULL], [0.0]))
    with pytest.raises(InputError, match="1 ids not in the gold files, first '1'"):
        nq.score_questions({"0": (NULL,)}, predictions_of([NULL, NULL], [0.0, 0.0]))


def random_side(rng, n=50):
    has_gold, has_pred = rng.random(n) < 0.5, rng.random(n) < 0.7
    is_correct = has_gold & has_pred & (rng.random(n) < 0.6)
    return Side(has_gold, has_pred, is_correct, rng.integers(-4, 5, n).astype(float))


def f1_keeping(side, keep):
    correct = sum(bool(c and k) for c, k in zip(side.is_correct, keep, strict=True))
    predicted = sum(bool(p and k) for p, k in zip(side.has_pred, keep, strict=True))
    precision = correct / predicted if predicted else 0
    recall = correct / sum(side.has_gold) if sum(side.has_gold) else 0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
    return f1, precision, recall


@pytest.mark.parametrize("seed", range(25))
def test_curve_agrees_with_plain_loops(seed):
    side = random_side(np.random.default_rng(seed))
    best, at = (0.0, 0.0, 0.0, 0.0), dict.fromkeys(nq.PRECISION_TARGETS, (0.0, 0.0))
    for threshold in sorted(set(side.score), reverse=True):
        f1, precision, recall = f1_keeping(side, side.score >= threshold)
        if f1 > best[0]:
            best = (f1, precision, recall, threshold)
        for target, (highest, _) in at.items():
            if precision >= target and recall > highest:
                at[target] = (recall, precision)
    found = nq.official_metrics(nq.NqScores((), side, side))
    names = ("f1", "precision", "recall")
    assert [found[f"long-best-threshold-{name}"] for name in names] == pytest.approx(best[:3], abs=1e-9)
    assert found["long-best-threshold"] == best[3]
    for target, (recall, precision) in at.items():
        assert found[f"short-recall-at-precision>={target}"] == pytest.approx(recall, abs=1e-9)
        assert found[f"short-precision-at-precision>={target}"] == pytest.approx(precision, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_resample_by_counts_equals_a_resampled_side(seed):
    rng = np.random.default_rng(seed)
    side = random_side(rng)
    drawn = rng.integers(0, 50, 50)
    counts = np.bincount(drawn, minlength=50)
    again = Side(*(getattr(side, name)[drawn] for name in ("has_gold", "has_pred", "is_correct", "score")))
    assert nq.best(nq.rank(side), counts) == nq.best(nq.rank(again))


@pytest.mark.parametrize("seed", range(25))
def test_chosen_threshold_is_the_lowest_best(seed):
    side = random_side(np.random.default_rng(seed))
    odds = sorted(set(-side.score))
    options = [odds[0] - 1, *[(a + b) / 2 for a, b in itertools.pairwise(odds)], odds[-1] + 1]
    values = [f1_keeping(side, -side.score <= t)[0] for t in options]
    chosen = nq.choose_threshold(side)
    assert chosen == next(t for t, v in zip(options, values, strict=True) if v >= max(values) - 1e-9)
    assert nq.f1_at(side, chosen) == pytest.approx(max(values), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_threshold_of_counted_questions_is_that_of_repeated_ones(seed):
    rng = np.random.default_rng(seed)
    side = random_side(rng)
    times = rng.integers(0, 4, len(side.score))
    repeated = np.repeat(np.arange(len(times)), times)
    again = Side(
        *(getattr(side, name)[repeated] for name in ("has_gold", "has_pred", "is_correct", "score"))
    )
    chosen = nq.choose_threshold(side, times.astype(float))
    expected = nq.choose_threshold(again)
    assert nq.f1_at(again, chosen) == pytest.approx(nq.f1_at(again, expected), abs=1e-9)


def test_f1_from_arrays_of_a_question():
    yes, no = np.array([True, True, False]), np.zeros(3, bool)
    assert nq.short_f1(yes, yes, np.array([True, False, False])) == 0.5
    assert nq.short_f1(yes, no, no) == nq.short_f1(no, yes, no) == nq.short_f1(no, no, no) == 0.0


def annotation(label):
    def span(s):
        return {"start_token": s.start_token, "end_token": s.end_token}

    return {
        "annotation_id": 1,
        "long_answer": {**span(label.long), "candidate_index": 0},
        "short_answers": [span(s) for s in label.shorts],
        "yes_no_answer": label.yes_no.upper(),
    }


def test_gold_is_read_from_shards_and_the_last_of_a_repeated_id_counts(tmp_path):
    lines = [
        json.dumps({"example_id": i, "annotations": [annotation(a) for a in labels]})
        for i, labels in [(-7, [SHORT, YES]), (8, [NULL]), (8, [LONG])]
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:1]) + "\n\n")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as out:
        out.write("\n".join(lines[1:]))
    gold, repeated = nq_files.read_gold([tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"])
    assert gold == {"-7": (SHORT, YES), "8": (LONG,)}
    assert repeated == ["8"]


def test_predictions_round_trip_in_the_official_form(tmp_path):
    rng = random.Random(3)
    labels = [SHORT, TWO_SPANS, YES, NULL, Label(long=Span(5, 90, 1, 9), shorts=(Span(6, 7, 2, 3),))]
    given = {
        name: Prediction(name, label, rng.random(), -rng.random())
        for name, label in zip(["-5", "1", "02", "x", "9"], labels, strict=True)
    }
    assert nq_files.write_predictions(tmp_path / "p.json.gz", given.values()) == 5
    assert nq_files.read_predictions(tmp_path / "p.json.gz") == (given, [])
    with gzip.open(tmp_path / "p.json.gz", "rt") as lines:
        record = json.load(lines)["predictions"][0]
    null = {"start_byte": -1, "end_byte": -1}
    assert record == {
        "example_id": -5,
        "long_answer": {**null, "start_token": 0, "end_token": 50},
        "long_answer_score": given["-5"].long_score,
        "short_answers": [{**null, "start_token": 3, "end_token": 5}],
        "short_answers_score": given["-5"].short_score,
        "yes_no_answer": "NONE",
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        nq_files.write_predictions(tmp_path / "q.json", [Prediction("1", NULL, -np.inf, 0.0)])
    assert not (tmp_path / "q.json").exists()


GOOD = {"example_id": 4, "long_answer_score": 1, "short_answers_score": 2.5}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"long_answer_score": 1}, r"predictions\[0\]: missing key 'example_id'"),
        ({"example_id": 4, "long_answer_score": 1}, r"example_id 4\): missing key 'short_answers_score'"),
        ({**GOOD, "long_answer_score": None}, "'long_answer_score': expected a number, found null"),
        ({**GOOD, "long_answer_score": float("nan")}, "expected a number, found NaN"),
        ({**GOOD, "long_answer": {"start_token": 4, "end_token": 4}}, r"token span \[4, 4\) is empty"),
        ({**GOOD, "long_answer": {"start_token": -1, "end_token": 4}}, "half given"),
        ({**GOOD, "long_answer": {"start_byte": 1}}, "expected 'start_token' and 'end_token'"),
        ({**GOOD, "short_answers": {}}, "'short_answers': expected a list"),
        ({**GOOD, "yes_no_answer": "MAYBE"}, "must be NONE, YES or NO, found 'MAYBE'"),
        (
            {**GOOD, "yes_no_answer": "YES", "short_answers": [{"start_token": 1, "end_token": 2}]},
            "found both",
        ),
    ],
)
def test_bad_predictions_are_named(tmp_path, record, message):
    (tmp_path / "p.json").write_text(json.dumps({"predictions": [record]}))
    with pytest.raises(InputError, match=message):
        nq_files.read_predictions(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ('{"example_id": 2, "annotations"', r"g.jsonl:2: invalid JSON: .* \(column"),
        ("[]", "g.jsonl:2: expected an object"),
        ('{"example_id": 2}', "g.jsonl:2: missing key 'annotations'"),
        ('{"example_id": 2, "annotations": []}', "g.jsonl:2: expected at least one annotation"),
        ('{"example_id": 2, "annotations": [{}]}', "g.jsonl:2: annotation: missing key 'long_answer'"),
    ],
)
def test_bad_gold_lines_are_named(tmp_path, second, message):
    first = json.dumps({"example_id": 1, "annotations": [annotation(NULL)]})
    (tmp_path / "g.jsonl").write_text(f"{first}\n{second}\n")
    with pytest.raises(InputError, match=message):
        nq_files.read_gold([tmp_path / "g.jsonl"])
    (tmp_path / "e.jsonl").write_text("\n")
    with pytest.raises(InputError, match=r"e.jsonl: empty data set"):
        nq_files.read_gold([tmp_path / "e.jsonl"])
