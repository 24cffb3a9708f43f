"""The columns of points.csv and matrix.csv: name, unit and meaning. docs/columns.md is made from here."""

from __future__ import annotations

from typing import NamedTuple

SCHEMA_VERSION = 2

Row = dict[str, object]
"""One line of a table, keyed by column name. None is "not measured" or "does not apply"."""


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
        ("criterion", "", "what chose the parts to remove; empty for the rows without one"),
        ("budget", "", "what may stay: shares (h50-f40), params60, flops50, x2.0 or ms8 (docs/method.md)"),
        ("draw", "", "which random mask, from 0; only draw 0 is recovered and timed"),
        (
            "variant",
            "",
            "no-answer, longest_candidate (NQ: the longest part, whatever is asked), teacher, teacher+ "
            "(teacher with the recovery's extra steps), pruned, retrained or distilled",
        ),
        ("f1", "points", "F1 on dev at the threshold chosen on the train hold-out; NQ: short-answer F1"),
        ("f1_low", "points", "lower end of its 95 % interval (paragraphs or documents resampled)"),
        (
            "f1_high",
            "points",
            "upper end of that interval; noise of training and threshold is not in it",
        ),
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
            "f1 minus that of teacher or teacher+, whichever has the higher F1 on the hold-out; where its "
            "interval holds 0, no difference is shown",
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
        (
            "latency_e2e_ms",
            "ms a question",
            "median time from a question's text to its answer's: tokenise, windows, forward, decode",
        ),
        (
            "speedup",
            "x",
            "median over rounds of teacher / variant seconds, the teacher at its own fastest setting here",
        ),
        ("speedup_low", "x", "lower end of its 95 % interval (rounds resampled)"),
        ("speedup_high", "x", "upper end of that interval"),
        ("speedup_same", "x", "the same ratio with the teacher at the variant's setting"),
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
        ("backend", "", "attention implementation, or runtime, of the timed passes"),
        ("compile", "", "torch.compile mode of the timed passes, or off"),
        ("threads", "", "torch threads of the timed passes"),
        ("device", "", "GPU or processor that was timed"),
        ("schema_version", "", "version of this table's columns"),
        ("gate_tokens", "tokens", "tokens of gate_passes; part of train_tokens"),
        ("delta_f1_low", "points", "lower end of delta_f1's 95 % interval (the same resamples for both)"),
        ("delta_f1_high", "points", "upper end of that interval"),
        ("long_f1_low", "points", "NQ: lower end of long_f1's 95 % interval (the same resamples)"),
        ("long_f1_high", "points", "upper end of that interval"),
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
        (
            "latency_low_ms",
            "ms a batch",
            "lower end of latency_ms's 95 % interval (rounds resampled)",
        ),
        ("latency_high_ms", "ms a batch", "upper end of that interval; drift between runs is not in it"),
        ("latency_device_ms", "ms a batch", "median between two events on the GPU's own clock"),
        ("speedup_same_low", "x", "lower end of speedup_same's 95 % interval"),
        ("speedup_same_high", "x", "upper end of that interval"),
        ("speedup_e2e", "x", "the same ratio of latency_e2e_ms, each side at its fastest setting"),
        ("teacher_dtype", "", "number type of the teacher's fastest setting, which speedup is against"),
        ("teacher_backend", "", "its attention implementation, or runtime"),
        ("teacher_compile", "", "its torch.compile mode"),
        (
            "speedup_published",
            "x",
            "published: the paper's speedup of bert-large at the same per cents kept, hardware not stated",
        ),
        ("energy_gross_j", "J a question", "energy with idle power in it"),
        ("energy_disagreement_percent", "%", "integrated power samples minus counter, of the counter"),
        ("idle_power_w", "W", "power at rest that energy_j leaves out"),
        ("warmup_rounds", "", "rounds before timing, until their times were steady"),
        ("warmup_cv_percent", "%", "standard deviation of the last warm-up rounds, of their mean"),
    )
)
NAMES = tuple(column.name for column in COLUMNS)
UNITS = {column.name: column.unit for column in COLUMNS}

_OWN = (
    Column("fastest", "", "yes: the variant's fastest setting of this batch and length"),
    Column("fill_percent", "%", "tokens of the timed windows that are not padding"),
    Column(
        "logit_difference_percent",
        "%",
        "largest difference of a logit from the variant's first setting, of the largest logit",
    ),
)
_KNOWN = {column.name: column for column in (*COLUMNS, *_OWN)}
_MATRIX = """
model dataset seed criterion budget draw variant batch length dtype backend compile fastest
latency_ms latency_low_ms latency_high_ms latency_p90_ms latency_p99_ms latency_device_ms latency_e2e_ms
rounds warmup_rounds warmup_cv_percent speedup speedup_low speedup_high teacher_dtype teacher_backend
teacher_compile speedup_same speedup_same_low speedup_same_high speedup_e2e throughput_qps energy_j
energy_gross_j energy_disagreement_percent idle_power_w peak_memory_mb windows_per_question
fill_percent logit_difference_percent threads device fingerprint schema_version not_measured
"""
MATRIX_COLUMNS = tuple(_KNOWN[name] for name in _MATRIX.split())
MATRIX_NAMES = tuple(column.name for column in MATRIX_COLUMNS)


def columns_markdown() -> str:
    """The text of docs/columns.md."""
    lines = [
        "# Columns of points.csv and matrix.csv",
        "",
        f"Schema version {SCHEMA_VERSION}. An empty cell was not measured or does not apply; where that",
        "depends on the machine, `not_measured` says why. Generated from `src/qaprune/report/columns.py`;",
        "a test keeps them equal.",
        "",
        "## points.csv",
        "",
        "One row a variant, timed at the config's headline batch and length, at its fastest setting there.",
        "",
        *_dictionary(COLUMNS),
        "",
        "## matrix.csv",
        "",
        "One row a variant, batch, length, number format, attention backend and compile mode.",
        "",
        *_dictionary(MATRIX_COLUMNS),
    ]
    return "\n".join(lines) + "\n"


def _dictionary(columns: tuple[Column, ...]) -> list[str]:
    return ["| column | unit | meaning |", "|---|---|---|"] + [
        f"| `{name}` | {unit} | {meaning} |" for name, unit, meaning in columns
    ]
