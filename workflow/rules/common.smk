"""The plan of this run's config, and the little that rules need to ask it."""

import re
import sys
from pathlib import Path

from qaprune.config import load_config
from qaprune.errors import InputError
from qaprune.plan import make_plan, spec_json

try:
    PLAN = make_plan(load_config(workflow.config_settings.configfiles, workflow.config_settings.config))
except InputError as error:
    # One line, as from every command: a traceback through the workflow engine helps nobody.
    sys.exit(f"qaprune: error: {error}")

OUT = PLAN.out
PAIRS = list({run.pair: run for run in PLAN.runs}.values())
LOGS = f"{OUT}/logs"
ENVIRONMENT = "../../environment.yml"
LAUNCH = PLAN.launcher
# The interpreter that runs Snakemake comes first: a plain `python` in a shell may be another one.
shell.prefix(f'export PATH="{Path(sys.executable).parent}:$PATH"; ')


def one_of(names):
    """A pattern of these names alone."""
    return "|".join(re.escape(name) for name in dict.fromkeys(names)) or r"(?!)"


wildcard_constraints:
    # What the config has, and nothing else: Snakemake then says itself that no rule makes a mistyped target.
    dataset=one_of(PLAN.config["datasets"]),
    model=one_of(PLAN.config["models"]),
    run=one_of(run.id for run in PLAN.all_runs),
    scoring=one_of(point.scoring for run in PLAN.runs for point in PLAN.points(run)),
    pair=one_of(run.pair for run in PLAN.all_runs),
    point=one_of(point.id for run in PLAN.runs for point in PLAN.points(run)),
    kind="retrained|distilled",


def spec(stage):
    """The spec of a job as JSON, from its wildcards."""
    return lambda wildcards: spec_json(PLAN.spec(stage, **dict(wildcards)))


def kept(kind, path):
    """An output that is removed after its last reader unless the config keeps it."""
    return path if PLAN.config["keep"][kind] else temp(path)


def local_files(stage):
    """Data and checkpoints that a config takes from local paths: a changed file makes the job run again."""
    return lambda wildcards: PLAN.local_files(stage, next(iter(dict(wildcards).values())))


def corpus_input(wildcards):
    """The embedded corpus, where this config is made from it."""
    return f"{OUT}/corpus/stage.json" if PLAN.needs_corpus else []


def run_features(wildcards):
    """The features folder of a run: seeds share it."""
    return f"{OUT}/features/{PLAN.run(wildcards.run).pair}/stage.json"


def run_data(name):
    """One file of a run's prepared data."""
    return lambda wildcards: f"{OUT}/data/{PLAN.run(wildcards.run).dataset}/{name}"


def untrained_encoder(wildcards):
    """Where nothing is trained, the encoder whose shape is timed."""
    return f"{OUT}/encoder/{PLAN.run(wildcards.run).model}/stage.json" if PLAN.untrained else []


def pair_encoder(wildcards):
    """The encoder of a model and data set."""
    model = next(run.model for run in PLAN.all_runs if run.pair == wildcards.pair)
    return f"{OUT}/encoder/{model}/stage.json"


def run_start(wildcards):
    """The encoder that a teacher is fine-tuned from, or another data set's teacher."""
    return f"{OUT}/{PLAN.start_folder(PLAN.run(wildcards.run))}/stage.json"


def run_start_weights(wildcards):
    """Another data set's teacher must not be removed before it was read."""
    folder = PLAN.start_folder(PLAN.run(wildcards.run))
    return f"{OUT}/{folder}/model.safetensors" if folder.startswith("teacher/") else []


def distilled_teacher(wildcards):
    """The teacher itself, where its hidden states are matched too, not its logits alone."""
    run = PLAN.run(wildcards.run)
    matched = wildcards.kind == "distilled" and PLAN.matches_hidden(PLAN.point(run, wildcards.point))
    return [f"{OUT}/teacher/{run.id}/stage.json"] if matched else []


def distilled_teacher_weights(wildcards):
    """Its weights must not be removed before they were read."""
    return [str(Path(path).with_name("model.safetensors")) for path in distilled_teacher(wildcards)]


def gate_logits(wildcards):
    """The teacher's logits, where weights train along with gates towards them; never removed before."""
    run = PLAN.run(wildcards.run)
    point = PLAN.scored_point(run, wildcards.scoring)
    return f"{OUT}/teacher/{run.id}/logits.safetensors" if PLAN.distils_gates(point) else []


def point_scores(wildcards):
    point = PLAN.point(PLAN.run(wildcards.run), wildcards.point)
    return f"{OUT}/gate/{wildcards.run}/{point.scoring}/stage.json"


def variants(wildcards, timed=False):
    found = PLAN.variants(PLAN.run(wildcards.run))
    return [variant for variant in found if variant.timed or not timed]


def variant_stages(timed=False):
    return lambda wildcards: PLAN.stage_files(variants(wildcards, timed))


def variant_weights(timed=False):
    return lambda wildcards: PLAN.weight_files(variants(wildcards, timed))


def variant_options(timed=False):
    """`--variant KEY=DIR` for every checkpoint of the run."""
    return lambda wildcards: " ".join(
        f"--variant {variant.key}={OUT}/{variant.folder}" for variant in variants(wildcards, timed)
    )


def gate_latency(wildcards):
    """The latency table, where gates are trained towards a budget in time."""
    run = PLAN.run(wildcards.run)
    point = PLAN.scored_point(run, wildcards.scoring)
    return _latency(run, point.budget) if point.scoring == point.id else []


def point_latency(wildcards):
    """The latency table, where the budget is in time."""
    run = PLAN.run(wildcards.run)
    return _latency(run, PLAN.point(run, wildcards.point).budget)


def _latency(run, budget):
    pair = PLAN.latency_pair(run, budget)
    return f"{OUT}/latency/{pair}/stage.json" if pair else []


def latency_option(wildcards, input):
    """The option that names the table, where there is one."""
    return f"--latency {input.latency}" if input.latency else ""
