"""From questions and contexts to windows with labels, by one encoder's tokenizer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

import numpy as np

from qaprune.data.examples import Example
from qaprune.data.features import NULL_TYPE, Features
from qaprune.data.lines import Chunk, Damage
from qaprune.data.nq import NqExample
from qaprune.data.prepared import prepared_example
from qaprune.data.structure import add_structure_tokens, structure_ids
from qaprune.data.wordpieces import Pieces, WordPieces, trimmed
from qaprune.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

SPLITS = ("train", "holdout", "dev")
SPECIALS = {"bert": ("[CLS]", "[SEP]", "[PAD]"), "roberta": ("<s>", "</s>", "<pad>")}


@dataclass(frozen=True)
class WindowSettings:
    """How questions become windows; all lengths in tokens.

    `length` counts special tokens; neighbouring windows of a long context share `stride` context tokens;
    a longer question is cut to `max_question_tokens`. `null_windows` is the share of train windows without
    the answer that is kept, by a fixed rule, of questions that have one in another window or none at all
    in a context of several windows.
    """

    length: int
    stride: int
    max_question_tokens: int
    null_windows: float = 1.0


def load_tokenizer(encoder: Path) -> Tokenizer:
    """The encoder's own fast tokenizer, without padding or truncation."""
    from tokenizers import Tokenizer

    path = encoder / "tokenizer.json"
    if not path.exists():
        raise InputError(f"{path}: no such file; expected a fast tokenizer beside the encoder")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise InputError(f"{path}: not a tokenizer file ({error})") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class _Context(Protocol):
    """A context's tokens: their number, their ids, and where each stands in its text."""

    def __len__(self) -> int: ...

    def ids(self, begin: int, end: int) -> np.ndarray: ...

    def offsets(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]: ...


class _Encoded:
    """A context as the library tokenises it, with trimmed character offsets."""

    def __init__(self, text: str, encoding: Encoding):
        self._ids = np.array(encoding.ids, np.int32)
        self._starts, self._ends = trimmed(text, encoding.offsets)

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, begin: int, end: int) -> np.ndarray:
        return self._ids[begin:end]

    def offsets(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        return self._starts[begin:end], self._ends[begin:end]


class _Rows:
    """Collects windows; `arrays()` turns them into the flat arrays of `Features`."""

    def __init__(self) -> None:
        self.ids: list[np.ndarray] = []
        self.starts: list[np.ndarray] = []
        self.ends: list[np.ndarray] = []
        self.window: list[tuple[int, int, int, int, int, int]] = []

    def arrays(self) -> dict[str, np.ndarray]:
        flat = {
            name: np.concatenate(rows or [np.empty(0, np.int32)]).astype(np.int32, copy=False)
            for name, rows in (
                ("input_ids", self.ids),
                ("char_start", self.starts),
                ("char_end", self.ends),
            )
        }
        columns = np.array(self.window, np.int32).reshape(-1, 6).T
        names = ("context_start", "context_end", "question_index")
        names += ("start_position", "end_position", "answer_type")
        flat |= {name: np.ascontiguousarray(column) for name, column in zip(names, columns, strict=True)}
        flat["row_ptr"] = np.concatenate([[0], np.cumsum([len(row) for row in self.ids])]).astype(np.int64)
        return flat


class Featuriser:
    """Turns examples into windows, with gold positions where `labels` is set.

    Of several gold answers the first is the label; a window that does not hold all of it is a null window.
    With `structure` the tokenizer learns the structure tokens of Natural Questions, and windows carry
    answer types. `words` is a memory that others with the same tokenizer may share.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        architecture: str,
        settings: WindowSettings,
        labels: bool,
        structure: bool = False,
        words: WordPieces | None = None,
    ):
        self.tokenizer = add_structure_tokens(tokenizer) if structure else tokenizer
        self._cls, self._sep, pad = (tokenizer.token_to_id(token) for token in SPECIALS[architecture])
        if None in (self._cls, self._sep, pad):
            expected = ", ".join(SPECIALS[architecture])
            raise InputError(f"tokenizer: expected the special tokens {expected}")
        self._between = [self._sep] if architecture == "bert" else [self._sep, self._sep]
        self._settings = settings
        self._labels = labels
        self._structure = structure
        self._words = words or WordPieces(tokenizer)
        self.meta: dict[str, Any] = {
            "architecture": architecture,
            "pad_id": pad,
            "length": settings.length,
            "stride": settings.stride,
        }
        if structure:
            ids = structure_ids(tokenizer)
            self.meta |= {"structure_ids": [min(ids), max(ids)], "vocabulary": tokenizer.get_vocab_size()}

    def __call__(self, examples: Sequence[Example]) -> Features:
        """The windows of these examples."""
        questions = self.tokenizer.encode_batch(
            [e.question.strip() for e in examples], add_special_tokens=False
        )
        rows = _Rows()
        read = zip(examples, questions, self._contexts(examples), strict=True)
        for index, (example, question, context) in enumerate(read):
            self._add(rows, index, example, question.ids, context)
        arrays = rows.arrays()
        if not self._labels:
            arrays |= {name: np.empty(0, np.int32) for name in ("start_position", "end_position")}
        if not (self._labels and self._structure):
            arrays["answer_type"] = np.empty(0, np.int32)
        return Features(
            **arrays, ids=[e.id for e in examples], groups=[e.group for e in examples], meta=dict(self.meta)
        )

    def _contexts(self, examples: Sequence[Example]) -> list[_Context]:
        """The tokens of each example's context; texts that questions share are read once."""
        if self._structure and all(isinstance(example, NqExample) for example in examples):
            return self._words.encode([(e.context, e.document.starts) for e in examples])
        texts = list(dict.fromkeys(example.context for example in examples))
        encodings = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        known = {text: _Encoded(text, found) for text, found in zip(texts, encodings, strict=True)}
        return [known[example.context] for example in examples]

    def _add(
        self, rows: _Rows, index: int, example: Example, question: list[int], context: _Context
    ) -> None:
        settings = self._settings
        head = [self._cls, *question[: settings.max_question_tokens], *self._between]
        room = settings.length - len(head) - 1
        if room <= settings.stride:
            raise InputError(
                f"features: length {settings.length} leaves {room} tokens for the context, "
                f"expected more than stride {settings.stride}"
            )
        size = len(context)
        span = token_span(example, context) if self._labels and example.answers else None
        kind = example.answer_type if isinstance(example, NqExample) else NULL_TYPE
        firsts = range(0, max(1, size - settings.stride), room - settings.stride)
        outside = np.zeros(len(head), np.int32)
        for number, first in enumerate(firsts):
            last = min(first + room, size)
            inside = span is not None and first <= span[0] and span[1] < last
            if self._labels and not inside and len(firsts) > 1 and not _kept(example.id, number, settings):
                continue
            offset = len(head) - first
            label = (span[0] + offset, span[1] + offset, kind) if inside else (0, 0, NULL_TYPE)
            starts, ends = context.offsets(first, last)
            rows.ids.append(np.concatenate([head, context.ids(first, last), [self._sep]]))
            rows.starts.append(np.concatenate([outside, starts, outside[:1]]))
            rows.ends.append(np.concatenate([outside, ends, outside[:1]]))
            rows.window.append((len(head), len(head) + last - first, index, *label))


def featurise(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    architecture: str,
    settings: WindowSettings,
    labels: bool,
) -> Features:
    """The windows of examples of one kind, all at once."""
    structure = any(isinstance(example, NqExample) for example in examples)
    return Featuriser(tokenizer, architecture, settings, labels, structure)(examples)


def token_span(example: Example, context: _Context) -> tuple[int, int] | None:
    """First and last context token that overlap the first gold answer; None where none does."""
    answer = example.answers[0]
    end = answer.start + len(answer.text)
    if isinstance(context, Pieces):
        words = np.searchsorted(example.document.starts, (answer.start, end))
        first, last = int(context.first[words[0]]), int(context.first[words[1]]) - 1
    else:
        starts, ends = context.offsets(0, len(context))
        first = int(np.searchsorted(ends, answer.start, side="right"))
        last = int(np.searchsorted(starts, end, side="left")) - 1
    return (first, last) if first <= last else None


def _kept(question: str, window: int, settings: WindowSettings) -> bool:
    """Whether a null window stays: a fixed draw by question and window, the same at each call."""
    if settings.null_windows >= 1:
        return True
    return crc32(f"{question}/{window}".encode()) / 2**32 < settings.null_windows


def make_featurisers(
    encoder: Path, architecture: str, task: str, windows: dict[str, Any]
) -> dict[str, Featuriser]:
    """What makes the windows of each split: only training drops null windows, dev has no labels."""
    settings = WindowSettings(**windows)
    tokenizer = load_tokenizer(encoder)
    words = WordPieces(tokenizer)
    return {
        split: Featuriser(
            tokenizer,
            architecture,
            settings if split == "train" else replace(settings, null_windows=1.0),
            labels=split != "dev",
            structure=task == "nq",
            words=words,
        )
        for split in SPLITS
    }


_workers: dict[str, Featuriser] = {}
"""The featurisers of this process; their memory for words outlives a chunk."""


def start_windows(*settings: Any) -> None:
    """Make this process ready for `windows_of`; the settings of `make_featurisers`."""
    # Each process has a core: the tokenizer's own threads would fight over them.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _workers.update(make_featurisers(*settings))


def windows_of(item: tuple[str, Chunk | Damage] | None) -> tuple[Features, int] | None:
    """The windows of a chunk of a split's prepared lines, and how many of its questions have an answer;
    None, which ends a split, stays None."""
    if item is None:
        return None
    split, chunk = item
    if isinstance(chunk, Damage):
        raise InputError(chunk.error)
    examples = [prepared_example(line, where) for where, line in chunk.lines()]
    return _workers[split](examples), sum(bool(example.answers) for example in examples)
