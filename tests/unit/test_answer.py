"""Answering with a checkpoint: spans, windows, thresholds, the command, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import qaprune
from qaprune.cli import main
from qaprune.data.features import FlatLogits
from qaprune.data.nq import ANSWER_TYPES
from qaprune.data.scratch import build_encoder
from qaprune.data.structure import add_structure_tokens
from qaprune.data.windows import load_tokenizer
from qaprune.errors import InputError
from qaprune.models.checkpoint import save_checkpoint
from qaprune.models.encoder import load_model, read_config
from qaprune.models.rebuild import with_answer_types
from qaprune.serve.answer import windows_of

CONTEXT = "Anna Berg sold the red mill to Otto Falk in Lund. He paid nine crowns for it in the spring. "
WINDOWS = {"length": 40, "stride": 10, "max_answer_tokens": 8}


@pytest.fixture(scope="module", params=["bert", "roberta"])
def checkpoint(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    build_encoder(
        request.param,
        [CONTEXT, "Who sold the mill? Where did he pay?"] * 3,
        folder / "encoder",
        vocab_size=300,
        layers=2,
        hidden=32,
        heads=4,
        intermediate=24,
        max_positions=64,
        seed=3,
    )
    torch.manual_seed(4)  # the span head is fresh
    model = load_model(folder / "encoder")
    save_checkpoint(
        model, folder / "model", folder / "encoder", WINDOWS, {"variant": "teacher", "threshold": 0.5}
    )
    return folder / "model"


def test_an_answer_is_a_piece_of_its_context(checkpoint):
    answerer = qaprune.load(checkpoint, "cpu", threshold=float("inf"))
    answer = answerer.answer("Who sold the mill?", CONTEXT * 4)
    assert answer.text == (CONTEXT * 4)[answer.start : answer.end] != ""
    assert np.isfinite([answer.score, answer.null_score]).all()


def test_threshold_and_windows_are_the_checkpoints_own(checkpoint):
    answerer = qaprune.load(checkpoint, "cpu")
    assert answerer.threshold == 0.5
    assert {name: answerer.windows[name] for name in WINDOWS} == WINDOWS
    answer = answerer.answer("Who sold the mill?", CONTEXT)
    assert bool(answer.text) == (answer.null_score - answer.score <= 0.5)
    none = qaprune.load(checkpoint, "cpu", threshold=float("-inf")).answer("Who?", CONTEXT)
    assert (none.text, none.start, none.end) == ("", None, None)


def test_the_span_is_found_in_whatever_window_it_stands(checkpoint, monkeypatch):
    """Logits are planted at the first token of a word; windows overlap, and all that hold it agree."""
    context = CONTEXT * 5
    at = context.rindex("Falk")

    def planted(_model, features, _compute):
        logits = np.zeros((len(features.input_ids), 2), np.float32)
        starts = features.char_start == at
        logits[starts, 0] = logits[starts & (features.char_end > at), 1] = 9
        logits[features.row_ptr[:-1]] = -5
        return FlatLogits(logits)

    monkeypatch.setattr("qaprune.train.predict.predict_logits", planted)
    answer = qaprune.load(checkpoint, "cpu").answer("Who?", context)
    assert answer.start == at
    assert context[at : answer.end] == answer.text
    assert (answer.score, answer.null_score) == (18, -10)


def test_many_are_answered_as_one_by_one(checkpoint):
    answerer = qaprune.load(checkpoint, "cpu", "float32")
    pairs = [("Who sold it?", CONTEXT), ("Where?", CONTEXT * 3), ("How much did he pay?", CONTEXT)]
    for one, pair in zip(answerer.answer_many(pairs), pairs, strict=True):
        alone = answerer.answer(*pair)
        assert (one.text, one.start) == (alone.text, alone.start)
        assert one.score == pytest.approx(alone.score, abs=1e-4)
    assert answerer.answer_many([]) == []


@pytest.mark.parametrize(
    ("config", "length", "stride"),
    [
        ({"max_position_embeddings": 512}, 384, 128),
        ({"max_position_embeddings": 258}, 256, 85),
        ({"max_position_embeddings": 514, "qa_windows": {"length": 200, "stride": 50}}, 200, 50),
    ],
)
def test_windows_fit_the_positions(config, length, stride):
    windows = windows_of(config | {"model_type": "roberta"})
    assert (windows["length"], windows["stride"]) == (length, stride)
    assert windows["length"] - windows["max_question_tokens"] - 4 > windows["stride"]


@pytest.mark.parametrize("pair", [("", CONTEXT), ("Who?", " \n"), (None, CONTEXT)])
def test_questions_and_contexts_without_text_are_refused(checkpoint, pair):
    with pytest.raises(InputError, match="expected text"):
        qaprune.load(checkpoint, "cpu").answer(*pair)


def test_a_checkpoint_without_a_span_head_or_cut_short_is_refused(checkpoint, tmp_path):
    with pytest.raises(InputError, match="no span head"):
        qaprune.load(checkpoint.parent / "encoder")
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="cut short"):
        qaprune.load(tmp_path)
    assert read_config(tmp_path)["no_answer_threshold"] == 0.5


# The command.


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(["answer", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_one_question_from_a_file_or_from_standard_input(checkpoint, tmp_path, capsys, monkeypatch):
    (tmp_path / "context.txt").write_text(CONTEXT)
    words = ["--model", str(checkpoint), "--question", "Who sold it?", "--device", "cpu", "--context"]
    code, out, _ = run(capsys, *words, str(tmp_path / "context.txt"))
    assert code == 0
    answer = json.loads(out)
    assert list(answer) == ["text", "start", "end", "score", "null_score"]
    for given, expected in ((CONTEXT.encode(), out), (b"\xff" + CONTEXT.encode(), "")):
        # The locale's own reading lets bytes through that are no text.
        stream = io.TextIOWrapper(io.BytesIO(given), encoding="ascii", errors="surrogateescape")
        monkeypatch.setattr("sys.stdin", stream)
        code, found, err = run(capsys, *words, "-")
        assert found == expected
    assert (code, err) == (1, "qaprune: error: --context: -: not UTF-8 text\n")


def test_a_context_without_a_word_piece_has_no_answer_and_no_score(checkpoint, tmp_path, capsys):
    (tmp_path / "context.txt").write_text("\u200b\u200b")
    words = ["--model", str(checkpoint), "--question", "Who?", "--context", str(tmp_path / "context.txt")]
    code, out, _ = run(capsys, *words)
    answer = json.loads(out, parse_constant=pytest.fail)
    assert code == 0
    if checkpoint.parent.name.startswith("bert"):
        assert (answer["text"], answer["score"]) == ("", None)
    else:  # RoBERTa's words are made of bytes: it has pieces for these too
        assert answer["score"] is not None


def test_an_output_that_is_a_folder_is_refused_before_the_model_is_read(checkpoint, tmp_path, capsys):
    (tmp_path / "context.txt").write_text(CONTEXT)
    words = ["--question", "Who?", "--context", str(tmp_path / "context.txt"), "--out", str(tmp_path)]
    code, _, err = run(capsys, "--model", str(checkpoint), *words)
    assert (code, err) == (1, f"qaprune: error: --out: {tmp_path}: is a folder; expected a file to write\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"no_answer_threshold": None}, "config.json: no_answer_threshold: expected a number, found None"),
        ({"no_answer_threshold": "1"}, "config.json: no_answer_threshold: expected a number, found '1'"),
        ({"qa_windows": [40]}, "config.json: 'qa_windows': expected an object, found [40]"),
        ({"qa_windows": {"length": 0}}, "config.json: qa_windows: length: expected numbers of tokens"),
        ({"qa_windows": {"size": 9}}, "config.json: qa_windows: size: expected numbers of tokens, length"),
    ],
)
def test_a_checkpoint_s_config_is_checked(checkpoint, tmp_path, capsys, changes, message):
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    (tmp_path / "context.txt").write_text(CONTEXT)
    words = ["--question", "Who?", "--context", str(tmp_path / "context.txt")]
    code, _, err = run(capsys, "--model", str(folder), *words)
    assert code == 1
    assert message in err
    assert err.count("\n") == 1
    with pytest.raises(InputError, match="threshold: expected a number, found nan"):
        qaprune.load(checkpoint, threshold=float("nan"))


def test_a_file_of_questions_keeps_ids_and_order(checkpoint, tmp_path, capsys):
    lines = [{"id": f"q{i}", "question": f"Who {i}?", "context": CONTEXT * (1 + i % 3)} for i in range(70)]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)))
    code, printed, _ = run(capsys, "--model", str(checkpoint), "--jsonl", str(source), "--out", str(out))
    assert (code, printed) == (0, "")
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in found] == [row["id"] for row in lines]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "in.jsonl:2: invalid JSON"),
        ('{"question": "Who?"}', "in.jsonl:2: missing key 'context'"),
        ('{"question": 1, "context": "x"}', "in.jsonl:2: 'question': expected a string"),
        ('{"question": " ", "context": "x"}', "in.jsonl:2: question: expected text"),
        ('{"id": NaN, "question": "Who?", "context": "x"}', "in.jsonl:2: id: expected a string"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_left(checkpoint, tmp_path, capsys, line, message):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"question": "Who?", "context": CONTEXT}) + "\n" + line + "\n")
    out.write_text("before")
    code, _, err = run(capsys, "--model", str(checkpoint), "--jsonl", str(source), "--out", str(out))
    assert code == 1
    assert message in err
    assert err.count("\n") == 1
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--question", "Who?"], 2, "expected either --jsonl, or --question with --context"),
        (["--jsonl", "a", "--question", "Who?", "--context", "-"], 2, "expected either"),
        (["--question", "Who?", "--context", "none.txt"], 1, "none.txt: No such file"),
        (["--question", "Who\udcff?", "--context", "none.txt"], 1, "--question: not UTF-8 text"),
        (["--jsonl", "none.jsonl"], 1, "none.jsonl: no such file"),
    ],
)
def test_wrong_options_and_missing_files(checkpoint, capsys, words, code, message):
    found, out, err = run(capsys, "--model", str(checkpoint), *words)
    assert (found, out) == (code, "")
    assert message in err


def test_a_name_that_is_neither_folder_nor_reachable_is_one_line(capsys, tmp_path):
    (tmp_path / "c.txt").write_text(CONTEXT)
    words = ["--model", "no-such/model", "--question", "Who?", "--context", str(tmp_path / "c.txt")]
    code, _, err = run(capsys, *words)
    assert code == 1
    assert "no-such/model" in err
    assert err.count("\n") == 1


@pytest.fixture(scope="module")
def joint(checkpoint) -> Path:
    """The same with answer types, as trained on Natural Questions."""
    folder = checkpoint.parent / "joint"
    tokenizer = add_structure_tokens(load_tokenizer(checkpoint))
    model = with_answer_types(load_model(checkpoint), 5, tokenizer.get_vocab_size(), 1)
    facts = {"variant": "teacher", "threshold": 0.5, "long_threshold": 0.1}
    save_checkpoint(model, folder, checkpoint, WINDOWS, facts)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("kind", ["yes", "no", "short", "long"])
def test_a_model_with_answer_types_says_which_it_means(joint, kind):
    answerer = qaprune.load(joint, "cpu", threshold=float("inf"))
    with torch.no_grad():
        answerer.model.answer_type_outputs.bias[ANSWER_TYPES.index(kind)] = 99
    answer = answerer.answer("Was it sold?", CONTEXT * 2)
    assert answer.answer_type == kind
    if kind in ("yes", "no"):
        assert (answer.text, answer.start, answer.end) == (kind, None, None)
    else:
        assert answer.text == (CONTEXT * 2)[answer.start : answer.end] != ""


def test_answer_types_are_written_where_there_are_any(joint, checkpoint, tmp_path, capsys):
    (tmp_path / "page.txt").write_text(CONTEXT)
    for model, there in ((joint, True), (checkpoint, False)):
        options = ["--question", "Who?", "--context", str(tmp_path / "page.txt")]
        assert main(["answer", "--model", str(model), *options]) == 0
        assert ("answer_type" in json.loads(capsys.readouterr().out)) == there


def test_the_thresholds_of_a_checkpoint_are_in_its_config(joint):
    config = read_config(joint)
    assert (config["no_answer_threshold"], config["long_answer_threshold"]) == (0.5, 0.1)
    assert config["answer_types"] == 5
