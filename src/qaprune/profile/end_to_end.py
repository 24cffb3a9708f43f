"""From question text to answer text, as a service does it: tokenise, windows, forward passes, decode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qaprune.data.examples import Example
from qaprune.data.features import FlatLogits, batch_inputs
from qaprune.data.nq import NqExample
from qaprune.data.prepared import read_examples
from qaprune.data.windows import Featuriser, WindowSettings, load_tokenizer
from qaprune.errors import InputError
from qaprune.evaluate.predictions import contexts_of, predict_spans
from qaprune.profile.inputs import BATCHES_A_CELL

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from qaprune.profile.models import Forward


class Service:
    """Answers questions of dev with any model that shares the run's tokenizer and windows.

    A call brings as many questions as one batch has room for, at least one. The last batch of a call is
    filled up with repeats, so that passes have the timed cell's shape.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        architecture: str,
        windows: WindowSettings,
        max_answer_tokens: int,
        device: str,
    ):
        self._examples = examples
        # Made once: a service keeps its tokenizer, and what it remembers of words.
        structure = isinstance(examples[0], NqExample)
        self._featurise = Featuriser(tokenizer, architecture, windows, labels=False, structure=structure)
        self._max_answer_tokens = max_answer_tokens
        self._device = device

    def calls(self, batch: int, windows: np.ndarray, seed: int) -> list[list[Example]]:
        """The seeded sets of questions that rounds take in turn; `windows` [questions]: how many each has.

        A set holds no more windows than `batch` unless one question has more: whether a second pass is
        needed would else hang on which questions were drawn.
        """
        sets: list[list[Example]] = []
        found: list[Example] = []
        room = batch
        for index in np.random.default_rng(seed).permutation(len(self._examples)):
            if found and windows[index] > room:
                sets.append(found)
                if len(sets) == BATCHES_A_CELL:
                    return sets
                found, room = [], batch
            found.append(self._examples[index])
            room -= windows[index]
        return sets or [found]  # of several the last, a small rest, is left out

    def answer(
        self, forward: Forward, examples: list[Example], batch: int, length: int, threshold: float = 0.0
    ) -> dict[str, str]:
        """Answer texts by question id, empty where null; passes are `batch` windows of `length` tokens."""
        features = self._featurise(examples)
        lengths = features.lengths()
        logits = np.empty((len(features.input_ids), 2), np.float32)
        types = []
        for first in range(0, features.windows, batch):
            rows = np.arange(first, min(first + batch, features.windows))
            filled = np.resize(rows, batch)
            output = forward(**batch_inputs(features, filled, length, self._device))
            real = np.arange(length) < lengths[rows][:, None]
            tokens = slice(features.row_ptr[first], features.row_ptr[rows[-1] + 1])
            for side, values in enumerate((output.start_logits, output.end_logits)):
                logits[tokens, side] = values.float().cpu().numpy()[: len(rows)][real]
            if getattr(output, "answer_type_logits", None) is not None:
                types.append(output.answer_type_logits.float().cpu().numpy()[: len(rows)])
        found = FlatLogits(logits, np.concatenate(types) if types else None)
        spans = predict_spans(features, contexts_of(examples), found, self._max_answer_tokens)
        return spans.answers(threshold)


def make_service(
    spec: dict[str, Any], dev: Path, checkpoint: Path, architecture: str, device: str
) -> Service:
    """The service of a run: dev's questions, which carry no answers, and the checkpoint's tokenizer."""
    examples = list(read_examples(dev))
    if not examples:
        raise InputError(f"{dev}: expected at least one question")
    windows = WindowSettings(**spec["windows"])
    return Service(
        examples, load_tokenizer(checkpoint), architecture, windows, spec["max_answer_tokens"], device
    )
