"""The stage `evaluate`: the only one that reads dev labels. All variants of a run in one job."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qaprune.data.examples import open_text
from qaprune.data.features import Features, load_features
from qaprune.data.nq import NqExample
from qaprune.data.prepared import read_examples
from qaprune.evaluate import nq, nq_files, squad2
from qaprune.evaluate.nq_answers import longest_candidates, predicted
from qaprune.evaluate.predictions import Predictions, contexts_of, predict_spans, save_predictions
from qaprune.models.checkpoint import read_variant
from qaprune.models.cost import encoder_flops, kept_shares, parameters
from qaprune.models.encoder import model_shape
from qaprune.prune.stage import load_variant
from qaprune.train.compute import start
from qaprune.train.predict import predict_logits

Row = dict[str, Any]
QUESTION_COLUMNS = {
    "squad2": ("variant", "id", "group", "em", "f1", "has_answer"),
    "nq": (
        *("variant", "id", "group", "tp", "n_pred", "n_gold"),
        *("long_tp", "long_n_pred", "long_n_gold"),
    ),
}
TRAINING_LOG = "train.jsonl"
"""What training leaves beside a checkpoint: a line every 50 steps."""


class Squad2Gold:
    """Dev gold of SQuAD 2.0, and how predictions are measured against it."""

    def __init__(self, path: Path):
        self.questions = {question.id: question for question in squad2.read_gold(path)}

    def score(self, spans: Predictions, thresholds: Row) -> tuple[Row, np.ndarray]:
        """The row's figures in per cent, and per question [questions, 3]: em, f1, has_answer.

        `thresholds` has the checkpoint's `threshold`.
        """
        gold = [self.questions[identity] for identity in spans.ids]
        answered_em, answered_f1 = squad2.score_questions(
            gold, dict(zip(spans.ids, spans.texts, strict=True))
        )
        answerable = squad2.has_answer(gold)
        nulls = spans.null_odds > thresholds["threshold"]
        em = squad2.with_nulls(answered_em, answerable, nulls)
        f1 = squad2.with_nulls(answered_f1, answerable, nulls)
        totals = squad2.summarise(gold, em, f1)
        non_empty = np.array([bool(text) for text in spans.texts])
        best, _ = squad2.best_threshold(answerable, non_empty, answered_f1, spans.null_odds)
        row = {
            "f1": totals["f1"],
            "em": totals["exact"],
            "hasans_f1": totals.get("HasAns_f1"),
            "noans_f1": totals.get("NoAns_f1"),
            "f1_best": best,
        }
        return row, np.stack([em, f1, answerable.astype(float)], 1)

    def save(self, path: Path, spans: Predictions, thresholds: Row) -> None:
        """Write the answers as the official script reads them, empty where the threshold says null."""
        nulls = spans.null_odds > thresholds["threshold"]
        texts = ["" if null else text for null, text in zip(nulls, spans.texts, strict=True)]
        squad2.write_predictions(path, zip(spans.ids, texts, strict=True))


class NqGold:
    """Dev gold of Natural Questions, and the documents that predictions point into."""

    def __init__(self, path: Path, examples: Sequence[NqExample]):
        self.labels, _ = nq_files.read_gold([path])
        self.examples = examples

    def score(self, spans: Predictions, thresholds: Row) -> tuple[Row, np.ndarray]:
        """The row's figures in per cent, and per question [questions, 6]: tp, n_pred, n_gold of the short
        answer, then of the long one.

        `thresholds` has the checkpoint's `threshold` and, for long answers, `long_threshold`.
        """
        return self._score(predicted(self.examples[: len(spans.ids)], spans), thresholds)

    def longest(self, questions: int) -> tuple[Row, np.ndarray]:
        """The same of the question-blind answer to the first `questions` questions."""
        found = longest_candidates(self.examples[:questions])
        return self._score(found, {"threshold": 0.0, "long_threshold": 0.0})

    def _score(self, found: dict[str, nq_files.Prediction], thresholds: Row) -> tuple[Row, np.ndarray]:
        scores = nq.score_questions({identity: self.labels[identity] for identity in found}, found)
        row: Row = {}
        per_question = []
        for prefix, side in (("", scores.short), ("long_", scores.long)):
            threshold = thresholds[f"{prefix}threshold"]
            row[f"{prefix}f1"] = 100 * nq.f1_at(side, threshold)
            row[f"{prefix}f1_best"] = 100 * nq.best(nq.rank(side)).f1
            kept = side.has_pred & (-side.score <= threshold)
            per_question += [side.is_correct & kept, kept, side.has_gold]
        return row, np.stack(per_question, 1).astype(float)

    def save(self, path: Path, spans: Predictions, thresholds: Row) -> None:
        """Write the predictions as the official script reads them, which finds its own thresholds."""
        found = predicted(self.examples[: len(spans.ids)], spans)
        nq_files.write_predictions(path, found.values())


def evaluate(
    spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Callable[[str], None]
) -> dict[str, Any]:
    """Predict with every variant, score on dev; keep predictions, per-question scores and training logs."""
    compute = start(spec["compute"], spec["run"]["seed"])
    dev = load_features(inputs["features"] / "dev.safetensors")
    examples = list(read_examples(inputs["dev"]))
    gold: Squad2Gold | NqGold = (
        Squad2Gold(inputs["gold"]) if spec["task"] == "squad2" else NqGold(inputs["gold"], examples)
    )
    sample = min(spec["dev_questions"] or dev.questions, dev.questions)
    head = dev.head(sample)
    shared = {
        "stride": spec["stride"],
        "length": spec["length"],
        "windows_per_question": round(head.windows / sample, 4),
    }
    for name in ("predictions", "training"):
        (out / name).mkdir()
    rows: dict[str, Row] = {}
    with open_text(out / "questions.csv.gz", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(QUESTION_COLUMNS[spec["task"]])
        blind = {"no-answer": gold.score(_all_null(head), {"threshold": -1.0, "long_threshold": -1.0})}
        if isinstance(gold, NqGold):
            blind["longest_candidate"] = gold.longest(sample)
        for key, (row, per_question) in blind.items():
            rows[key] = shared | row | {"variant": key, "f1_best": None, "long_f1_best": None}
            _write_questions(writer, key, head, per_question)
        for key, folder in inputs["variants"].items():
            model = load_variant(folder, inputs["variants"]["teacher"], compute.attention)
            variant = read_variant(folder)
            whole = key in spec["full_dev"]
            features = dev if whole else head
            logits = predict_logits(model, features, compute)
            contexts = contexts_of(examples[: features.questions])
            spans = predict_spans(features, contexts, logits, spec["max_answer_tokens"])
            name = key.replace("/", ".")
            save_predictions(out / "predictions" / f"{name}.jsonl.gz", spans)
            if (folder / TRAINING_LOG).is_file():
                shutil.copyfile(folder / TRAINING_LOG, out / "training" / f"{name}.jsonl")
            gold.save(out / "predictions" / f"{name}.official.json.gz", spans, variant)
            row, per_question = gold.score(_first(spans, sample), variant)
            full = gold.score(spans, variant)[0] if whole and sample < dev.questions else {}
            shape = model_shape(model)
            rows[key] = (
                shared
                | variant
                | row
                | {f"{name}_full": value for name, value in full.items()}
                | {"params": parameters(model), "flops": encoder_flops(shape, spec["length"])}
                | {"heads_per_layer": list(shape.heads), "ff_per_layer": list(shape.ff)}
                | kept_shares(shape, model.config.to_dict())
            )
            _write_questions(writer, key, head, per_question)
            log(f"  {key}: F1 {row['f1']:.1f}")
    result = {"run": spec["run"], "task": spec["task"], "questions": sample, "variants": rows}
    (out / "scores.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return {
        "summary": f"{len(rows)} variants on {sample:,} questions, teacher F1 {rows['teacher']['f1']:.1f}"
    }


def _all_null(features: Features) -> Predictions:
    """The `no-answer` row: no span for any question."""
    count = features.questions
    zeros = np.zeros(count, np.int64)
    return Predictions(features.ids, zeros, zeros, [""] * count, np.full(count, -1.0), np.full(count, 1.0))


def _first(spans: Predictions, count: int) -> Predictions:
    parts = (spans.ids, spans.start, spans.end, spans.texts, spans.score, spans.null_score)
    types = None if spans.types is None else spans.types[:count]
    return Predictions(*(part[:count] for part in parts), types)


def _write_questions(writer: Any, key: str, features: Features, per_question: np.ndarray) -> None:
    for identity, group, values in zip(features.ids, features.groups, per_question, strict=True):
        writer.writerow((key, identity, group, *(f"{value:.10g}" for value in values)))
