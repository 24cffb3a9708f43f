"""The stage `evaluate`: the only one that reads dev labels. All variants of a run in one job."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from qaprune.data.examples import open_text, read_examples
from qaprune.data.features import Features, load_features
from qaprune.data.nq import Document, document_context, read_nq_records
from qaprune.evaluate import nq, nq_files, squad2
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
    "nq": ("variant", "id", "group", "tp", "n_pred", "n_gold"),
}


class Squad2Gold:
    """Dev gold of SQuAD 2.0, and how predictions are measured against it."""

    def __init__(self, path: Path):
        self.questions = {question.id: question for question in squad2.read_gold(path)}

    def score(self, spans: Predictions, threshold: float) -> tuple[Row, np.ndarray]:
        """The row's figures in per cent, and per question [questions, 3]: em, f1, has_answer."""
        gold = [self.questions[identity] for identity in spans.ids]
        answered_em, answered_f1 = squad2.score_questions(
            gold, dict(zip(spans.ids, spans.texts, strict=True))
        )
        answerable = squad2.has_answer(gold)
        nulls = spans.null_odds > threshold
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


class NqGold:
    """Dev gold of Natural Questions: annotations, and each document's way back to its tokens."""

    def __init__(self, path: Path):
        self.labels, _ = nq_files.read_gold([path])
        self.documents: dict[str, tuple[Document, list[dict[str, Any]]]] = {}
        for _, record in read_nq_records(path):
            document = document_context(record["document_text"])
            self.documents[str(record["example_id"])] = (document, record["long_answer_candidates"])

    def predictions(self, spans: Predictions) -> dict[str, nq_files.Prediction]:
        """Short spans as document tokens, and the top-level candidates that hold them."""
        found = {}
        for i, identity in enumerate(spans.ids):
            document, candidates = self.documents[identity]
            score = float(-spans.null_odds[i])
            if spans.texts[i]:
                first, last = document.token_span(int(spans.start[i]), int(spans.end[i]))
                candidate = nq.predict_long(candidates, first, last)
                long = nq_files.NULL_SPAN
                if candidate >= 0:
                    tokens = candidates[candidate]
                    long = nq_files.Span(start_token=tokens["start_token"], end_token=tokens["end_token"])
                label = nq_files.Label(long, (nq_files.Span(start_token=first, end_token=last),))
            else:
                label = nq_files.Label()
            found[identity] = nq_files.Prediction(identity, label, score, score)
        return found

    def score(self, spans: Predictions, threshold: float) -> tuple[Row, np.ndarray]:
        """The row's figures in per cent, and per question [questions, 3]: tp, n_pred, n_gold (short)."""
        gold = {identity: self.labels[identity] for identity in spans.ids}
        scores = nq.score_questions(gold, self.predictions(spans))
        short = scores.short
        kept = short.has_pred & (-short.score <= threshold)
        row = {
            "f1": 100 * nq.f1_at(short, threshold),
            "f1_best": 100 * nq.best(nq.rank(short)).f1,
            "long_f1": 100 * nq.f1_at(scores.long, threshold),
            "long_f1_best": 100 * nq.best(nq.rank(scores.long)).f1,
        }
        return row, np.stack([short.is_correct & kept, kept, short.has_gold], 1).astype(float)


def evaluate(
    spec: dict[str, Any], inputs: dict[str, Any], out: Path, log: Callable[[str], None]
) -> dict[str, Any]:
    """Predict with every variant, score on dev, and keep predictions and per-question scores."""
    compute = start(spec["compute"], spec["run"]["seed"])
    dev = load_features(inputs["features"] / "dev.safetensors")
    examples = list(read_examples(inputs["dev"]))
    gold = Squad2Gold(inputs["gold"]) if spec["task"] == "squad2" else NqGold(inputs["gold"])
    sample = min(spec["dev_questions"] or dev.questions, dev.questions)
    head = dev.head(sample)
    shared = {
        "stride": spec["stride"],
        "length": spec["length"],
        "windows_per_question": round(head.windows / sample, 4),
    }
    (out / "predictions").mkdir()
    rows: dict[str, Row] = {}
    with open_text(out / "questions.csv.gz", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(QUESTION_COLUMNS[spec["task"]])
        row, per_question = gold.score(_all_null(head), -1.0)
        rows["no-answer"] = shared | row | {"variant": "no-answer", "f1_best": None}
        _write_questions(writer, "no-answer", head, per_question)
        for key, folder in inputs["variants"].items():
            model = load_variant(folder, inputs["variants"]["teacher"], compute.attention)
            variant = read_variant(folder)
            whole = key in spec["full_dev"]
            features = dev if whole else head
            logits = predict_logits(model, features, compute)
            contexts = contexts_of(examples[: features.questions])
            spans = predict_spans(features, contexts, logits, spec["max_answer_tokens"])
            save_predictions(out / "predictions" / f"{key.replace('/', '.')}.jsonl.gz", spans)
            threshold = variant["threshold"]
            row, per_question = gold.score(_first(spans, sample), threshold)
            full = gold.score(spans, threshold)[0] if whole and sample < dev.questions else {}
            shape = model_shape(model)
            rows[key] = (
                shared
                | variant
                | row
                | {f"{name}_full": value for name, value in full.items()}
                | {"params": parameters(model), "flops": encoder_flops(shape, spec["length"])}
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
    return Predictions(*(part[:count] for part in parts))


def _write_questions(writer: Any, key: str, features: Features, per_question: np.ndarray) -> None:
    for identity, group, values in zip(features.ids, features.groups, per_question, strict=True):
        writer.writerow((key, identity, group, *(f"{value:.10g}" for value in values)))
