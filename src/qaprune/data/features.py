"""Windowed features: questions and contexts as token windows, and the way back to characters.

A window is [CLS] question [SEP] context [SEP] for BERT (segment 1 from the context on) and
<s> question </s></s> context </s> for RoBERTa (no segments). Windows are stored unpadded, one after the
other; `row_ptr[w]:row_ptr[w + 1]` is window w. Teacher and all variants of a run share them.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from qaprune.errors import InputError

if TYPE_CHECKING:
    import torch

NULL_TYPE = 0
"""The answer type of a window that does not hold its question's answer; see `nq.ANSWER_TYPES`."""


@dataclass
class Features:
    """Arrays over tokens [T], windows [W] and questions [Q].

    `char_start`, `char_end` [T] are character offsets into the context (0 outside it); `start_position`,
    `end_position` [W] are token positions in the window, 0 for "not in this window", empty where features
    carry no labels (dev). `answer_type` [W] is a number in `nq.ANSWER_TYPES`, empty without labels and for
    SQuAD 2.0.
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
    answer_type: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))

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
        for name in _OF_WINDOWS:
            cut[name] = getattr(self, name)[:windows]
        cut["row_ptr"] = self.row_ptr[: windows + 1]
        return replace(self, **cut, ids=self.ids[:questions], groups=self.groups[:questions])


class FlatLogits(NamedTuple):
    """Over a features file, float32: `spans` [T, 2], start and end along its tokens; `types` [W, answer
    types] of its windows, None for a model that has none."""

    spans: np.ndarray
    types: np.ndarray | None = None


_ARRAYS = [f.name for f in fields(Features) if f.name not in ("ids", "groups", "meta")]
_OF_WINDOWS = (
    "context_start",
    "context_end",
    "question_index",
    "start_position",
    "end_position",
    "answer_type",
)


def save_features(path: Path, features: Features) -> None:
    """Write features as safetensors; ids, groups and settings travel in the metadata."""
    write_features(path, [features], features.meta)


def write_features(path: Path, parts: Iterable[Features], meta: dict[str, Any]) -> None:
    """Write the parts of a data set one after the other as one file.

    No more than one part is in memory: each array goes to a file of its own first.
    """
    ids: list[str] = []
    groups: list[str] = []
    tokens = 0
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        with contextlib.ExitStack() as stack:
            files = {name: stack.enter_context((Path(scratch) / name).open("wb")) for name in _ARRAYS}
            files["row_ptr"].write(np.zeros(1, np.int64).tobytes())
            for part in parts:
                for name in _ARRAYS:
                    array = getattr(part, name)
                    if name == "row_ptr":
                        array = (array[1:] + tokens).astype(np.int64)
                    elif name == "question_index":
                        array = array + np.int32(len(ids))
                    files[name].write(np.ascontiguousarray(array).tobytes())
                tokens += len(part.input_ids)
                ids += part.ids
                groups += part.groups
        metadata = {
            "ids": json.dumps(ids),
            "groups": json.dumps(groups),
            "meta": json.dumps(meta, sort_keys=True),
        }
        _join(path, {name: Path(scratch) / name for name in _ARRAYS}, metadata)


def _join(path: Path, arrays: dict[str, Path], metadata: dict[str, str]) -> None:
    """Put raw arrays together as a safetensors file; the package writes only what is in memory."""
    header: dict[str, Any] = {"__metadata__": metadata}
    begin = 0
    order = sorted(arrays, key=lambda name: (name != "row_ptr", name))  # the 8-byte numbers aligned first
    for name in order:
        size = arrays[name].stat().st_size
        dtype, width = ("I64", 8) if name == "row_ptr" else ("I32", 4)
        header[name] = {"dtype": dtype, "shape": [size // width], "data_offsets": [begin, begin + size]}
        begin += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as target:
        target.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            with arrays[name].open("rb") as source:
                shutil.copyfileobj(source, target)


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
