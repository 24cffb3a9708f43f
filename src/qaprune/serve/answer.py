"""Answer questions with a checkpoint: this suite's, pruned or not, or any BERT or RoBERTa with a span head.

What the question-answering pipeline of transformers 4 did, with the no-answer threshold that the checkpoint
ships: long contexts in overlapping windows, the best span over all of them with its character offsets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qaprune.errors import InputError
from qaprune.jsonfile import field
from qaprune.models.encoder import longest_input

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from qaprune.train.compute import Compute

WINDOWS = {"length": 384, "stride": 128, "max_question_tokens": 64, "max_answer_tokens": 30}
"""Used where a checkpoint does not say what it was trained on: the usual recipe for SQuAD."""
THRESHOLDS = ("no_answer_threshold", "long_answer_threshold")


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    `text` is `context[start:end]`, empty with start and end None where there is none. `score` is the best
    span's start logit plus end logit, `null_score` that sum at the first token, lowest over the windows.
    There is no answer where `null_score - score` exceeds the threshold. A model of Natural Questions
    takes its null score from the span's own window, and says what it takes the answer for (yes, no, short,
    long): the text is then "yes" or "no", or the span, of a long answer where it begins.
    """

    text: str
    start: int | None
    end: int | None
    score: float
    null_score: float
    answer_type: str | None = None


class Answerer:
    """A loaded checkpoint that answers. Made by `qaprune.load`."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        architecture: str,
        compute: Compute,
        windows: dict[str, int],
        threshold: float,
        long_threshold: float = 0.0,
    ):
        from qaprune.data.windows import Featuriser, WindowSettings

        self.model = model
        self.threshold = threshold
        self.long_threshold = long_threshold
        self.windows = windows
        self._compute = compute
        self._joint = bool(getattr(model.config, "answer_types", 0))
        settings = WindowSettings(
            **{name: windows[name] for name in windows if name != "max_answer_tokens"}
        )
        self._featurise = Featuriser(tokenizer, architecture, settings, labels=False, structure=self._joint)

    def answer(self, question: str, context: str) -> Answer:
        """The best span of `context`, or none."""
        return self.answer_many([(question, context)])[0]

    def answer_many(self, questions: Sequence[tuple[str, str]]) -> list[Answer]:
        """Answers to (question, context) pairs, batched; a context of several questions is read once."""
        from qaprune.data.examples import Example
        from qaprune.data.nq import ANSWER_TYPES
        from qaprune.data.structure import structure_token
        from qaprune.evaluate.predictions import predict_spans
        from qaprune.train.predict import predict_logits

        if not questions:
            return []
        for place, pair in enumerate(questions, 1):
            for name, text in zip(("question", "context"), pair, strict=True):
                if not isinstance(text, str) or not text.strip():
                    raise InputError(f"{name} {place}: expected text, got {text!r}")
        # A model with answer types has never seen a text that no structure token leads.
        lead = structure_token("Paragraph", 1) + " " if self._joint else ""
        contexts = [lead + context for _, context in questions]
        examples = [
            Example(str(number), question, context, "", "")
            for number, ((question, _), context) in enumerate(zip(questions, contexts, strict=True))
        ]
        features = self._featurise(examples)
        logits = predict_logits(self.model, features, self._compute)
        spans = predict_spans(features, contexts, logits, self.windows["max_answer_tokens"])
        answers = []
        for number, odds in enumerate(spans.null_odds):
            kind = None if spans.types is None else ANSWER_TYPES[spans.types[number]]
            none = (
                odds > (self.long_threshold if kind == "long" else self.threshold)
                or not spans.texts[number]
            )
            kind = None if none else kind
            said = kind in ("yes", "no")
            answers.append(
                Answer(
                    "" if none else kind if said else spans.texts[number],
                    None if none or said else int(spans.start[number]) - len(lead),
                    None if none or said else int(spans.end[number]) - len(lead),
                    float(spans.score[number]),
                    float(spans.null_score[number]),
                    kind,
                )
            )
        return answers


def load(
    checkpoint: str | Path, device: str = "auto", dtype: str = "auto", threshold: float | None = None
) -> Answerer:
    """Load a checkpoint folder, or a hub name, to answer with.

    `device`: auto, cpu or cuda; `dtype`: auto, float32 or bfloat16, as everywhere in the suite. `threshold`
    replaces the checkpoint's own, of long answers too; one that ships none answers null where null scores
    higher.
    """
    from qaprune.data.sources import fetch_encoder
    from qaprune.data.windows import load_tokenizer
    from qaprune.models.encoder import architecture_of, load_model, read_config, require_span_head
    from qaprune.train.compute import Compute, resolve_device, resolve_dtype

    local = Path(checkpoint).expanduser()
    folder = fetch_encoder({"path": local} if local.exists() else {"hub": str(checkpoint)})
    config = read_config(folder)
    require_span_head(folder)
    where = resolve_device(device)
    compute = Compute(where, resolve_dtype(dtype, where), "sdpa")
    model = load_model(folder, compute.attention).to(where).eval()
    named = str(folder / "config.json")
    if threshold is None:
        thresholds = [_threshold(config.get(name, 0.0), f"{named}: {name}") for name in THRESHOLDS]
    else:
        thresholds = [_threshold(threshold, "threshold")] * 2
    architecture = architecture_of(config["model_type"])
    windows = windows_of(config, named)
    return Answerer(model, load_tokenizer(folder), architecture, compute, windows, *thresholds)


def _threshold(value: Any, where: str) -> float:
    """Infinite ones mean always and never; with not-a-number no answer would ever be null."""
    if not isinstance(value, (int, float)) or math.isnan(value):
        raise InputError(f"{where}: expected a number, found {value!r}")
    return float(value)


def windows_of(config: dict[str, Any], named: str = "config.json") -> dict[str, int]:
    """The windows that a checkpoint was trained on, or the usual ones as far as its positions reach."""
    own = {} if config.get("qa_windows") is None else field(config, "qa_windows", dict, named)
    for name in own:
        if name not in WINDOWS or field(own, name, int, f"{named}: qa_windows") < (name != "stride"):
            raise InputError(
                f"{named}: qa_windows: {name}: expected numbers of tokens, {', '.join(WINDOWS)}"
            )
    windows = WINDOWS | own
    most = longest_input(config)
    if windows["length"] > most:
        windows |= {"length": most, "stride": most // 3}
    room = windows["length"] - windows["stride"] - 5
    return windows | {"max_question_tokens": max(1, min(windows["max_question_tokens"], room))}
