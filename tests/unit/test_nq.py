"""Natural Questions from documents to answers: pieces, windows, decoding, thresholds."""

from __future__ import annotations

import json
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qaprune.data.features import FlatLogits, load_features, write_features
from qaprune.data.lines import Chunk
from qaprune.data.nq import ANSWER_TYPES, nq_example
from qaprune.data.scratch import bert_tokenizer, roberta_tokenizer
from qaprune.data.stages import features
from qaprune.data.structure import STRUCTURE_TOKENS, add_structure_tokens, structure_ids
from qaprune.data.windows import (
    Featuriser,
    WindowSettings,
    load_tokenizer,
    start_windows,
    windows_of,
)
from qaprune.data.wordpieces import WordPieces, trimmed
from qaprune.evaluate.decode import decode_documents
from qaprune.evaluate.holdout import nq_thresholds
from qaprune.evaluate.nq_answers import longest_candidates, predicted
from qaprune.evaluate.nq_files import write_predictions
from qaprune.evaluate.predictions import Predictions, predict_spans
from qaprune.evaluate.stage import QUESTION_COLUMNS, NqGold

TEXT = "The old mill of Árnes was built by Jon Stefánsson in 1,874 near a river; it burned twice (see map)."


def record(number: int, kind: str = "short", filler: int = 30) -> dict:
    """A page of a paragraph, a list and a table; the list holds the answer."""
    parts = [
        ["<P>", *(TEXT.split() * filler)[: 17 * filler], "</P>"],
        ["<Ul>", "<Li>", "built", "by", "Jon", "Berg", "</Li>", "<Li>", "and", "Ann", "</Li>", "</Ul>"],
        ["<Table>", "<Tr>", "<Td>", "1874", "</Td>", "</Tr>", "</Table>"],
    ]
    tokens, candidates = ["<H1>", "Mill", "</H1>"], []
    for part in parts:
        candidates.append(
            {"start_token": len(tokens), "end_token": len(tokens) + len(part), "top_level": True}
        )
        tokens += part
    first = candidates[1]["start_token"]
    shorts = [{"start_token": first + 4, "end_token": first + 6}] if kind == "short" else []
    long = {"candidate_index": 1, **{key: candidates[1][key] for key in ("start_token", "end_token")}}
    if kind == "null":
        long = {"candidate_index": -1, "start_token": -1, "end_token": -1}
    yes_no = kind.upper() if kind in ("yes", "no") else "NONE"
    return {
        "example_id": number,
        "question_text": "who built the mill",
        "document_title": f"Mill {number}",
        "document_text": " ".join(tokens),
        "long_answer_candidates": candidates,
        "annotations": [{"yes_no_answer": yes_no, "long_answer": long, "short_answers": shorts}],
    }


@pytest.fixture(scope="module", params=["bert", "roberta"])
def encoder(request, tmp_path_factory):
    make = {"bert": bert_tokenizer, "roberta": roberta_tokenizer}[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    make([TEXT, "built by Jon Berg and Ann", "who built the mill"], 300, 128).save_pretrained(folder)
    return request.param, folder


SETTINGS = WindowSettings(64, 16, 24, 0.2)


def featuriser(encoder, labels: bool = True, windows: WindowSettings = SETTINGS) -> Featuriser:
    architecture, folder = encoder
    return Featuriser(load_tokenizer(folder), architecture, windows, labels, structure=True)


WORDS = st.text(
    st.characters(blacklist_categories=("Cs",)).filter(lambda letter: not letter.isspace()),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(TEXT.split()) | st.sampled_from(STRUCTURE_TOKENS) | WORDS, max_size=30),
    st.integers(1, 9),
)
def test_pieces_from_the_cache_are_the_library_s_own(encoder, words, at_once):
    words = ["[Paragraph=1]", *words]
    tokenizer = add_structure_tokens(load_tokenizer(encoder[1]))
    text = " ".join(words)
    starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
    library = tokenizer.encode(text, add_special_tokens=False)
    expected = trimmed(text, library.offsets)
    pieces = WordPieces(tokenizer)
    for _ in range(2):
        with mock.patch("qaprune.data.wordpieces.LEARNT_AT_ONCE", at_once):
            (found,) = pieces.encode([(text, starts)])
        assert len(found) == len(library.ids)
        for low, high in ((0, len(found)), (len(found) // 3, 2 * len(found) // 3)):
            assert found.ids(low, high).tolist() == library.ids[low:high]
            for side, wanted in zip(found.offsets(low, high), expected, strict=True):
                assert side.tolist() == wanted[low:high].tolist()


def test_a_full_cache_starts_anew(encoder, monkeypatch):
    monkeypatch.setattr("qaprune.data.wordpieces.KNOWN_WORDS", 3)
    tokenizer = add_structure_tokens(load_tokenizer(encoder[1]))
    pieces = WordPieces(tokenizer)
    for text in ("[Paragraph=1] the old mill", "[Paragraph=1] was built by", "[Paragraph=1] the old"):
        words = text.split(" ")
        (found,) = pieces.encode([(text, np.cumsum([0, *(len(word) + 1 for word in words[:-1])]))])
        wanted = tokenizer.encode(text, add_special_tokens=False).ids
        assert found.ids(0, len(found)).tolist() == wanted


def test_texts_read_together_are_those_read_alone(encoder):
    tokenizer = add_structure_tokens(load_tokenizer(encoder[1]))
    texts = [
        "[Paragraph=1] the old mill",
        "[List=2] é",
        "[Table=1]",
        "[Paragraph=1] the \u65e5\u672c mill burned",
    ]
    pairs = [(text, np.cumsum([0, *(len(word) + 1 for word in text.split(" ")[:-1])])) for text in texts]
    for pair, found in zip(pairs, WordPieces(tokenizer).encode(pairs), strict=True):
        (alone,) = WordPieces(tokenizer).encode([pair])
        assert found.ids(0, len(found)).tolist() == alone.ids(0, len(alone)).tolist()
        for side, wanted in zip(found.offsets(0, len(found)), alone.offsets(0, len(alone)), strict=True):
            assert side.tolist() == wanted.tolist()
    assert WordPieces(tokenizer).encode([]) == []


def test_structure_tokens_are_single_and_added_once(encoder):
    tokenizer = load_tokenizer(encoder[1])
    before = tokenizer.get_vocab_size()
    ids = structure_ids(add_structure_tokens(tokenizer))
    assert ids == list(range(before, before + len(STRUCTURE_TOKENS)))
    assert structure_ids(add_structure_tokens(tokenizer)) == ids
    assert structure_ids(load_tokenizer(encoder[1])) == []


@pytest.mark.parametrize("kind", ANSWER_TYPES)
def test_windows_carry_the_answer_and_its_type(encoder, kind):
    example = nq_example(record(1, kind), "x")
    features = featuriser(encoder, windows=WindowSettings(64, 16, 24))([example])
    held = np.flatnonzero(features.start_position)
    assert (len(held) > 0) == (kind != "null")
    assert set(features.answer_type.tolist()) == {0} | {ANSWER_TYPES.index(kind)}
    assert (features.answer_type > 0).tolist() == (features.start_position > 0).tolist()
    for window in held:
        row = features.row_ptr[window]
        start = features.char_start[row + features.start_position[window]]
        end = features.char_end[row + features.end_position[window]]
        assert example.context[start:end] == (
            "Jon Berg" if kind == "short" else "built by Jon Berg and Ann"
        )


def test_null_windows_are_thinned_out_in_training_alone(encoder):
    example = nq_example(record(1), "x")
    every = featuriser(encoder, windows=WindowSettings(64, 16, 24))([example])
    kept = featuriser(encoder)([example])
    assert (every.start_position > 0).sum() == (kept.start_position > 0).sum()
    nulls = [(found.start_position == 0).sum() for found in (every, kept)]
    assert 0 < nulls[1] < 0.6 * nulls[0]
    assert featuriser(encoder, labels=False, windows=WindowSettings(64, 16, 24))([example]).windows == (
        every.windows
    )


def test_parts_of_a_data_set_are_written_as_one_file(encoder, tmp_path):
    examples = [nq_example(record(n, ANSWER_TYPES[n % 5]), "x") for n in range(12)]
    make = featuriser(encoder)
    whole = make(examples)
    write_features(tmp_path / "f.safetensors", (make(examples[n : n + 5]) for n in (0, 5, 10)), whole.meta)
    found = load_features(tmp_path / "f.safetensors")
    for name, value in vars(whole).items():
        same = np.array_equal(getattr(found, name), value) if isinstance(value, np.ndarray) else None
        assert same if same is not None else getattr(found, name) == value, name
    assert [path.name for path in tmp_path.iterdir()] == ["f.safetensors"]


def test_a_chunk_of_lines_gives_the_same_windows(encoder):
    architecture, folder = encoder
    lines = [json.dumps(record(n, ANSWER_TYPES[n % 5])) for n in range(6)]
    windows = {"length": 64, "stride": 16, "max_question_tokens": 24, "null_windows": 0.2}
    start_windows(folder, architecture, "nq", windows)
    found, answered = windows_of(("train", Chunk("f", 1, "\n".join(lines).encode())))
    wanted = featuriser(encoder)([nq_example(json.loads(line), "x") for line in lines])
    assert np.array_equal(found.input_ids, wanted.input_ids)
    assert np.array_equal(found.answer_type, wanted.answer_type)
    assert answered == sum(ANSWER_TYPES[n % 5] != "null" for n in range(6))


def test_features_do_not_hang_on_processes_or_chunks(encoder, tmp_path, monkeypatch):
    architecture, folder = encoder
    odd = ["x\u00a0", "\u00a0", "y", "\u2003z", "\u00a0\u00a0"]
    records = [record(n, ANSWER_TYPES[n % 5], filler=2 + n % 3) for n in range(12)]
    for n, entry in enumerate(records):
        tokens = entry["document_text"].split(" ")
        tokens[5 : 5 + n % 5] = odd[: n % 5]
        entry["document_text"] = " ".join(tokens)
    paths = {}
    for split in ("train", "holdout", "dev"):
        paths[split] = tmp_path / f"{split}.jsonl"
        paths[split].write_text("\n".join(map(json.dumps, records)))
    config = {"model_type": architecture, "max_position_embeddings": 66}
    (folder / "config.json").write_text(json.dumps(config))
    windows = {"length": 64, "stride": 16, "max_question_tokens": 24, "null_windows": 0.5}
    spec = {"architecture": architecture, "task": "nq", "windows": windows}
    found = []
    for threads, size in ((1, 4_000_000), (1, 900), (2, 900)):
        monkeypatch.setattr("qaprune.data.lines.CHUNK_BYTES", size)
        out = tmp_path / f"{threads}-{size}"
        out.mkdir()
        features(spec, paths | {"encoder": folder, "threads": threads}, out, print)
        found.append([(out / f"{split}.safetensors").read_bytes() for split in paths])
    assert found[0] == found[1] == found[2]
    windows = [load_features(out / f"{split}.safetensors").windows for split in paths]
    assert windows[0] < windows[1] == windows[2], "train alone is thinned out"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_split_without_questions_takes_none_from_the_next(encoder, tmp_path, threads):
    architecture, folder = encoder
    lines = {"train": [record(1), record(2)], "holdout": [], "dev": [record(3)]}
    paths = {split: tmp_path / f"{split}.jsonl" for split in lines}
    for split, path in paths.items():
        path.write_text("\n".join(map(json.dumps, lines[split])))
    windows = {"length": 64, "stride": 16, "max_question_tokens": 24, "null_windows": 0.5}
    spec = {"architecture": architecture, "task": "nq", "windows": windows}
    features(spec, paths | {"encoder": folder, "threads": threads}, tmp_path, print)
    found = {split: load_features(tmp_path / f"{split}.safetensors") for split in lines}
    assert {split: part.ids for split, part in found.items()} == {
        "train": ["1", "2"],
        "holdout": [],
        "dev": ["3"],
    }
    assert len(found["dev"].start_position) == 0 < len(found["train"].start_position)


def by_hand(start, end, row_ptr, first, last, question, questions, leads, most):
    """Every span of every window, one after the other."""
    best = {}
    for w in range(len(question)):
        begin = row_ptr[w]
        null = start[begin] + end[begin]
        for s in range(first[w], last[w]):
            for e in range(s, min(s + most, last[w])):
                if leads[begin + s : begin + e + 1].any():
                    break
                found = (start[begin + s] + end[begin + e] - null, -w, -s, -e, null)
                best[question[w]] = max(best.get(question[w], found), found)
    return [best.get(q) for q in range(questions)]


@pytest.mark.parametrize("block", [1, 3, 2048])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_documents_are_decoded_as_by_hand(seed, block, monkeypatch):
    monkeypatch.setattr("qaprune.evaluate.decode.BLOCK", block)
    generator = np.random.default_rng(seed)
    windows = int(generator.integers(1, 7))
    lengths = generator.integers(6, 14, windows)
    row_ptr = np.concatenate([[0], np.cumsum(lengths)])
    start, end = (generator.normal(size=row_ptr[-1]) for _ in range(2))
    first = generator.integers(1, 4, windows)
    last = np.maximum(first, lengths - generator.integers(1, 3, windows))
    question = np.sort(generator.integers(0, 3, windows))
    question = np.unique(question, return_inverse=True)[1]
    leads = generator.random(row_ptr[-1]) < generator.choice([0.0, 0.2, 1.0])
    arguments = (start, end, row_ptr, first, last, question, int(question.max()) + 1, leads)
    found = decode_documents(*arguments, 4)
    for number, wanted in enumerate(by_hand(*arguments, 4)):
        if wanted is None:
            assert found.window[number] == -1
            assert found.score[number] == -np.inf
            assert np.isfinite(found.null_score[number])
            continue
        above, window, begin, stop, null = wanted
        assert (found.window[number], found.start_token[number], found.end_token[number]) == (
            -window,
            -begin,
            -stop,
        )
        assert -found.null_odds[number] == pytest.approx(above)
        assert found.null_score[number] == pytest.approx(null)


def perfect(features) -> FlatLogits:
    """Logits that say what the labels say."""
    spans = np.zeros((len(features.input_ids), 2), np.float32)
    spans[features.row_ptr[:-1] + features.start_position, 0] = 9
    spans[features.row_ptr[:-1] + features.end_position, 1] = 9
    types = np.zeros((features.windows, 5), np.float32)
    types[np.arange(features.windows), features.answer_type] = 9
    return FlatLogits(spans, types)


@pytest.fixture
def answered(encoder):
    """Examples of all types, short ones beside, and what perfect logits say of them."""
    examples = [nq_example(record(n, ANSWER_TYPES[n % 5], filler=3), "x") for n in range(10)]
    features = featuriser(encoder, windows=WindowSettings(64, 16, 24))(examples)
    return examples, predict_spans(features, [e.context for e in examples], perfect(features), 30)


def test_predictions_are_the_annotations_where_the_logits_are_perfect(answered):
    examples, spans = answered
    found = predicted(examples, spans)
    for number, example in enumerate(examples):
        prediction, kind = found[example.id], ANSWER_TYPES[number % 5]
        if kind == "null":
            assert prediction.short_score < 0
            continue
        assert prediction.short_score == prediction.long_score > 9
        annotation = example.annotations[0]
        long = prediction.label.long
        assert (long.start_token, long.end_token) == tuple(
            annotation["long_answer"][key] for key in ("start_token", "end_token")
        )
        shorts = [(span.start_token, span.end_token) for span in prediction.label.shorts]
        assert shorts == [(s["start_token"], s["end_token"]) for s in annotation["short_answers"]]
        assert prediction.label.yes_no.upper() == annotation["yes_no_answer"]


def test_the_thresholds_of_perfect_logits_find_everything(answered):
    fitted = nq_thresholds(*answered)
    assert fitted["holdout_f1"] == fitted["holdout_long_f1"] == 100
    assert set(fitted) == {"threshold", "holdout_f1", "long_threshold", "holdout_long_f1"}


def test_long_answers_have_a_threshold_of_their_own(answered):
    """Nulls score above examples with a long answer alone: wrong for short ones, worth it for long ones."""
    examples, spans = answered
    times = 20  # so many that each kind is in every resample
    examples = [replace(e, id=f"{e.id}-{n}", group=f"{e.id}-{n}") for n in range(times) for e in examples]
    odds = np.array([{"null": 1.0, "long": 2.0}.get(ANSWER_TYPES[n % 5], -3.0) for n in range(10)] * times)
    fitted = nq_thresholds(
        examples,
        Predictions(
            [e.id for e in examples],
            np.tile(spans.start, times),
            np.tile(spans.end, times),
            spans.texts * times,
            -odds,
            np.zeros(len(odds)),
            np.tile(spans.types, times),
        ),
    )
    assert -3 < fitted["threshold"] < 1
    assert fitted["long_threshold"] > 2


def test_the_counts_of_a_question_give_the_figures_of_the_row(answered, tmp_path):
    """Short and long answers, each at a threshold of its own that drops some: what intervals come from."""
    examples, spans = answered
    lines = [{"example_id": e.id, "annotations": [e.annotations[0]] * 2} for e in examples]
    (tmp_path / "gold.jsonl").write_text("\n".join(map(json.dumps, lines)))
    odds = np.linspace(-3, 3, 10)
    changed = type(spans)(spans.ids, spans.start, spans.end, spans.texts, -odds, np.zeros(10), spans.types)
    gold = NqGold(tmp_path / "gold.jsonl", examples)
    row, counts = gold.score(changed, {"threshold": -1.0, "long_threshold": 2.0})
    assert counts.shape == (10, len(QUESTION_COLUMNS["nq"]) - 3)
    for column, (tp, predictions, golds) in zip(("f1", "long_f1"), np.split(counts.sum(0), 2), strict=True):
        assert 0 < row[column] < 100
        assert row[column] == pytest.approx(100 * 2 * tp / (predictions + golds))
    assert row["f1"] != row["long_f1"]


def test_a_page_without_a_word_piece_still_has_a_score_that_json_can_hold(encoder, tmp_path):
    page = record(1, "null")
    page["document_text"] = "<P> \u200b </P>"
    page["long_answer_candidates"] = [{"start_token": 0, "end_token": 3, "top_level": True}]
    example = nq_example(page, "x")
    features = featuriser(encoder, labels=False)([example])
    logits = FlatLogits(np.zeros((len(features.input_ids), 2), np.float32), np.zeros((1, 5), np.float32))
    found = predicted([example], predict_spans(features, [example.context], logits, 30))
    assert write_predictions(tmp_path / "p.json", found.values()) == 1
    assert json.loads((tmp_path / "p.json").read_text())["predictions"][0]["short_answers"] == []


def test_the_longest_candidate_reads_no_question(answered):
    examples, _ = answered
    for prediction in longest_candidates(examples).values():
        assert (prediction.label.long.start_token, prediction.label.has_short) == (3, False)
