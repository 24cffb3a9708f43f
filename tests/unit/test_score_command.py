"""`qaprune score` from its options to the printed JSON object."""

import argparse
import gzip
import json

import pytest

from qaprune.errors import InputError
from qaprune.evaluate import score

GOLD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "Rain in the north.",
                    "qas": [
                        {"id": "q1", "answers": [{"text": "the north", "answer_start": 8}]},
                        {"id": "q2", "answers": []},
                        {"id": "q3", "answers": [{"text": "Rain", "answer_start": 0}]},
                    ],
                }
            ]
        }
    ]
}
PREDICTIONS = {"q1": "north", "q2": "Rain", "q3": "Rain in"}


@pytest.fixture
def files(tmp_path):
    def write(name, value):
        path = tmp_path / name
        text = value if isinstance(value, str) else json.dumps(value)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return str(path)

    return write


def run(*words):
    parser = argparse.ArgumentParser()
    score.add_arguments(parser)
    return score.main(parser.parse_args(words))


def printed(capsys, *words):
    assert run(*words) == 0
    return json.loads(capsys.readouterr().out)


def test_squad2_by_hand(files, capsys):
    words = ["--dataset", "squad2", "--gold", files("g.json", GOLD)]
    found = printed(capsys, *words, "--predictions", files("p.json.gz", PREDICTIONS))
    assert found == {
        "exact": pytest.approx(100 / 3),
        "f1": pytest.approx(100 * (1 + 2 / 3) / 3),
        "total": 3,
        "HasAns_exact": 50.0,
        "HasAns_f1": pytest.approx(100 * (1 + 2 / 3) / 2),
        "HasAns_total": 2,
        "NoAns_exact": 0.0,
        "NoAns_f1": 0.0,
        "NoAns_total": 1,
    }


def test_squad2_with_na_probs_by_hand(files, capsys):
    na_probs = {"q2": 0.9, "q3": 0.5, "q1": 1.25}
    words = ["--dataset", "squad2", "--gold", files("g.json.gz", GOLD)]
    words += ["--predictions", files("p.json", PREDICTIONS), "--na-probs", files("n.json", na_probs)]
    found = printed(capsys, *words)
    assert found["f1"] == pytest.approx(100 * (2 / 3) / 3)  # q1 is null at the script's threshold of 1.0
    assert found["exact"] == 0.0
    # f1: start 1 (q2 null); q3: 5/3; q2: 2/3; q1: 5/3, not better. exact: 1, 1, 0, 1
    assert found["best_f1"] == pytest.approx(500 / 9)
    assert found["best_f1_thresh"] == 0.5
    assert found["best_exact"] == pytest.approx(100 / 3)
    assert found["best_exact_thresh"] == 0.0


def nq_line(identity, *shorts):
    labels = [
        {
            "long_answer": {"start_token": 0, "end_token": 9, "candidate_index": 0},
            "short_answers": [{"start_token": s, "end_token": s + 1}],
            "yes_no_answer": "NONE",
        }
        for s in shorts
    ]
    return json.dumps({"example_id": identity, "annotations": labels}) + "\n"


def nq_prediction(identity, start, value):
    return {
        "example_id": identity,
        "long_answer": {"start_byte": -1, "end_byte": -1, "start_token": 0, "end_token": 9},
        "long_answer_score": value,
        "short_answers": [{"start_byte": -1, "end_byte": -1, "start_token": start, "end_token": start + 1}],
        "short_answers_score": value,
        "yes_no_answer": "NONE",
    }


def test_nq_by_hand_over_two_gold_files(files, capsys):
    gold = [files("a.jsonl", nq_line(1, 3, 4)), files("b.jsonl.gz", nq_line(2, 3, 3))]
    predictions = {"predictions": [nq_prediction(1, 4, 0.5), nq_prediction(2, 5, 0.25)]}
    found = printed(
        capsys, "--dataset", "nq", "--gold", *gold, "--predictions", files("p.json", predictions)
    )
    assert found["long-best-threshold-f1"] == found["long-best-threshold-recall"] == 1.0
    assert found["long-best-threshold"] == 0.25
    assert found["short-best-threshold-f1"] == pytest.approx(2 / 3)
    assert found["short-best-threshold"] == 0.5
    assert found["short-precision-at-precision>=0.9"] == 1.0
    assert found["short-recall-at-precision>=0.9"] == 0.5


def test_nq_says_what_it_read_otherwise_than_expected(files, capsys):
    gold = files("g.jsonl", nq_line(1, 3))
    predictions = {"predictions": [nq_prediction(1, 4, 0.5), nq_prediction(1, 3, 0.5)]}
    assert run("--dataset", "nq", "--gold", gold, "--predictions", files("p.json", predictions)) == 0
    notes = capsys.readouterr().err
    assert "predictions: 1 ids repeated, first '1'" in notes
    assert "1 of 1 examples have one annotation" in notes


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ('{"q1": "x",\n "q2": }', r"p\.json:2: invalid JSON: Expecting value \(column 8\)"),
        ('{"q1": "x"}', r"p\.json: 2 of 3 gold ids missing, first 'q2'"),
        (json.dumps(PREDICTIONS | {"q9": ""}), r"p\.json: 1 ids not in the gold file, first 'q9'"),
        (json.dumps(PREDICTIONS | {"q1": None}), r"prediction of 'q1': expected a string, found null"),
        ("[]", r"p\.json: expected an object"),
    ],
)
def test_bad_squad2_predictions(files, predictions, message):
    words = ["--dataset", "squad2", "--gold", files("g.json", GOLD)]
    with pytest.raises(InputError, match=message):
        run(*words, "--predictions", files("p.json", predictions))


def test_bad_na_probs(files):
    words = ["--dataset", "squad2", "--gold", files("g.json", GOLD)]
    words += ["--predictions", files("p.json", PREDICTIONS), "--na-probs"]
    with pytest.raises(InputError, match=r"n\.json: 2 of 3 gold ids missing"):
        run(*words, files("n.json", {"q1": 0.5}))
    with pytest.raises(InputError, match=r"n\.json: 'q2': expected a number, found \"high\""):
        run(*words, files("n.json", {"q1": 0.5, "q2": "high"}))


def test_wrong_combinations_of_options_are_usage_errors(files, capsys):
    gold, predictions = files("g.json", GOLD), files("p.json", PREDICTIONS)
    assert run("--dataset", "squad2", "--gold", gold, gold, "--predictions", predictions) == 2
    options = ["--predictions", predictions, "--na-probs", predictions]
    assert run("--dataset", "nq", "--gold", gold, *options) == 2
    assert capsys.readouterr().out == ""
