"""The model card of a published checkpoint: what was measured, where, and how to make it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qaprune.prune.mask import OWN_MASK
from qaprune.report.checkpoints import CONFIG, FOLDER
from qaprune.report.columns import Row

OFFICIAL = {"squad2": "rajpurkar/squad_v2", "nq": "google-research-datasets/natural_questions"}


def model_card(
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    stage: Mapping[str, Any],
    row: Row | None,
    data: Mapping[str, Any] | None,
    command: str | None,
) -> str:
    """Markdown with the hub's front matter.

    `row` is the checkpoint's line of points.csv; without one nothing is claimed. `data` is the record of
    the stage that read the data set.
    """
    run = stage["spec"]["run"]
    point = "-".join(str(facts[name]) for name in ("criterion", "budget") if facts.get(name))
    title = f"{run['model']} on {run['dataset']}: " + "/".join(filter(None, (point, facts["variant"])))
    sections = [
        _front_matter(title, _official_f1(row, data)),
        f"# {title}\n",
        _what(config, facts),
        "## Measured\n\n" + _measured(row, data),
        "## Use\n\n" + _use(config),
        "## Make it again\n\n" + _again(facts, stage, command),
    ]
    return "\n".join(sections)


def _official_f1(row: Row | None, data: Mapping[str, Any] | None) -> tuple[str, str, float] | None:
    """Data set, its hub id, and F1 over all of its official dev questions; None where that is not known.

    The hub ranks models by these lines: files of one's own, generated questions and samples are not of it.
    """
    if not row or not data:
        return None
    spec = data["spec"]
    hub = OFFICIAL[spec["task"]]
    if spec["dev"].get("hub") != hub or spec.get("on_bad_example") == "skip":
        return None
    # Of a sample of dev the table may have all of it beside.
    f1 = row["f1"] if spec["dev_questions"] is None else row["f1_full"]
    return None if f1 is None else (str(row["dataset"]), hub, float(f1))


def _questions(data: Mapping[str, Any] | None) -> str:
    """Where the questions came from, in a sentence."""
    if data is None:
        return "Where the questions came from is not recorded."
    source = data["spec"]["dev"]
    if "scratch" in source:
        return "The questions were generated: no figure here says anything about real ones."
    digest = data["result"]["digests"]["dev"]
    if "hub" in source:
        return f"The questions are from the dev set of `{source['hub']}`, revision `{digest}`."
    return f"The questions are from the file `{Path(source['path']).name}` (SHA-256 `{digest}`...)."


def _front_matter(title: str, official: tuple[str, str, float] | None) -> str:
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: question-answering",
        "tags: [qaprune, structured-pruning]",
    ]
    if official:
        dataset, hub, f1 = official
        lines += [
            "model-index:",
            f"- name: {json.dumps(title)}",
            "  results:",
            "  - task: {type: question-answering}",
            f"    dataset: {{name: {json.dumps(dataset)}, type: {hub}}}",
            f"    metrics: [{{type: f1, value: {f1:.2f}}}]",
        ]
    return "\n".join([*lines, "---"])


def _what(config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    kind = {
        "teacher": "The unpruned model.",
        "teacher+": "The unpruned model, trained on by the schedule of recovery.",
        "pruned": "Pruned, not trained since.",
        "retrained": "Pruned, then trained on gold labels.",
        "distilled": "Pruned, then distilled from the unpruned model.",
    }[str(facts["variant"])]
    lines = [f"An extractive question-answering model made by qaprune. {kind}"]
    if config.get("heads_per_layer"):
        lines += [
            "",
            f"- attention heads by layer: {' '.join(map(str, config['heads_per_layer']))}",
            f"- feed-forward units by layer: {' '.join(map(str, config['ff_per_layer']))}",
        ]
    width = config.get("hidden_width", config["hidden_size"])
    if width != config["hidden_size"]:
        lines.append(f"- hidden width: {width} of {config['hidden_size']}")
    return "\n".join(lines) + "\n"


def _measured(row: Row | None, data: Mapping[str, Any] | None) -> str:
    if row is None:
        return "Nothing: no table with a row of this checkpoint lay above it when this was published.\n"
    lines = []

    def add(name: str, text: str) -> None:
        lines.append(f"| {name} | {text} |")

    def value(column: str, decimals: int, sign: str = "") -> str:
        return "" if row[column] is None else f"{row[column]:{sign},.{decimals}f}"

    def span(column: str, decimals: int, sign: str = "") -> str:
        low, high = (value(f"{column}_{end}", decimals, sign) for end in ("low", "high"))
        return f" [{low}, {high}]" if low and high else ""

    if row["f1"] is not None:
        questions = "" if row["questions"] is None else f" over {value('questions', 0)} dev questions"
        add("F1", f"{value('f1', 1)}{span('f1', 1)}{questions}")
    if row["f1_full"] is not None:
        add("F1 over all of dev", value("f1_full", 1))
    if row["hasans_f1"] is not None:
        add("F1 with and without an answer", f"{value('hasans_f1', 1)}, {value('noans_f1', 1)}")
    if row["delta_f1"] is not None:
        change = f"{value('delta_f1', 1, '+')}{span('delta_f1', 1, '+')}"
        add(f"F1 against {row['reference'] or 'the teacher'}", change)
    if row["speedup"] is not None:
        add("speedup over the unpruned model", f"{value('speedup', 2)}x{span('speedup', 2)}")
    if row["latency_ms"] is not None:
        setting = (
            f"{row['device']}, batch {row['batch']} x {row['length']}, {row['dtype']}, {row['backend']}, "
            f"compile {row['compile']}, {row['threads']} threads"
        )
        add("milliseconds a batch", f"{value('latency_ms', 2)} ({setting})")
    else:
        add("speed", "not measured")
    add("parameters", value("params", 0))
    table = "\n".join(["| figure | value |", "|---|---|", *lines])
    return f"""{table}

{_questions(data)}

Intervals are 95 % bootstrap intervals, of F1 over dev's paragraphs and of the speedup over timing rounds;
noise of training and threshold is not in them (seed {row["seed"]}). Speed does not carry over to another
machine.
"""


def _use(config: Mapping[str, Any]) -> str:
    threshold = float(config.get("no_answer_threshold", 0.0))
    pruned = str(config["model_type"]).startswith("pruned_")
    plain = (
        """Without qaprune, with the model code of this folder:

```python
from transformers import AutoModelForQuestionAnswering

model = AutoModelForQuestionAnswering.from_pretrained("this folder", trust_remote_code=True)
```
"""
        if pruned
        else ""
    )
    return f"""```python
import qaprune

answer = qaprune.load("this folder").answer("Who sold the mill?", "Anna sold the mill to Otto.")
```

{plain}
The answer is "none" where the null score (start plus end logit of the first token, lowest over the
windows; of a model with answer types, in the span's own window) exceeds the best span's score by more than
`no_answer_threshold`, {threshold:g}, chosen on a part of train.
"""


def _again(facts: Mapping[str, Any], stage: Mapping[str, Any], command: str | None) -> str:
    packages = ", ".join(
        f"{name} {version}" for name, version in sorted((stage.get("packages") or {}).items())
    )
    made = f"```bash\n{command}\n```" if command else f"By the stage `{stage['stage']}`."
    if facts.get("criterion") == OWN_MASK:
        made = (
            f"By `qaprune prune --mask` with a mask of one's own (SHA-256 `{stage['inputs']['mask']}`...); "
            "criterion and budget of the settings below played no part."
        )
    meant = {
        f"--configfile {CONFIG}": f"`{CONFIG}`: the files that the run was configured by. ",
        f"data_root={FOLDER}": f"`{FOLDER}`: where data and encoder lie. ",
    }
    own = "".join(text for words, text in meant.items() if words in made)
    return (
        f"{made}\n\n{own}"
        f"qaprune commit {stage.get('git_commit') or 'unknown'}; {packages}. "
        "The stage's settings:\n\n```json\n"
        f"{json.dumps(_public(stage['spec']), indent=1, sort_keys=True)}\n```\n"
    )


def _public(value: Any) -> Any:
    """Settings without the layout of the machine that they came from: of a path only its last name."""
    if isinstance(value, Mapping):
        return {
            name: Path(part).name if name == "path" and isinstance(part, str) else _public(part)
            for name, part in value.items()
        }
    return value
