"""`qaprune plan`: what a config will run and roughly what it costs, before anyone starts it.

Work is counted as 6 FLOPs a parameter and token for training, 2 for prediction, over the encoder's layer
weights. The rates it is divided by are rough and stated in the output: this answers "an hour or a week?".
The committed runs that say how long they took (small, criteria, nq) took about twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qaprune.budget import LATENCY, SHARES, SPEEDUP, parse_budget
from qaprune.errors import InputError
from qaprune.jsonfile import field
from qaprune.models.encoder import read_config

if TYPE_CHECKING:
    from qaprune.plan import Plan, Point, Run

CPU_FLOPS = 0.4e12
"""Two cores with bfloat16: 6,300 tokens/s of a 6 x 384 encoder (10.6M layer weights; docs/training.md)."""
GPU_FLOPS = 100e12
"""One current data-centre GPU at a third of its bfloat16 peak."""
JOB_SECONDS = 6
"""Importing torch and transformers, loading and saving."""

HUB_SIZES = {
    "bert-base": (12, 768, 3072, 30522),
    "bert-large": (24, 1024, 4096, 30522),
    "distilroberta-base": (6, 768, 3072, 50265),
    "roberta-base": (12, 768, 3072, 50265),
    "roberta-large": (24, 1024, 4096, 50265),
    "minilm-l6": (6, 384, 1536, 30522),
}
"""Layers, width, feed-forward units, vocabulary of well-known hub models, by part of their name."""
HUB_QUESTIONS = {"squad2": (130_319, 11_873, 190), "nq": (307_373, 7_830, 512)}
"""Train and dev questions of the public data sets, and tokens a window."""
WINDOWS_A_QUESTION = {"squad2": 1.1, "nq": 30}
"""At 384 and 512 tokens and stride 128; whole NQ documents (Alberti et al. 2019 count about 30)."""
PIECES_A_CHARACTER = 0.21
"""Word pieces a character of `document_text`: measured on the rebuilt set."""
SAMPLED_BYTES = 500_000
GENERATED_WINDOWS = {"squad2": 1.0, "nq": 2.0}
"""The same in the embedded corpus."""


SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
"""What a checkpoint's `config.json` calls them."""


@dataclass(frozen=True)
class Size:
    """Weights of an encoder: in its layers, and with embeddings."""

    layers: int
    total: int
    guessed: bool = False


def model_size(source: dict[str, Any]) -> Size:
    """From the scratch shape, a local config.json, or the name of a well-known hub model."""
    guessed = False
    if "scratch" in source:
        shape = source["scratch"]
        sizes = (shape["layers"], shape["hidden"], shape["intermediate"], shape["vocab_size"])
    elif "path" in source and (Path(source["path"]) / "config.json").exists():
        config = read_config(Path(source["path"]))
        sizes = tuple(field(config, key, int, f"{source['path']}/config.json") for key in SIZES)
    else:
        name = str(source.get("hub", source.get("path"))).lower()
        match = next((key for key in HUB_SIZES if key in name), None)
        guessed = match is None
        sizes = HUB_SIZES[match or "bert-base"]
    layers, hidden, intermediate, vocabulary = sizes
    weights = layers * (4 * hidden * hidden + 2 * hidden * intermediate)
    return Size(weights, weights + (vocabulary + 512) * hidden, guessed)


def windows(plan: Plan, dataset: str) -> tuple[float, float, float, int]:
    """Windows of train, hold-out and dev and tokens of a mean one, as far as known without the data.

    Only train leaves windows without an answer out (`null_windows`); about one window a question has it.
    """
    settings = plan.config["datasets"][dataset]
    train, dev, tokens = HUB_QUESTIONS[settings["task"]]
    if "scratch" in settings["train"]:
        train, dev = plan.config["corpus"]["train_questions"], plan.config["corpus"]["dev_questions"]
    holdout = min(settings["holdout_share"] * train, settings.get("holdout_questions") or train)
    train = min(train, settings.get("train_questions") or train)
    dev = min(dev, settings.get("dev_questions") or dev)
    known = GENERATED_WINDOWS if "scratch" in settings["train"] else WINDOWS_A_QUESTION
    each = sampled_windows(settings) or known[settings["task"]]
    trained = train * (1 + (each - 1) * settings["windows"]["null_windows"])
    return trained, holdout * each, dev * each, min(tokens, settings["windows"]["length"])


def sampled_windows(settings: dict[str, Any]) -> float | None:
    """Windows a question of a local Natural Questions file, by its first documents; None without one."""
    if settings["task"] != "nq" or "path" not in settings["train"]:
        return None
    from qaprune.data.lines import Chunk, chunks, shards
    from qaprune.data.nq_layouts import simplified
    from qaprune.jsonfile import parse_object

    try:
        files = shards(Path(settings["train"]["path"]))
        first = next(chunks(files[0], size=SAMPLED_BYTES), None)
    except InputError:
        return None  # the stage that reads it says what is wrong
    if not isinstance(first, Chunk):
        return None
    texts = []
    try:
        for where, line in first.lines():
            texts.append(simplified(parse_object(line, where), where)["document_text"])
        tokens = PIECES_A_CHARACTER * sum(map(len, texts)) / len(texts)
    except (InputError, TypeError, ZeroDivisionError):
        return None
    windows = settings["windows"]
    return max(1.0, tokens / (windows["length"] - windows["max_question_tokens"] - windows["stride"]))


def share_left(point: Point) -> float:
    """Roughly the share of layer weights that a budget keeps (heads are a third of a layer)."""
    budget = parse_budget(point.budget)
    if budget.kind == SHARES:
        return (budget.heads + 2 * budget.ff) / 300 * (budget.hidden or 100) / 100
    if budget.kind == SPEEDUP:
        return 1 / budget.limit
    # Milliseconds say nothing before they are measured.
    return 0.5 if budget.kind == LATENCY else budget.limit / 100


def run_flops(plan: Plan, run: Run) -> float:
    """FLOPs of all training and prediction of a run."""
    weights = model_size(plan.config["models"][run.model]["source"]).layers
    if plan.untrained:
        return 2 * weights * timed_tokens(plan, run)
    train, holdout, dev, tokens = windows(plan, run.dataset)
    config = plan.config
    check = 2 * weights * (dev + holdout) * tokens
    if plan.trained(run) != run:
        each = [1, 1] + [share_left(p) * (p.draws + len(p.recovery)) for p in plan.points(run)]
        return check * sum(each)
    training = config["training"] | config["datasets"][run.dataset].get("training", {})
    epoch = 6 * weights * train * tokens
    given = run.dataset in config["models"][run.model].get("teachers", {})
    total = (0 if given else training["epochs"] * epoch) + epoch / 3 + check
    if run not in plan.runs:
        return total
    total += config["recovery"]["training"]["epochs"] * epoch + check
    for point in plan.points(run):
        gate, recovery = point_flops(plan, point, weights, train * tokens, tokens)
        left = share_left(point)
        total += gate + recovery * len(point.recovery) + left * check * (point.draws + len(point.recovery))
    return total


def point_flops(
    plan: Plan, point: Point, weights: int, epoch_tokens: float, window: int
) -> tuple[float, float]:
    """FLOPs of a point's gate, and of each kind of its recovery."""
    settings = plan.config["criteria"][point.criterion]
    recovery = plan.recovery(point)
    epochs = recovery["training"]["epochs"]
    read = settings.get("steps", 0) * settings.get("batch_tokens", 0) + settings.get("windows", 0) * window
    jointly = plan.joint_share(point) * epochs * epoch_tokens
    # Joint criteria also need the weights' gradients: half as much again.
    gate = 4 * weights * (read + 1.5 * jointly)
    after = epochs * epoch_tokens - jointly - (read if recovery.get("include_gate") else 0)
    # Where hidden states are matched the teacher computes along.
    teacher = 2 * weights if plan.matches_hidden(point) else 0
    return gate, max(after, 0) * (6 * weights * share_left(point) + teacher)


def timed_tokens(plan: Plan, run: Run) -> float:
    """Tokens of the timed passes of a run of untrained models, counted as if nothing were cut."""
    profile, length = plan.config["profile"], plan.config["datasets"][run.dataset]["windows"]["length"]
    tokens = sum(cell["batch"] * cell.get("length", length) for cell in profile["cells"])
    settings = len(profile["dtype"]) * len(profile["backend"]) * len(profile["compile"])
    rounds = profile["rounds"] + profile["warmup"]["least"]
    return float(tokens * settings * rounds * (1 + len(plan.points(run))))


def jobs(plan: Plan) -> dict[str, int]:
    """Jobs of each stage."""
    own = [run for run in plan.runs if plan.trained(run) == run]
    points = [(run, point) for run in own for point in plan.points(run)]
    counts = {
        "corpus": int(plan.needs_corpus),
        "data": len(plan.config["datasets"]),
        "encoder": len(plan.config["models"]),
        "features": len({run.pair for run in plan.all_runs}),
        "latency": len({plan.latency_pair(run, point.budget) for run, point in points} - {None}),
        "teacher": len(plan.all_runs) - (len(plan.runs) - len(own)),
        "gate": len({(run, point.scoring) for run, point in points}),
        "prune": len(points),
        "recover": len(own) + sum(len(point.recovery) for _, point in points),
        "evaluate": len(plan.runs),
        "profile": len(plan.runs),
        "report": 1,
    }
    trained = ("latency", "teacher", "gate", "prune", "recover", "evaluate")
    return {
        stage: count
        for stage, count in counts.items()
        if count and not (plan.untrained and stage in trained)
    }


def disk_gb(plan: Plan) -> tuple[float, float]:
    """Gigabytes of weights at the most and of those that stay by the `keep` policy."""
    most = stay = 0.0
    if plan.untrained:
        return most, stay
    keep = plan.config["keep"]
    for run in plan.runs:
        if plan.trained(run) != run:
            continue
        size = model_size(plan.config["models"][run.model]["source"])
        fixed = size.total - size.layers
        most += 2 * size.total
        stay += size.total * (keep["teacher"] + keep["recovered"])
        for point in plan.points(run):
            weights = fixed + share_left(point) * size.layers
            most += weights * (1 + len(point.recovery))
            stay += weights * (keep["pruned"] + len(point.recovery) * keep["recovered"])
    for run in set(plan.all_runs) - set(plan.runs):
        size = model_size(plan.config["models"][run.model]["source"])
        most += size.total
        stay += size.total * keep["teacher"]
    encoders = sum(model_size(model["source"]).total for model in plan.config["models"].values())
    return (most + encoders) * 4e-9, (stay + encoders) * 4e-9


def describe(plan: Plan) -> str:
    """Runs, jobs, hours and disk as text of at most 80 columns."""
    counts = jobs(plan)
    lines = [f"{plan.config['name']}: {len(plan.runs)} runs, {sum(counts.values())} jobs"]
    flops = {run: run_flops(plan, run) for run in plan.all_runs}
    for pair in dict.fromkeys(run.pair for run in plan.runs):
        lines += _describe_pair(plan, [run for run in plan.runs if run.pair == pair])
    lines += _wrapped("jobs: " + ", ".join(f"{stage} {count}" for stage, count in counts.items()), "  ")
    total = sum(flops.values())
    overhead = sum(counts.values()) * JOB_SECONDS / 3600
    cpu, gpu = total / CPU_FLOPS / 3600 + overhead / 2, total / GPU_FLOPS / 3600 + overhead
    lines.append(f"estimated time: {_hours(cpu)} on two CPU cores, {_hours(gpu)} on one GPU")
    lines.append(
        f"  ({total:.2g} FLOPs at {CPU_FLOPS / 1e12:g} and {GPU_FLOPS / 1e12:g} TFLOP/s, a rough guide: "
        "runs on two\n  cores took up to twice as long, runs on a GPU were not timed)"
    )
    most, stay = disk_gb(plan)
    lines.append(f"disk for weights: up to {most:.2f} GB, {stay:.2f} GB stay by the keep policy")
    guessed = [name for name, model in plan.config["models"].items() if model_size(model["source"]).guessed]
    if guessed:
        lines.append(f"  size not known without a network, taken as bert-base: {', '.join(guessed)}")
    return "\n".join(lines)


def _describe_pair(plan: Plan, runs: list[Run]) -> list[str]:
    """One pair's seeds, and its criteria grouped by the budgets that they share."""
    budgets: dict[str, dict[str, None]] = {}
    seeds: dict[str, list[int]] = {}
    for run in runs:
        for point in plan.points(run):
            budgets.setdefault(point.criterion, {})[point.budget] = None
            own = seeds.setdefault(point.criterion, [])
            own += [run.seed] * (run.seed not in own)
    every = [run.seed for run in runs]
    grouped: dict[tuple[str, str], list[str]] = {}
    for criterion, names in budgets.items():
        only = "" if seeds[criterion] == every else f" ({_seeds(seeds[criterion])} alone)"
        grouped.setdefault((" ".join(names), only), []).append(criterion)
    lines = [f"  {runs[0].pair}, {_seeds(every)}"]
    for (names, only), criteria in grouped.items():
        lines += _wrapped(f"    {', '.join(criteria)} at {names}{only}", "      ")
    return lines


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _hours(hours: float) -> str:
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:,.0f} h"


def _wrapped(text: str, indent: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 80, subsequent_indent=indent, break_on_hyphens=False)
