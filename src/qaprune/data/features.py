"""Windowed features: questions and contexts as token windows, and the way back to characters.

A window is [CLS] question [SEP] context [SEP] for BERT (segment 1 from the context on) and
<s> question </s></s> context </s> for RoBERTa (no segments). Windows are stored unpadded, one after the
other; `row_ptr[w]:row_ptr[w + 1]` is window w. Teacher and all variants of a run share them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from qaprune.data.examples import Example
from qaprune.errors import InputError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

SPECIALS = {"bert": ("[CLS]", "[SEP]", "[PAD]"), "roberta": ("<s>", "</s>", "<pad>")}


@dataclass
class Features:
    """Arrays over tokens [T], windows [W] and questions [Q].

    `char_start`, `char_end` [T] are character offsets into the context (0 outside it); `start_position`,
    `end_position` [W] are token positions in the window, 0 for "not in this window", empty where features
    carry no labels (dev).
    """

    input_ids: np.ndarray
    char_start: np.ndarray
    char_end: np.ndarray
    row_ptr: np.ndarray
    context_start: np.ndarray
    context_end: np.ndarray
    question_index: np.ndarray
    start_position: np.ndarray
    end_position: np.ndarray
    ids: list[str]
    groups: list[str]
    meta: dict[str, Any]

    @property
    def windows(self) -> int:
        return len(self.row_ptr) - 1

    @property
    def questions(self) -> int:
        return len(self.ids)

    def lengths(self) -> np.ndarray:
        """Tokens of each window [W]."""
        return np.diff(self.row_ptr)

    def head(self, questions: int) -> Features:
        """The first `questions` questions alone (windows stand in question order)."""
        windows = int(np.searchsorted(self.question_index, questions))
        tokens = int(self.row_ptr[windows])
        cut = {name: getattr(self, name)[:tokens] for name in ("input_ids", "char_start", "char_end")}
        for name in ("context_start", "context_end", "question_index", "start_position", "end_position"):
            cut[name] = getattr(self, name)[:windows]
        cut["row_ptr"] = self.row_ptr[: windows + 1]
        return replace(self, **cut, ids=self.ids[:questions], groups=self.groups[:questions])


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


class _Rows:
    """Collects windows; `arrays()` turns them into the flat arrays of `Features`."""

    def __init__(self) -> None:
        self.ids: list[list[int]] = []
        self.starts: list[list[int]] = []
        self.ends: list[list[int]] = []
        self.window: list[tuple[int, int, int, int, int]] = []

    def arrays(self) -> dict[str, np.ndarray]:
        flat = {
            name: np.fromiter((value for row in rows for value in row), np.int32)
            for name, rows in (
                ("input_ids", self.ids),
                ("char_start", self.starts),
                ("char_end", self.ends),
            )
        }
        columns = np.array(self.window, np.int32).reshape(-1, 5).T
        names = ("context_start", "context_end", "question_index", "start_position", "end_position")
        flat |= {name: np.ascontiguousarray(column) for name, column in zip(names, columns, strict=True)}
        flat["row_ptr"] = np.concatenate([[0], np.cumsum([len(row) for row in self.ids])]).astype(np.int64)
        return flat


def featurise(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    architecture: str,
    settings: WindowSettings,
    labels: bool,
) -> Features:
    """Turn examples into windows, with gold positions where `labels` is set.

    Of several gold answers the first is the label; a window that does not hold all of it is a null window.
    """
    cls, sep, pad = (tokenizer.token_to_id(token) for token in SPECIALS[architecture])
    if None in (cls, sep, pad):
        raise InputError(f"tokenizer: expected the special tokens {', '.join(SPECIALS[architecture])}")
    between = [sep] if architecture == "bert" else [sep, sep]
    questions = tokenizer.encode_batch([e.question.strip() for e in examples], add_special_tokens=False)
    contexts = _encode_contexts(examples, tokenizer)
    rows = _Rows()
    for index, (example, question) in enumerate(zip(examples, questions, strict=True)):
        context_ids, char_start, char_end = contexts[example.context]
        head = [cls, *question.ids[: settings.max_question_tokens], *between]
        room = settings.length - len(head) - 1
        if room <= settings.stride:
            raise InputError(
                f"features: length {settings.length} leaves {room} tokens for the context, "
                f"expected more than stride {settings.stride}"
            )
        span = _token_span(example, char_start, char_end) if labels else None
        starts = list(range(0, max(1, len(context_ids) - settings.stride), room - settings.stride))
        for number, first in enumerate(starts):
            last = min(first + room, len(context_ids))
            inside = span is not None and first <= span[0] and span[1] < last
            if labels and not inside and len(starts) > 1 and not _kept(example.id, number, settings):
                continue
            offset = len(head) - first
            position = (span[0] + offset, span[1] + offset) if inside else (0, 0)
            rows.ids.append([*head, *context_ids[first:last], sep])
            rows.starts.append([*[0] * len(head), *char_start[first:last], 0])
            rows.ends.append([*[0] * len(head), *char_end[first:last], 0])
            rows.window.append((len(head), len(head) + last - first, index, *position))
    meta = {
        "architecture": architecture,
        "pad_id": pad,
        "length": settings.length,
        "stride": settings.stride,
    }
    arrays = rows.arrays()
    if not labels:
        arrays["start_position"] = arrays["end_position"] = np.empty(0, np.int32)
    return Features(**arrays, ids=[e.id for e in examples], groups=[e.group for e in examples], meta=meta)


def _encode_contexts(
    examples: Sequence[Example], tokenizer: Tokenizer
) -> dict[str, tuple[list, list, list]]:
    """Token ids and trimmed character offsets of each distinct context."""
    contexts = list(dict.fromkeys(example.context for example in examples))
    encoded = {}
    for context, encoding in zip(
        contexts, tokenizer.encode_batch(contexts, add_special_tokens=False), strict=True
    ):
        starts, ends = [], []
        for start, end in encoding.offsets:
            # A byte-level token may begin with the space before its word; answers never do.
            while start < end and context[start].isspace():
                start += 1
            starts.append(start)
            ends.append(end)
        encoded[context] = (encoding.ids, starts, ends)
    return encoded


def _token_span(example: Example, starts: list[int], ends: list[int]) -> tuple[int, int] | None:
    """First and last context token that overlap the first gold answer; None where there is none."""
    if not example.answers:
        return None
    answer = example.answers[0]
    first = int(np.searchsorted(ends, answer.start, side="right"))
    last = int(np.searchsorted(starts, answer.start + len(answer.text), side="left")) - 1
    return (first, last) if first <= last else None


def _kept(question: str, window: int, settings: WindowSettings) -> bool:
    """Whether a null window stays: a fixed draw by question and window, the same at each call."""
    if settings.null_windows >= 1:
        return True
    from zlib import crc32

    return crc32(f"{question}/{window}".encode()) / 2**32 < settings.null_windows


_ARRAYS = [f.name for f in fields(Features) if f.name not in ("ids", "groups", "meta")]


def save_features(path: Path, features: Features) -> None:
    """Write features as safetensors; ids, groups and settings travel in the metadata."""
    metadata = {
        "ids": json.dumps(features.ids),
        "groups": json.dumps(features.groups),
        "meta": json.dumps(features.meta, sort_keys=True),
    }
    save_file({name: getattr(features, name) for name in _ARRAYS}, path, metadata=metadata)


def load_features(path: Path) -> Features:
    """Read a features file."""
    from safetensors import safe_open

    try:
        arrays = load_file(path)
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
        return Features(
            **{name: arrays[name] for name in _ARRAYS},
            **{key: json.loads(metadata[key]) for key in ("ids", "groups", "meta")},
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such features file") from None
    except (SafetensorError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a features file ({error})") from None


def batch_inputs(
    features: Features, windows: np.ndarray, length: int, device: Any = "cpu"
) -> dict[str, torch.Tensor]:
    """Model inputs [len(windows), length]: windows cut or padded to `length` tokens.

    The attention mask covers the unpadded tokens; BERT gets its segment ids.
    """
    import torch

    size = np.minimum(features.row_ptr[windows + 1] - features.row_ptr[windows], length)
    column = np.arange(length)
    mask = column < size[:, None]
    # Positions past a window's end read its first token and are then overwritten by padding.
    source = np.where(mask, features.row_ptr[windows][:, None] + column, features.row_ptr[windows][:, None])
    ids = np.where(mask, features.input_ids[source], features.meta["pad_id"])
    batch = {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
    if features.meta["architecture"] == "bert":
        batch["token_type_ids"] = (mask & (column >= features.context_start[windows][:, None])).astype(
            np.int64
        )
    return {name: torch.from_numpy(array).to(device) for name, array in batch.items()}
