"""The columns of points.csv: name, unit and meaning. docs/columns.md is generated from here."""

from __future__ import annotations

from typing import NamedTuple

SCHEMA_VERSION = 1

Row = dict[str, object]
"""One line of points.csv, keyed by column name. None is "not measured" or "does not apply"."""


class Column(NamedTuple):
    """One column: `unit` is empty for words and plain numbers."""

    name: str
    unit: str
    meaning: str


COLUMNS = tuple(
    Column(*entry)
    for entry in (
        ("model", "", "name of the model in the config"),
        ("dataset", "", "name of the data set in the config"),
        ("seed", "", "seed of the run (training, gates, masks)"),
        ("criterion", "", "what chose the parts to remove; empty for no-answer, teacher and teacher+"),
        ("budget", "", "what may stay: h50-f40 keeps 50 % of heads and 40 % of feed-forward units"),
        ("draw", "", "which random mask, from 0; only draw 0 is recovered and timed"),
        (
            "variant",
            "",
            "no-answer, teacher, teacher+ (teacher with the recovery's extra steps), pruned, retrained or "
            "distilled",
        ),
        ("f1", "points", "F1 on dev at the threshold chosen on the train hold-out; NQ: short-answer F1"),
        ("f1_low", "points", "lower end of its 95 % interval (paragraphs or documents resampled)"),
        ("f1_high", "points", "upper end of that interval; training noise is not in it"),
        ("holdout_f1", "points", "the same figure on the train hold-out; choices read this one"),
        ("f1_best", "points", "F1 on dev at the threshold best on dev; never used for deltas or choices"),
        ("em", "points", "exact match on dev"),
        ("hasans_f1", "points", "F1 over the questions that have an answer"),
        ("noans_f1", "points", "F1 over the questions that have none"),
        ("long_f1", "points", "NQ: long-answer F1 at the hold-out's threshold"),
        ("long_f1_best", "points", "NQ: long-answer F1 at the threshold best on dev"),
        (
            "delta_f1",
            "points",
            "f1 minus that of the better of teacher and teacher+ (better on the hold-out)",
        ),
        ("margin_share", "%", "the loss as a share of that teacher's margin over no-answer"),
        ("params", "", "parameters, embeddings included"),
        ("flops", "", "2 x multiply-adds of one window"),
        ("heads_kept", "%", "attention heads kept"),
        ("ff_kept", "%", "feed-forward units kept"),
        ("hidden_kept", "%", "hidden dimensions kept"),
        ("train_tokens", "tokens", "tokens that gate and recovery trained on"),
        ("gate_seconds", "s", "wall time of the gate stage"),
        ("gate_passes", "", "forward and backward passes of the gate stage"),
        ("recover_seconds", "s", "wall time of the recovery"),
        ("latency_ms", "ms a batch", "median time of one forward pass of a batch"),
        ("latency_e2e_ms", "ms a question", "tokenise, windows, forward and decode of one question"),
        ("speedup", "x", "teacher latency / variant latency, each side at its fastest setting measured"),
        ("speedup_low", "x", "lower end of its 95 % interval (rounds resampled)"),
        ("speedup_high", "x", "upper end of that interval"),
        ("speedup_same", "x", "the same ratio with both sides at identical settings"),
        ("speedup_asked", "x", "target of a speedup budget"),
        ("speedup_predicted", "x", "what the latency table promised for it"),
        ("throughput_qps", "questions a second", "batch / windows_per_question / latency"),
        (
            "energy_j",
            "J a question",
            "energy above idle, of the whole GPU board or the CPU packages (docs/measuring.md)",
        ),
        ("peak_memory_mb", "MiB", "the variant's weights and the most one pass allocates on top"),
        ("batch", "windows", "batch size of the timed passes"),
        ("length", "tokens", "window length of the timed passes, padding included"),
        ("stride", "tokens", "overlap of two windows of a question"),
        ("windows_per_question", "", "mean number of windows of a question"),
        ("dtype", "", "number type of the timed passes"),
        ("backend", "", "attention implementation of the timed passes"),
        ("compile", "", "torch.compile mode of the timed passes, or off"),
        ("threads", "", "torch threads of the timed passes"),
        ("device", "", "GPU or processor that was timed"),
        ("schema_version", "", "version of this table's columns"),
        ("delta_f1_low", "points", "lower end of delta_f1's 95 % interval (the same resamples for both)"),
        ("delta_f1_high", "points", "upper end of that interval"),
        ("latency_p90_ms", "ms a batch", "90th percentile of the forward passes"),
        ("latency_p99_ms", "ms a batch", "99th percentile of the forward passes"),
        ("rounds", "", "timed rounds behind the latency"),
        ("questions", "", "dev questions behind f1"),
        ("f1_full", "points", "f1 on all of dev, for the variants scored there beside the sample"),
        ("em_full", "points", "exact match on all of dev"),
        ("hasans_f1_full", "points", "hasans_f1 on all of dev"),
        ("noans_f1_full", "points", "noans_f1 on all of dev"),
        ("f1_best_full", "points", "f1_best on all of dev"),
        ("reference", "", "the variant that delta_f1 is against"),
        ("fingerprint", "", "hash of machine and software; speeds compare only where it is equal"),
        ("not_measured", "", "why columns are empty that another machine or run would fill"),
    )
)
NAMES = tuple(column.name for column in COLUMNS)
UNITS = {column.name: column.unit for column in COLUMNS}


def columns_markdown() -> str:
    """The text of docs/columns.md."""
    lines = [
        "# Columns of points.csv",
        "",
        f"Schema version {SCHEMA_VERSION}. One row a variant, timed at the config's headline batch and",
        "length. An empty cell was not measured or does not apply; `not_measured` says why where that",
        "depends on the machine. Generated from `src/qaprune/report/columns.py`; a test keeps them equal.",
        "",
        "| column | unit | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{name}` | {unit} | {meaning} |" for name, unit, meaning in COLUMNS]
    return "\n".join(lines) + "\n"
