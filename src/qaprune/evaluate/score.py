"""`qaprune score`: the official figures of a prediction file, as one JSON object on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from qaprune.evaluate import nq, nq_files, squad2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--dataset", required=True, choices=("squad2", "nq"))
    parser.add_argument(
        "--gold",
        required=True,
        nargs="+",
        type=Path,
        help="official gold file, plain or .gz; NQ: one or more",
    )
    parser.add_argument(
        "--predictions", required=True, type=Path, help="official prediction JSON, plain or .gz"
    )
    parser.add_argument(
        "--na-probs", type=Path, help="squad2 only: JSON from question id to no-answer score"
    )


def main(args: argparse.Namespace) -> int:
    """Print the figures; bad input raises InputError, a wrong combination of options returns 2."""
    if args.dataset == "nq" and args.na_probs is not None:
        return _usage("--na-probs belongs to --dataset squad2; NQ predictions carry their own scores")
    if args.dataset == "squad2" and len(args.gold) != 1:
        return _usage("--dataset squad2 takes one --gold file")
    if args.dataset == "squad2":
        metrics = score_squad2(args.gold[0], args.predictions, args.na_probs)
    else:
        metrics = score_nq(args.gold, args.predictions)
    print(json.dumps(metrics, indent=2))
    return 0


def score_squad2(gold_path: Path, predictions_path: Path, na_probs_path: Path | None) -> dict[str, float]:
    """Official SQuAD 2.0 figures. Missing or unknown ids are an error (see `squad2.check_ids`)."""
    gold = squad2.read_gold(gold_path)
    predictions = squad2.read_predictions(predictions_path)
    squad2.check_ids(gold, predictions, str(predictions_path))
    em, f1 = squad2.score_questions(gold, predictions)
    if na_probs_path is None:
        return squad2.summarise(gold, em, f1)
    na_probs = squad2.read_na_probs(na_probs_path)
    squad2.check_ids(gold, na_probs, str(na_probs_path))
    thresholded = [squad2.apply_na_probs(gold, scores, na_probs) for scores in (em, f1)]
    return {
        **squad2.summarise(gold, *thresholded),
        **squad2.best_thresholds(gold, predictions, em, f1, na_probs),
    }


def score_nq(gold_paths: list[Path], predictions_path: Path) -> dict[str, float]:
    """Official NQ figures. Repeated ids and examples with one annotation are counted on standard error."""
    gold, repeated_gold = nq_files.read_gold(gold_paths)
    predictions, repeated = nq_files.read_predictions(predictions_path)
    for what, ids in (("gold", repeated_gold), ("predictions", repeated)):
        if ids:
            _note(f"{what}: {len(ids)} ids repeated, first '{ids[0]}'; the last entry counts")
    lone = sum(len(labels) < nq.VOTES for labels in gold.values())
    if lone:
        _note(
            f"gold: {lone} of {len(gold)} examples have one annotation and are null: the rule asks for two"
        )
    nq.check_ids(gold, predictions, str(predictions_path))
    return nq.official_metrics(nq.score_questions(gold, predictions))


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _usage(text: str) -> int:
    print(f"usage: {text}", file=sys.stderr)
    return 2
