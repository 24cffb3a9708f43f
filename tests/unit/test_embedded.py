"""The embedded corpus: official layouts, no leak from train to dev, and no cheap way to answer."""

import json
import re
from collections import Counter

import pytest

from qaprune.data.embedded import write_corpus
from qaprune.data.nq import ANSWER_TYPES, check_readable, label_of
from qaprune.data.nq_layouts import check_record
from qaprune.errors import InputError

TRAIN, DEV = 1200, 1000
STOP = {
    "the",
    "a",
    "of",
    "was",
    "is",
    "it",
    "its",
    "in",
    "at",
    "by",
    "for",
    "who",
    "when",
    "where",
    "what",
    "did",
}
VALUE = re.compile(
    r"(?:the )?(?:[A-Z][a-z]+ )*[A-Z][a-z]+(?: \d{4})?|\d+ [a-z]+|\d+"
)  # a run of capitalised words, or a number with what it counts


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus")
    counts = write_corpus(out, seed=5, train_questions=TRAIN, dev_questions=DEV)
    assert counts["squad2_dev"] == counts["nq_dev"] == DEV
    assert counts["squad2_train"] == counts["nq_train"] == TRAIN
    assert counts["corpus_lines"] == len((out / "corpus.txt").read_text().splitlines())
    return out


def squad(corpus, split):
    """Rows (question, context, answers, title) of a SQuAD file."""
    data = json.loads((corpus / "squad2" / f"{split}.json").read_text())["data"]
    return [
        (qa, paragraph["context"], article["title"])
        for article in data
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def nq(corpus, split):
    return [json.loads(line) for line in (corpus / "nq" / f"{split}.jsonl").read_text().splitlines()]


def plain(example):
    """(question, running text without tags, gold short texts) of an NQ example; yes and no are texts."""
    tokens = example["document_text"].split()
    gold = []
    for said in example["annotations"]:
        spans = said["short_answers"]
        gold += [" ".join(tokens[span["start_token"] : span["end_token"]]) for span in spans[:1]]
        gold += [said["yes_no_answer"]] * (said["yes_no_answer"] != "NONE")
    enough = len(gold) >= min(2, len(example["annotations"]))
    return example["question_text"], " ".join(t for t in tokens if not t.startswith("<")), gold * enough


@pytest.mark.parametrize("split", ["train", "dev"])
def test_squad_layout_is_official(corpus, split):
    rows = squad(corpus, split)
    assert len({qa["id"] for qa, _, _ in rows}) == len(rows)
    for qa, context, _ in rows:
        assert qa["is_impossible"] == (not qa["answers"])
        assert qa["question"].endswith("?")
        for answer in qa["answers"]:
            assert answer["text"]
            assert context[answer["answer_start"] :].startswith(answer["text"])
    golds = [len(qa["answers"]) for qa, _, _ in rows if qa["answers"]]
    assert set(golds) == ({1} if split == "train" else {3})
    differing = sum(len({a["text"] for a in qa["answers"]}) > 1 for qa, _, _ in rows)
    assert (differing > 0) == (split == "dev")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_nq_layout_is_official(corpus, split):
    examples = nq(corpus, split)
    assert len({example["example_id"] for example in examples}) == len(examples)
    for example in examples:
        check_record(example, "x")
        check_readable(example, "x", labels=True)
        tokens = example["document_text"].split(" ")
        candidates = example["long_answer_candidates"]
        for candidate in candidates:
            tag = tokens[candidate["start_token"]]
            assert tokens[candidate["end_token"] - 1] == tag.replace("<", "</")
            assert candidate["top_level"] == (tag in ("<P>", "<Table>", "<Ul>"))
        assert len(example["annotations"]) == (1 if split == "train" else 5)
        for annotation in example["annotations"]:
            long, short = annotation["long_answer"], annotation["short_answers"]
            for span in short:
                assert long["start_token"] < span["start_token"] < span["end_token"] < long["end_token"]
                words = tokens[span["start_token"] : span["end_token"]]
                assert not any(word.startswith("<") for word in words)


def test_nq_is_the_whole_task(corpus):
    """All answer types, short answers in every kind of part, several at once, and annotators who differ."""
    kinds, parts, several, differing = Counter(), Counter(), 0, 0
    for example in nq(corpus, "dev"):
        tokens = example["document_text"].split(" ")
        labels = {
            json.dumps({k: v for k, v in a.items() if k != "annotation_id"}) for a in example["annotations"]
        }
        differing += len(labels) > 1
        kinds[ANSWER_TYPES[label_of(example["annotations"])[1]]] += 1
        for annotation in example["annotations"][:1]:
            several += len(annotation["short_answers"]) > 1
            if annotation["short_answers"]:
                parts[tokens[annotation["long_answer"]["start_token"]]] += 1
    assert set(kinds) == set(ANSWER_TYPES)
    assert min(kinds.values()) > 0.01 * DEV
    assert min(parts[tag] for tag in ("<P>", "<Table>", "<Ul>")) > 0.02 * DEV
    assert several > 0.01 * DEV
    assert 0.2 * DEV < differing < 0.6 * DEV


def test_same_seed_gives_the_same_bytes(corpus, tmp_path):
    write_corpus(tmp_path / "same", seed=5, train_questions=TRAIN, dev_questions=DEV)
    write_corpus(tmp_path / "other", seed=6, train_questions=TRAIN, dev_questions=DEV)
    for name in ("squad2/train.json", "squad2/dev.json", "nq/train.jsonl", "nq/dev.jsonl", "corpus.txt"):
        assert (tmp_path / "same" / name).read_bytes() == (corpus / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (corpus / name).read_bytes()


def test_dev_shares_no_passage_entity_name_or_question_with_train(corpus):
    sets = {}
    for split in ("train", "dev"):
        rows, examples = squad(corpus, split), nq(corpus, split)
        names = {word for _, _, title in rows for word in title.split("_")}
        names |= {word for example in examples for word in example["document_title"].split()}
        answers = {a["text"] for qa, _, _ in rows for a in qa["answers"]}
        answers |= {text for example in examples for text in plain(example)[2]}
        sets[split] = {
            "passages": {c for _, c, _ in rows} | {e["document_text"] for e in examples},
            "titles": {t for _, _, t in rows} | {e["document_title"] for e in examples},
            "questions": {qa["question"] for qa, _, _ in rows} | {e["question_text"] for e in examples},
            "names": {
                answer for answer in answers - {"YES", "NO"} if answer[-1].isalpha() and answer[0].isupper()
            },
        }
    for kind, train in sets["train"].items():
        assert train
        assert not train & sets["dev"][kind], kind
    text = (corpus / "corpus.txt").read_text()
    assert not any(title.replace("_", " ") in text for title in sets["dev"]["titles"])


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_third_is_unanswerable(corpus, split):
    rows, examples = squad(corpus, split), nq(corpus, split)
    assert 0.28 < sum(qa["is_impossible"] for qa, _, _ in rows) / len(rows) < 0.4
    assert 0.28 < sum(not plain(example)[2] for example in examples) / len(examples) < 0.4


def test_most_documents_are_longer_than_a_window(corpus):
    lengths = [len(example["document_text"].split()) for example in nq(corpus, "dev")]
    assert sum(length > 70 for length in lengths) > 0.9 * len(lengths)


def f1(prediction, golds):
    """Best token F1 over the golds, as SQuAD 2.0 counts it; no golds means the answer is null."""
    if not golds:
        return float(not prediction)
    best = 0.0
    for gold in golds:
        left, right = (
            [w for w in x.lower().split() if w not in ("the", "a", "an")] for x in (prediction, gold)
        )
        same = sum((Counter(left) & Counter(right)).values())
        if same:
            best = max(best, 2 * same / (len(left) + len(right)))
    return best


def rows_of(corpus, dataset, split):
    if dataset == "nq":
        return [plain(example) for example in nq(corpus, split)]
    return [
        (qa["question"], context, [a["text"] for a in qa["answers"]])
        for qa, context, _ in squad(corpus, split)
    ]


def values(text, name_words):
    """Chunks that could be an answer: names and numbers that are not the entity's own name."""
    chunks = [match.group() for match in VALUE.finditer(text)]
    return [c for c in chunks if c not in ("It", "Its", "The") and not set(c.split()) & name_words]


def mean(scores):
    scores = list(scores)
    return 100 * sum(scores) / len(scores)


@pytest.mark.parametrize("dataset", ["squad2", "nq"])
def test_question_blind_baselines_stay_under_50(corpus, dataset):
    rows = rows_of(corpus, dataset, "dev")
    best = mean(f1("", golds) for _, _, golds in rows)
    for position in range(8):  # always the n-th chunk of the passage
        chosen = ((values(context, set()), golds) for _, context, golds in rows)
        best = max(
            best, mean(f1(chunks[min(position, len(chunks) - 1)], golds) for chunks, golds in chosen)
        )
    assert 25 < best < 50


def overlap_answer(question, context, threshold, typed):
    """A chunk of the clause that shares most words with the question, or null under a threshold.

    The entity's own name does not count: it stands all over the passage and would drown the word that
    matters. `typed` also lets the question word choose the sort of chunk.
    """
    name = set(re.findall(r"[A-Z]\w+", context.split(" is a ")[0]))
    asked = set(re.findall(r"\w+", question.lower())) - STOP - {word.lower() for word in name}
    clauses = re.split(r"(?<=[.;]) | ?, and |, while ", context)
    scored = [(len(asked & set(re.findall(r"\w+", clause.lower()))), clause) for clause in clauses]
    score, clause = max(scored, key=lambda pair: pair[0])
    chunks = values(clause, name)
    if typed:
        wanted = r"^[A-Za-z ]+$"
        if re.search(r"when|year", question.lower()):
            wanted = r"\d{4}$"
        elif re.search(r"how many|number|how much|cost|sum", question.lower()):
            wanted = r"^\d+"
        chunks = [chunk for chunk in chunks if re.search(wanted, chunk)]
    return chunks[0] if chunks and score >= threshold else ""


@pytest.mark.parametrize("dataset", ["squad2", "nq"])
@pytest.mark.parametrize("typed", [False, True])
def test_word_overlap_baselines_stay_under_50(corpus, dataset, typed):
    rows = rows_of(corpus, dataset, "dev")
    scores = [
        mean(
            f1(overlap_answer(question, context, threshold, typed), golds)
            for question, context, golds in rows
        )
        for threshold in (1, 2, 3)
    ]
    assert 30 < max(scores) < 50


def test_too_few_questions_are_refused(tmp_path):
    with pytest.raises(InputError, match="dev_questions"):
        write_corpus(tmp_path, seed=0, train_questions=100, dev_questions=0)
