"""Readers and the data stage: official layouts in, examples out, bad records named."""

from __future__ import annotations

import gzip
import json

import pytest

from qaprune.data.examples import Answer, Example, read_examples, write_examples
from qaprune.data.nq import document_context, nq_example, read_nq, simplify_hub_row
from qaprune.data.sources import fetch_encoder, read_dataset
from qaprune.data.squad2 import read_squad2, squad2_from_rows, write_squad2_gold
from qaprune.data.stages import data, sample_questions, split_holdout
from qaprune.errors import InputError


def squad(count: int = 3, **changes) -> dict:
    articles = []
    for number in range(count):
        context = f"Town {number} was founded in 18{number:02d} by Ann."
        qas = [
            {
                "id": f"a{number}",
                "question": "When?",
                "answers": [{"text": f"18{number:02d}", "answer_start": context.index("18")}],
                "is_impossible": False,
            },
            {
                "id": f"b{number}",
                "question": "Why?",
                "answers": [],
                "is_impossible": True,
                "plausible_answers": [],
            },
        ]
        articles.append({"title": f"T{number}", "paragraphs": [{"context": context, "qas": qas}]})
    return {"version": "v2.0", "data": articles} | changes


def write(path, value) -> str:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_squad2_layout(tmp_path):
    examples = list(read_squad2(tmp_path / write(tmp_path / "t.json", squad())))
    assert [e.id for e in examples] == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert examples[0].answers[0].text == "1800"
    assert examples[1].answers == ()
    assert len({e.article for e in examples}) == 3
    with gzip.open(tmp_path / "t.json.gz", "wt") as file:
        json.dump(squad(), file)
    assert list(read_squad2(tmp_path / "t.json.gz")) == examples


def test_gold_survives_writing_in_the_official_layout(tmp_path):
    examples = list(read_squad2(tmp_path / write(tmp_path / "t.json", squad())))
    write_squad2_gold(tmp_path / "g.json.gz", examples)
    again = list(read_squad2(tmp_path / "g.json.gz"))
    assert [(e.id, e.context, e.answers) for e in again] == [(e.id, e.context, e.answers) for e in examples]


def faulty(path: list, value) -> dict:
    """A data set with one planted fault."""
    broken = squad()
    target = broken
    for key in path[:-1]:
        target = target[key]
    if value is None:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return broken


FIRST = ["data", 0, "paragraphs", 0]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ('{"data": [', "invalid JSON"),
        ({"data": []}, "empty data set"),
        ([], "expected an object"),
        (faulty([*FIRST, "context"], None), "data[0].paragraphs[0]: missing key 'context'"),
        (
            faulty([*FIRST, "qas", 0, "answers", 0, "answer_start"], 5),
            "qas[0] (id a0): answer '1800' is not in its context",
        ),
        (faulty([*FIRST, "qas", 0, "answers", 0, "text"], "1900"), "answer '1900' is not in its context"),
        (faulty([*FIRST, "qas", 1, "id"], "a0"), "qas[1]: duplicate id 'a0'"),
        (faulty([*FIRST, "qas", 0, "id"], 7), "expected a string"),
    ],
)
def test_bad_squad2_is_one_line_that_names_the_record(tmp_path, broken, message):
    path = tmp_path / "t.json"
    write(path, broken)
    with pytest.raises(InputError) as error:
        list(read_squad2(path))
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def nq_record(**changes) -> dict:
    return {
        "example_id": 11,
        "question_text": "who built it",
        "document_title": "Mill",
        "document_text": 'Mill <P> The mill was built by Jon Berg . </P> <Td_colspan="2"> In 1874 </Td>',
        "long_answer_candidates": [{"start_token": 1, "end_token": 11, "top_level": True}],
        "annotations": [
            {
                "annotation_id": 1,
                "yes_no_answer": "NONE",
                "long_answer": {"candidate_index": 0, "start_token": 1, "end_token": 11},
                "short_answers": [{"start_token": 7, "end_token": 9}],
            }
        ],
    } | changes


def test_nq_context_maps_back_to_tokens():
    record = nq_record()
    document = document_context(record["document_text"])
    assert document.context == "Mill The mill was built by Jon Berg . In 1874"
    tokens = record["document_text"].split(" ")
    for word, start in zip(document.context.split(" "), document.starts, strict=True):
        first, last = document.token_span(start, start + len(word))
        assert tokens[first:last] == [word]
    start = document.context.index("Jon")
    assert document.token_span(start, start + len("Jon Berg")) == (7, 9)
    assert document.token_span(start + 1, start + 2) == (7, 8)


def test_nq_answers_are_the_hull_of_the_short_spans():
    assert nq_example(nq_record(), "x").answers[0].text == "Jon Berg"
    several = nq_record()
    several["annotations"][0]["short_answers"] = [
        {"start_token": 7, "end_token": 8},
        {"start_token": 3, "end_token": 4},
    ]
    assert nq_example(several, "x").answers[0].text == "mill was built by Jon"
    assert nq_example(nq_record(annotations=[]), "x").answers == ()


def test_official_simplified_samples_are_read():
    from tests.conftest import ROOT

    folder = ROOT.parent / "shared" / "data" / "nq"
    if not folder.exists():
        pytest.skip("the official samples are not here")
    for split in ("train", "dev"):
        examples = list(read_nq(folder / f"official-simplified-sample-{split}.jsonl"))
        assert examples
        for example in examples:
            for answer in example.answers:
                assert example.context[answer.start : answer.start + len(answer.text)] == answer.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":1: invalid JSON"),
        ("", "empty data set"),
        (json.dumps({"question_text": "x"}), "missing key 'document_text'"),
        (
            json.dumps(nq_record(annotations=[{"short_answers": [{"start_token": 90, "end_token": 95}]}])),
            ":1: short answer tokens [90, 95)",
        ),
    ],
)
def test_bad_nq_is_one_line_that_names_the_line(tmp_path, line, message):
    (tmp_path / "n.jsonl").write_text(line)
    with pytest.raises(InputError) as error:
        list(read_nq(tmp_path / "n.jsonl"))
    assert message in str(error.value)


def test_a_cut_gzip_is_named(tmp_path):
    with gzip.open(tmp_path / "n.jsonl.gz", "wt") as file:
        file.write((json.dumps(nq_record()) + "\n") * 400)
    whole = (tmp_path / "n.jsonl.gz").read_bytes()
    (tmp_path / "n.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut gzip"):
        list(read_nq(tmp_path / "n.jsonl.gz"))


def test_hub_rows_become_the_same_examples(tmp_path):
    rows = [
        {
            "id": "a0",
            "title": "T0",
            "context": "Town was founded in 1800.",
            "question": "When?",
            "answers": {"text": ["1800"], "answer_start": [20]},
        },
        {
            "id": "b0",
            "title": "T0",
            "context": "Town was founded in 1800.",
            "question": "Why?",
            "answers": {"text": [], "answer_start": []},
        },
    ]
    first, second = squad2_from_rows(rows, "hub")
    assert first.answers[0].text == "1800"
    assert first.group == second.group
    assert second.answers == ()
    nq_row = {
        "id": "11",
        "question": {"text": "who built it"},
        "document": {"title": "Mill", "url": "u", "tokens": {"token": ["<P>", "By", "Jon", "</P>"]}},
        "long_answer_candidates": {"start_token": [0], "end_token": [4], "top_level": [True]},
        "annotations": {
            "id": ["1"],
            "yes_no_answer": [-1],
            "long_answer": [
                {"start_token": 0, "end_token": 4, "candidate_index": 0, "start_byte": 0, "end_byte": 9}
            ],
            "short_answers": [{"start_token": [2], "end_token": [3], "text": ["Jon"]}],
        },
    }
    assert nq_example(simplify_hub_row(nq_row), "hub").answers[0].text == "Jon"


@pytest.mark.parametrize("task", ["squad2", "nq"])
def test_a_hub_source_without_a_network_is_one_line(task):
    with pytest.raises(InputError, match=r"hub source 'no/such-set': cannot be fetched"):
        next(read_dataset(task, {"hub": "no/such-set"}, "train"))
    with pytest.raises(InputError, match=r"hub source 'no/such-model': cannot be fetched"):
        fetch_encoder({"hub": "no/such-model"})


def test_the_holdout_is_whole_articles_and_fixed():
    examples = [Example(f"q{i}", "q", "c", f"g{i // 3}", f"a{i // 6}") for i in range(120)]
    train, held = split_holdout(examples, 0.2)
    assert not {e.article for e in train} & {e.article for e in held}
    assert len(train) + len(held) == 120
    assert 24 <= len(held) < 30
    again = split_holdout(list(reversed(examples)), 0.2)[1]
    assert {e.id for e in again} == {e.id for e in held}
    with pytest.raises(InputError, match="at least two articles"):
        split_holdout(examples[:6], 0.2)


def test_a_mixed_holdout_has_only_articles_with_unanswerable_questions():
    """As dev has: a threshold chosen on articles without them would answer everything."""
    answers = (Answer("c", 0),)
    examples = [
        Example(f"q{i}", "q", "c", f"g{i // 3}", f"a{i // 6}", () if i // 6 % 3 == 0 and i % 2 else answers)
        for i in range(180)
    ]
    _, held = split_holdout(examples, 0.1, mixed=True)
    assert 18 <= len(held) < 24
    assert sum(not e.answers for e in held) == len(held) / 2
    only = [e for e in examples if e.answers]
    assert split_holdout(only, 0.1, mixed=True)[1] == split_holdout(only, 0.1)[1]
    assert len({e.article for e in split_holdout(examples, 0.9, mixed=True)[0]}) == 20


def test_files_and_hub_rows_name_articles_alike(tmp_path):
    record = {"id": "1", "question": "q", "is_impossible": True, "answers": []}
    article = {"title": "Oslo", "paragraphs": [{"context": "c", "qas": [record]}]}
    (tmp_path / "a.json").write_text(json.dumps({"data": [article]}))
    row = {
        "id": "1",
        "title": "Oslo",
        "context": "c",
        "question": "q",
        "answers": {"text": [], "answer_start": []},
    }
    (local,), (hub,) = read_squad2(tmp_path / "a.json"), squad2_from_rows([row], "hub")
    assert local.article == hub.article == "Oslo"


def test_samples_are_nested_and_fixed():
    examples = [Example(f"q{i}", "q", "c", "g", "a") for i in range(100)]
    small, large = (sample_questions(examples, count) for count in (20, 60))
    assert {e.id for e in small} < {e.id for e in large}
    assert sample_questions(examples, None) == examples


def test_prepared_dev_has_no_answers_and_its_gold_does(tmp_path):
    source = {"path": write(tmp_path / "t.json", squad(8))}
    spec = {
        "task": "squad2",
        "train": source,
        "dev": source,
        "holdout_share": 0.2,
        "train_questions": None,
        "holdout_questions": None,
        "dev_questions": 4,
        "full_dev": True,
    }
    out = tmp_path / "out"
    out.mkdir()
    data(spec, {}, out, print)
    dev = list(read_examples(out / "dev.jsonl.gz"))
    assert len(dev) == 16
    assert not any(e.answers for e in dev)
    assert "18" not in "".join(json.dumps(e.question) for e in dev)
    gold = list(read_squad2(out / "dev-gold.json.gz"))
    assert {e.id for e in gold} == {e.id for e in dev}
    assert any(e.answers for e in gold)
    # The sample is a prefix, so that rows scored on it read the front of the windows.
    assert {e.id for e in dev[:4]} == {
        e.id for e in sample_questions(list(read_squad2(tmp_path / "t.json")), 4)
    }


def test_examples_survive_their_file(tmp_path):
    examples = list(read_squad2(tmp_path / write(tmp_path / "t.json", squad())))
    write_examples(tmp_path / "e.jsonl.gz", examples)
    assert list(read_examples(tmp_path / "e.jsonl.gz")) == examples
    first = (tmp_path / "e.jsonl.gz").read_bytes()
    write_examples(tmp_path / "e.jsonl.gz", examples)
    assert (tmp_path / "e.jsonl.gz").read_bytes() == first
