"""Readers and the data stage: official layouts in, examples out, bad records named."""

from __future__ import annotations

import gzip
import json
import re
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import HfApi
from hypothesis import given
from hypothesis import strategies as st

from qaprune.data.examples import Answer, Example
from qaprune.data.nq import ANSWER_TYPES, check_readable, make_document, nq_example, page_of, read_nq
from qaprune.data.nq_layouts import check_record, simplify_hub_row
from qaprune.data.prepared import read_examples, write_examples
from qaprune.data.sources import fetch_encoder, read_squad2_source
from qaprune.data.split import sample_questions, split_holdout
from qaprune.data.squad2 import read_squad2, squad2_from_rows, write_squad2_gold
from qaprune.data.stages import data
from qaprune.errors import InputError
from qaprune.evaluate.nq_files import read_gold
from qaprune.jsonfile import number as json_number


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "t.json: JSON nested too deeply"),
        ('{"data": %s}' % ("9" * 5000), "t.json: invalid JSON: Exceeds the limit"),
        (json.dumps(squad()).replace("Town 0", "\\ud800"), "t.json: an escape is half of a surrogate pair"),
        (json.dumps(squad()).replace("true", '"false"', 1), "'is_impossible': expected true or false"),
    ],
)
def test_bad_squad2_files_are_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        list(read_squad2(tmp_path / write(tmp_path / "t.json", text)))


@pytest.mark.parametrize("text", ["1" + "0" * 400, "Infinity", "-Infinity", "NaN", "true", '"1"', "null"])
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(InputError, match=r"^x: expected a number, found "):
        json_number(json.loads(text), "x")
    assert json_number(3, "x") == 3.0


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
        "document_text": "Mill <P> The mill was built by Jon Berg . </P> "
        '<Table> <Td_colspan="2"> In 1874 </Td>',
        "long_answer_candidates": [
            {"start_token": 1, "end_token": 11, "top_level": True},
            {"start_token": 11, "end_token": 16, "top_level": True},
            {"start_token": 12, "end_token": 16, "top_level": False},
        ],
        "annotations": [nq_annotation()],
    } | changes


def nq_annotation(shorts=((7, 9),), candidate=0, span=(1, 11), yes_no="NONE") -> dict:
    return {
        "annotation_id": 1,
        "yes_no_answer": yes_no,
        "long_answer": {"candidate_index": candidate, "start_token": span[0], "end_token": span[1]},
        "short_answers": [{"start_token": first, "end_token": last} for first, last in shorts],
    }


NULL = nq_annotation((), -1, (-1, -1))


def document_of(record: dict):
    return make_document(record["document_text"], record["long_answer_candidates"])


def check_way_back(record: dict) -> None:
    """Every word of the context leads to its token of the document, and every token back to its words."""
    document, tokens = document_of(record), record["document_text"].split(" ")
    words = document.context.split(" ")
    assert len(words) == len(document.starts) == len(document.tokens)
    leads = set(document.leads.tolist())
    for number, (word, start) in enumerate(zip(words, document.starts.tolist(), strict=True)):
        first, last = document.token_span(start, start + len(word))
        assert last == first + 1
        assert document.context[start : start + len(word)] == word
        if number in leads:
            assert first in document.parts[:, 0]
        else:
            assert tokens[first] == word
            assert document.answer(first, last) == Answer(word, start)
    texts = {n for n in range(len(tokens)) for a, b in document.parts.tolist() if a <= n < b}
    texts = {n for n in texts if tokens[n] and not re.fullmatch(r"</?[A-Z][^\s<>]*>", tokens[n])}
    assert texts == {t for n, t in enumerate(document.tokens.tolist()) if n not in leads}


def test_nq_context_is_the_parts_led_by_structure_tokens():
    record = nq_record()
    document = document_of(record)
    assert document.context == "[Paragraph=1] The mill was built by Jon Berg . [Table=1] In 1874"
    check_way_back(record)
    start = document.context.index("Jon")
    assert document.token_span(start, start + len("Jon Berg")) == (7, 9)
    assert document.token_span(start + 1, start + 2) == (7, 8)
    assert document.part_of(7, 9) == (1, 11)
    assert document.part_of(13, 14) == (11, 16)
    assert document.part_of(9, 13) is None
    assert document.part_of(0, 1) is None


def test_structure_tokens_count_by_kind_and_stop_at_the_last():
    parts = ["<P> a </P>", "<Ul> <Li> b </Li> </Ul>", "<P> c </P>", *["<P> d </P>"] * 40]
    tokens = " ".join(parts).split(" ")
    starts = [n for n, token in enumerate(tokens) if token in ("<P>", "<Ul>")]
    candidates = [
        {"start_token": first, "end_token": last, "top_level": True}
        for first, last in zip(starts, [*starts[1:], len(tokens)], strict=True)
    ]
    context = make_document(" ".join(tokens), candidates).context
    assert context.startswith("[Paragraph=1] a [List=1] b [Paragraph=2] c [Paragraph=3] d")
    assert context.endswith("[Paragraph=32] d [Paragraph=32] d")


def test_a_document_without_candidates_is_one_part_that_holds_no_long_answer():
    document = make_document("Mill <P> stands </P> still", [])
    assert document.context == "[Paragraph=1] Mill stands still"
    assert document.part_of(2, 3) is None


@pytest.mark.parametrize(
    ("annotations", "text", "kind"),
    [
        ([nq_annotation()], "Jon Berg", "short"),
        ([nq_annotation(((7, 8), (3, 4)))], "mill was built by Jon", "short"),
        ([nq_annotation(())], "The mill was built by Jon Berg .", "long"),
        ([nq_annotation((), yes_no="NO")], "The mill was built by Jon Berg .", "no"),
        ([NULL, nq_annotation((), yes_no="YES")], "The mill was built by Jon Berg .", "yes"),
        ([nq_annotation(()), nq_annotation(((13, 15),), 1, (11, 16))], "In 1874", "short"),
        ([nq_annotation((), 2, (12, 16))], "In 1874", "long"),
        ([NULL], None, "null"),
        ([], None, "null"),
    ],
)
def test_nq_labels(annotations, text, kind):
    example = nq_example(nq_record(annotations=annotations), "x")
    assert [answer.text for answer in example.answers] == ([] if text is None else [text])
    assert ANSWER_TYPES[example.answer_type] == kind
    for answer in example.answers:
        assert example.context[answer.start : answer.start + len(answer.text)] == answer.text


WORDS = st.sampled_from(["a", "Jon", "<P>", "</P>", "<Td_x>", "<b>", "é", "naïve", "...", "<", "[P]"])


@given(st.lists(WORDS, min_size=1, max_size=40), st.data())
def test_the_way_back_is_exact_for_any_document(tokens, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(tokens)), max_size=8)))
    candidates = [
        {"start_token": a, "end_token": b, "top_level": data.draw(st.booleans())} for a, b in pairwise(cuts)
    ]
    record = nq_record(document_text=" ".join(tokens), long_answer_candidates=candidates)
    if any(candidate["top_level"] for candidate in candidates):
        check_way_back(record)


def test_white_space_inside_a_token_is_no_end_of_a_word():
    text = "<P> the x\u00a0y \u2003 mill \u00a0z </P>"
    document = make_document(text, [{"start_token": 0, "end_token": 7, "top_level": True}])
    assert document.context == "[Paragraph=1] the x_y mill z"
    assert document.tokens.tolist() == [0, 1, 2, 4, 5]


def passes(judge, *arguments) -> bool:
    try:
        judge(*arguments)
    except InputError:
        return False
    return True


def test_what_is_refused_is_what_could_not_be_read():
    """The cheap check of the first pass and the making of an example agree."""
    rng = np.random.default_rng(3)
    tokens = ["a", "b", "<P>", "</P>", "<Table>", ""]
    judged = set()
    for _ in range(600):
        size = int(rng.integers(1, 9))
        cuts = sorted({int(cut) for cut in rng.integers(0, size + 1, 4)})
        candidates = [
            {"start_token": first, "end_token": last, "top_level": bool(rng.random() < 0.7)}
            for first, last in pairwise(cuts)
        ]
        annotations = []
        if candidates:
            index = int(rng.integers(len(candidates)))
            span = (candidates[index]["start_token"], candidates[index]["end_token"])
            first = int(rng.integers(size))
            shorts = [(first, int(rng.integers(first + 1, size + 1)))] if rng.random() < 0.5 else ()
            annotations = [nq_annotation(shorts, index, span)]
        record = nq_record(
            document_text=" ".join(rng.choice(tokens, size)),
            long_answer_candidates=candidates,
            annotations=annotations,
        )
        found = [passes(check_readable, record, "x", True), passes(nq_example, record, "x")]
        assert found[0] == found[1], record
        judged.add(found[0])
    assert judged == {True, False}


def test_dev_needs_annotations_and_a_page_is_known_by_its_address(nq_files):
    train, dev, out = nq_files
    dev.write_text(json.dumps(nq_record(annotations=[])))
    with pytest.raises(InputError, match=r"dev.jsonl:1: annotations: expected at least one"):
        data(nq_spec(train, dev), {}, out, print)
    url = "https://en.wikipedia.org//w/index.php?title=Some_Mill&amp;oldid={}"
    pages = [nq_record(document_url=url.format(n)) for n in (866450897, 7)]
    for record in pages:
        del record["document_title"]
    assert {page_of(record) for record in pages} == {"Some_Mill"}
    assert page_of({"example_id": 5}) == "5"


def original(record: dict) -> dict:
    """A simplified record in the original layout, with blanks in a token."""
    tokens = [
        {
            "token": token.replace("_", " "),
            "html_token": token[0] == "<",
            "start_byte": n,
            "end_byte": n + 1,
        }
        for n, token in enumerate(record["document_text"].split(" "))
    ]
    rest = {key: value for key, value in record.items() if key != "document_text"}
    return rest | {"document_html": "<p>", "document_tokens": tokens}


def test_the_original_layout_gives_the_same_examples(tmp_path):
    (tmp_path / "s.jsonl").write_text(json.dumps(nq_record()))
    (tmp_path / "o.jsonl").write_text(json.dumps(original(nq_record())))
    (simple,), (full,) = read_nq(tmp_path / "s.jsonl"), read_nq(tmp_path / "o.jsonl")
    assert simple.context == full.context
    assert simple.answers == full.answers


def test_official_simplified_samples_are_read():
    from tests.conftest import ROOT

    folder = ROOT.parent / "shared" / "data" / "nq"
    if not folder.exists():
        pytest.skip("the official samples are not here")
    kinds = set()
    for split in ("train", "dev"):
        path = folder / f"official-simplified-sample-{split}.jsonl"
        for line in path.read_text().splitlines():
            check_way_back(json.loads(line))
        for example in read_nq(path):
            kinds |= set(re.findall(r"\[([A-Z][a-z]+)=", example.context))
            for answer in example.answers:
                assert example.context[answer.start : answer.start + len(answer.text)] == answer.text
    assert kinds == {"Paragraph", "Table"}


def changed(path: list, value) -> dict:
    """A record with one planted fault."""
    record = nq_record()
    target = record
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return record


BAD_NQ = [
    ("{", "invalid JSON"),
    (json.dumps({"example_id": 1, "question_text": "x"}), "missing key 'document_text'"),
    (json.dumps(changed(["question_text"], None)), "'question_text': expected a string"),
    (json.dumps(changed(["annotations", 0, "short_answers", 0, "end_token"], 99)), "tokens [7, 99)"),
    (
        json.dumps(changed(["annotations", 0, "short_answers", 0], 5)),
        "short_answers[0]: expected an object",
    ),
    (
        json.dumps(changed(["long_answer_candidates", 0, "end_token"], 1)),
        "long_answer_candidates[0]: tokens",
    ),
    (
        json.dumps(changed(["long_answer_candidates", 1, "top_level"], "yes")),
        "'top_level': expected true or",
    ),
    (json.dumps(changed(["annotations", 0, "long_answer", "candidate_index"], 7)), "expected -1 to 2"),
    (
        json.dumps(changed(["annotations", 0, "long_answer", "end_token"], 10)),
        "are not those of candidate 0",
    ),
    (json.dumps(nq_record(annotations=[nq_annotation(candidate=-1)])), "points at no candidate"),
    (json.dumps(changed(["annotations", 0, "yes_no_answer"], "MAYBE")), "expected NONE, YES or NO"),
    (
        json.dumps(nq_record(annotations=[nq_annotation(((0, 1),))])),
        "are not text of a top-level candidate",
    ),
    (json.dumps(nq_record(document_text="<P> " * 15 + "<P>")), "expected text besides HTML"),
    (json.dumps(nq_record(question_text=" ")), "'question_text': expected text"),
    (json.dumps(changed(["long_answer_candidates", 2, "top_level"], True)), "overlaps another"),
    (json.dumps(nq_record(annotations=[nq_annotation((), -1)])), "it points at no candidate"),
    (
        json.dumps(changed(["annotations", 0, "long_answer", "start_byte"], 5)),
        "bytes [5, -1) are not a span",
    ),
    (json.dumps(changed(["document_text"], "x" + chr(0xD800))), "half of a surrogate pair"),
    ('{"example_id": "\\uD800"}', "half of a surrogate pair"),
    ('{"example_id": ' + "9" * 5000 + "}", "invalid JSON: Exceeds the limit"),
    ("\ufeff{}", "invalid JSON: Unexpected UTF-8 BOM"),
    ('{"example_id": "\\ud800"}', "half of a surrogate pair"),
    ("[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(
    "key", ["start_token", "end_token", "top_level", "start_byte", "end_byte", "other"]
)
@pytest.mark.parametrize("value", [-1, 0, 1, 11, 15, 16, 17, 10**30, True, False, None, 2.0, "1", "gone"])
def test_a_look_at_all_candidates_finds_what_a_look_at_each_finds(key, value, monkeypatch):
    record = nq_record(annotations=[])
    candidate = record["long_answer_candidates"][1]
    candidate[key] = value
    if value == "gone":
        del candidate[key]
    found = []
    for _ in range(2):
        try:
            found.append(check_record(record, "x"))
        except InputError as error:
            found.append(str(error))
        monkeypatch.setattr("qaprune.data.nq_layouts._plain", lambda *_: False)
    assert found[0] == found[1]


@pytest.mark.parametrize("candidate", [None, 3, [], "start_token", {}])
def test_a_candidate_that_is_no_token_range_is_named(candidate):
    record = nq_record()
    record["long_answer_candidates"].append(candidate)
    with pytest.raises(InputError, match=r"x \(example_id 11\): long_answer_candidates\[3\]: "):
        check_record(record, "x")


def nq_spec(train, dev, **changes) -> dict:
    return {
        "task": "nq",
        "train": {"path": str(train)},
        "dev": {"path": str(dev)},
        "holdout_share": 0.2,
        "train_questions": None,
        "holdout_questions": None,
        "dev_questions": None,
        "full_dev": True,
        "on_bad_example": "fail",
    } | changes


def nq_lines(count: int, first: int = 0) -> list[str]:
    return [
        json.dumps(nq_record(example_id=first + n, document_title=f"T{(first + n) // 2}"))
        for n in range(count)
    ]


@pytest.fixture
def nq_files(tmp_path):
    """Train and dev of 40 and 10 good examples, and an output folder."""
    for name, lines in (("train", nq_lines(40)), ("dev", nq_lines(10, 1000))):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "out").mkdir()
    return tmp_path / "train.jsonl", tmp_path / "dev.jsonl", tmp_path / "out"


@pytest.mark.parametrize(("line", "message"), BAD_NQ)
def test_bad_nq_is_one_line_that_names_the_line(nq_files, line, message):
    train, dev, out = nq_files
    train.write_text("\n".join([*nq_lines(2), line, *nq_lines(2, 50)]))
    with pytest.raises(InputError) as error:
        data(nq_spec(train, dev), {}, out, print)
    assert message in str(error.value)
    assert f"{train}:3" in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_nq_is_counted_and_listed_where_the_config_says_skip(nq_files):
    train, dev, out = nq_files
    bad = [line for line, _ in BAD_NQ]
    train.write_text("\n".join([*nq_lines(20), *bad, *nq_lines(1), *nq_lines(20, 20)]))
    found = data(nq_spec(train, dev, on_bad_example="skip"), {}, out, print)
    assert found["bad_examples"] == len(bad) + 1, "the repeated id is one too"
    assert len(found["bad_examples_first"]) == 10
    assert f"{train}:21" in found["bad_examples_first"][0]
    ids = {e.id for name in ("train", "holdout") for e in read_examples(out / f"{name}.jsonl.gz")}
    assert ids == {str(n) for n in range(40)}


def test_empty_nq_and_repeated_ids_are_named(nq_files):
    train, dev, out = nq_files
    train.write_text("\n".join([*nq_lines(3), *nq_lines(1)]))
    with pytest.raises(InputError, match=r"train.jsonl:4: example_id 0 again; it is also in .*:1$"):
        data(nq_spec(train, dev), {}, out, print)
    train.write_text("\n\n")
    with pytest.raises(InputError, match="empty data set"):
        data(nq_spec(train, dev), {}, out, print)


def test_a_cut_gzip_is_named_and_what_came_before_it_may_be_kept(nq_files, tmp_path):
    _, dev, out = nq_files
    train = tmp_path / "n.jsonl.gz"
    random_text = np.random.default_rng(1).integers(0, 10**9, 4000)
    lines = [
        json.dumps(nq_record(example_id=n, document_title=str(x)))
        for n, x in enumerate(random_text.tolist())
    ]
    train.write_bytes(gzip.compress("\n".join(lines).encode()))
    train.write_bytes(train.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"n.jsonl.gz: damaged or cut gzip file"):
        data(nq_spec(train, dev), {}, out, print)
    with pytest.raises(InputError, match="cut gzip"):
        list(read_nq(train))
    found = data(nq_spec(train, dev, on_bad_example="skip"), {}, out, print)
    assert found["bad_examples"] == 1
    assert found["train"] + found["holdout"] > 3000
    assert "cut gzip" in " ".join(found["bad_examples_first"])


def test_prepared_nq_dev_has_no_annotations_and_its_gold_does(nq_files):
    train, dev, out = nq_files
    counts = data(nq_spec(train, dev, dev_questions=4, train_questions=20), {}, out, print)
    assert (counts["train"], counts["dev_sample"], counts["dev"]) == (20, 4, 10)
    examples = list(read_examples(out / "dev.jsonl.gz"))
    assert not any(e.answers or e.annotations for e in examples)
    gold, repeated = read_gold([out / "dev-gold.json.gz"])
    assert list(gold) == [e.id for e in examples]
    assert not repeated
    assert all(labels[0].has_short for labels in gold.values())
    every = list(read_nq(dev))
    assert {e.id for e in examples[:4]} == {e.id for e in sample_questions(every, 4)}
    held = {e.article for e in read_examples(out / "holdout.jsonl.gz")}
    assert held
    assert not held & {e.article for e in read_examples(out / "train.jsonl.gz")}


def test_shards_processes_and_layouts_change_nothing(nq_files, tmp_path, monkeypatch):
    train, dev, out = nq_files
    data(nq_spec(train, dev), {}, out, print)
    wanted = {path.name: gzip.decompress(path.read_bytes()) for path in out.iterdir()}
    assert set(wanted) == {"train.jsonl.gz", "holdout.jsonl.gz", "dev.jsonl.gz", "dev-gold.json.gz"}
    folder = tmp_path / "shards"
    folder.mkdir()
    lines = nq_lines(40)
    (folder / "a.jsonl").write_text("\r\n".join(lines[:10]))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[10:30]).encode()))
    (folder / "c.jsonl").write_text(
        "\n".join(json.dumps(original(json.loads(line))) for line in lines[30:])
    )
    again = tmp_path / "again"
    again.mkdir()
    monkeypatch.setattr("qaprune.data.lines.CHUNK_BYTES", 2000)
    data(nq_spec(folder, dev), {"threads": 2}, again, print)
    for name, content in wanted.items():
        found = [json.loads(line) for line in gzip.decompress((again / name).read_bytes()).splitlines()]
        for record in found:
            record.pop("document_html", None)
        assert found == [json.loads(line) for line in content.splitlines()]


def test_a_folder_without_shards_is_named(nq_files, tmp_path):
    _, dev, out = nq_files
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no shards in this folder"):
        data(nq_spec(tmp_path / "empty", dev), {}, out, print)


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
    assert nq_example(simplify_hub_row(hub_row(1)), "hub").answers[0].text == "Jon"


def hub_row(number: int) -> dict:
    return {
        "id": str(number),
        "question": {"text": "who built it"},
        "document": {"title": f"T{number}", "url": "u", "tokens": {"token": ["<P>", "By", "Jon", "</P>"]}},
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


def test_a_hub_source_without_a_network_is_one_line(nq_files):
    with pytest.raises(InputError, match=r"hub source 'no/such-set': cannot be fetched"):
        next(read_squad2_source({"hub": "no/such-set"}, "train"))
    train, dev, out = nq_files
    with pytest.raises(InputError, match=r"hub source 'no/such-set': cannot be fetched"):
        data(nq_spec(train, dev) | {"train": {"hub": "no/such-set"}}, {}, out, print)
    with pytest.raises(InputError, match=r"hub source 'no/such-model': cannot be fetched"):
        fetch_encoder({"hub": "no/such-model"})


@pytest.mark.parametrize(("revision", "commit"), [(None, "of-main"), ("v2", "of-v2")])
def test_both_splits_are_of_the_commit_that_is_recorded(tmp_path, monkeypatch, revision, commit):
    read = []

    def load(name, *, split, revision, streaming):
        read.append((name, split, revision, streaming))
        answers = {"text": ["1800"], "answer_start": [3]}
        row = {"context": "In 1800.", "question": "When?", "answers": answers}
        return [row | {"id": f"{split}{n}", "title": f"{split}{n}"} for n in range(40)]

    def info(self, name, *, revision, repo_type, timeout):
        assert (name, repo_type) == ("some/squad", "dataset")
        return SimpleNamespace(sha=f"of-{revision or 'main'}")

    monkeypatch.setattr("datasets.load_dataset", load)
    monkeypatch.setattr(HfApi, "repo_info", info)
    source = {"hub": "some/squad"} | ({"revision": revision} if revision else {})
    counts = data(nq_spec("", "") | {"task": "squad2", "train": source, "dev": source}, {}, tmp_path, print)
    assert read == [("some/squad", split, commit, True) for split in ("train", "validation")]
    assert counts["digests"] == {"train": commit, "dev": commit}


def test_hub_rows_are_prepared_like_a_file(nq_files, monkeypatch):
    train, dev, out = nq_files
    rows = [hub_row(n) for n in range(40)]
    monkeypatch.setattr("qaprune.data.sources.hub_rows", lambda source, split: iter(rows))
    monkeypatch.setattr(HfApi, "repo_info", lambda self, repo, **more: SimpleNamespace(sha="c0ffee"))
    counts = data(nq_spec(train, dev) | {"train": {"hub": "some/nq", "revision": "r"}}, {}, out, print)
    assert counts["train"] + counts["holdout"] == 40
    assert counts["digests"]["train"] == "c0ffee"
    assert not list(out.glob("*spool*"))
    rows[3]["annotations"]["short_answers"][0]["end_token"] = [90]
    del rows[7]["document"]
    spec = nq_spec(train, dev) | {"train": {"hub": "some/nq"}}
    with pytest.raises(InputError, match=r"some/nq: train:4 "):
        data(spec, {}, out, print)
    skipped = data(spec | {"on_bad_example": "skip"}, {}, out, print)
    assert skipped["bad_examples"] == 2
    assert "some/nq: train:8: missing key" in skipped["bad_examples_first"][1]


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
