"""Training in real processes: killed and started again, and two that train together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from qaprune.data.examples import Example
from qaprune.data.features import save_features
from qaprune.data.prepared import write_examples
from qaprune.errors import InputError
from qaprune.train import processes
from qaprune.train.checkpoints import SECONDS
from tests.conftest import make_features, make_model

pytestmark = pytest.mark.slow

TRAINING = {
    "epochs": 60,
    "lr": 1e-3,
    "warmup": 0.1,
    "batch_tokens": 256,
    "weight_decay": 0.01,
    "clip": 1.0,
    "dropout": 0.1,
}
SHARED = {
    "label": "t",
    "run": {"model": "m", "dataset": "squad2", "seed": 3},
    "compute": {"device": "cpu", "dtype": "float32", "attention": "eager", "threads": 1},
    "task": "squad2",
    "max_answer_tokens": 8,
}
DISTIL = {"temperature": 2.0, "weight": 0.5}
JOINT = {"share": 0.5, "lr": 0.1, "warmup": 0.5, "init_heads": 2.5, "init_ff": 2.0, "distil": True}
GATE = {"length": 32, "criterion": "l0_joint", "budget": "h50-f50", "settings": JOINT}
L0 = {"steps": 200, "batch_tokens": 256, "lr": 0.1, "warmup": 0.5, "init_heads": 2.5, "init_ff": 2.0}
MOVEMENT = {"share": 0.5, "lr": 0.1, "warmup": 0.5, "cooldown": 0.2}
SPECS = {
    "teacher": ("teacher", {"training": TRAINING, "checkpoint": None, "teacher_logits": True}),
    "distilled": (
        "recover",
        {"kind": "distilled", "training": TRAINING | DISTIL | {"hidden_weight": 0.5}},
    ),
    "retrained": ("recover", {"kind": "retrained", "training": TRAINING}),
    "l0": ("gate", GATE | {"criterion": "l0", "settings": L0}),
    "movement": ("gate", GATE | {"criterion": "movement", "settings": MOVEMENT, "training": TRAINING}),
    "l0_joint": ("gate", GATE | {"training": TRAINING | DISTIL}),
}
STEPS = L0 | {"steps": 20, "gradual": {"steps": 2, "share": 0.5}}
SHORT = TRAINING | {"epochs": 10}
GRADUAL = ("gate", GATE | {"criterion": "l0@steps", "settings": STEPS, "training": SHORT})
"""Four trainings in one stage: gates, weights, and both again."""
WRITTEN = {"teacher": "model", "recover": "model", "gate": "scores"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Features, a hold-out, an encoder and a teacher with its logits."""
    path = tmp_path_factory.mktemp("processes")
    (path / "features").mkdir()
    for split in ("train", "holdout"):
        features = make_features()
        save_features(path / "features" / f"{split}.safetensors", features)
    examples = [Example(name, "who?", "a" * 900, group, "", ()) for name, group in questions()]
    write_examples(path / "holdout.jsonl.gz", examples)
    make_model("bert", scale=0.1).save_pretrained(path / "encoder")
    run(path, "teacher", path / "given")
    return path


def questions() -> list[tuple[str, str]]:
    features = make_features()
    return list(zip(features.ids, features.groups, strict=True))


def command(folder: Path, kind: str, out: Path, **compute: int | str) -> list[str]:
    stage, own = SPECS[kind]
    spec = SHARED | own | {"compute": SHARED["compute"] | compute}
    words = [stage, "--spec", json.dumps(spec), "--out", str(out), "--features", str(folder / "features")]
    if stage == "gate":
        return [*words, "--teacher", str(folder / "given")]
    words += ["--holdout", str(folder / "holdout.jsonl.gz")]
    if stage == "teacher":
        return [*words, "--encoder", str(folder / "encoder")]
    given = folder / "given"
    return [
        *words,
        "--model",
        str(given),
        "--teacher",
        str(given),
        "--logits",
        f"{given}/logits.safetensors",
    ]


def launched(folder: Path, kind: str, out: Path, **compute: int | str) -> list[str]:
    words = [sys.executable, "-m", "qaprune", *command(folder, kind, out, **compute)]
    if "processes" in compute:
        count = str(compute["processes"])
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", count, "-m", "qaprune"]
        words[1:3] = launch
    return words


def run(folder: Path, kind: str, out: Path, **compute: int | str) -> None:
    words = launched(folder, kind, out, **compute)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def result_of(kind: str, out: Path) -> dict[str, torch.Tensor]:
    found = load_file(out / f"{WRITTEN[SPECS[kind][0]]}.safetensors")
    extra = out / "weights.safetensors"
    return found | (load_file(extra) if extra.exists() else {})


def log_of(out: Path) -> list[dict]:
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def kill_after(
    folder: Path, kind: str, out: Path, step: int, training: str = "train", **compute: int | str
) -> None:
    """Start the stage and kill it, processes and all, once a checkpoint of that step or later is there."""
    words = launched(folder, kind, out, **compute)
    environment = os.environ | {SECONDS: "0"}
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environment, start_new_session=True)
    resume = out.with_name(f".{out.name}.resume") / training
    while process.poll() is None:
        if any(int(path.name[5:]) >= step for path in resume.glob("step-*")):
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "stage.json").exists()


@pytest.mark.parametrize("kind", SPECS)
def test_a_stage_killed_twice_ends_with_the_same_bits(kind, folder, tmp_path):
    run(folder, kind, tmp_path / "whole")
    for step in (7, 60):
        kill_after(folder, kind, tmp_path / "killed", step)
    run(folder, kind, tmp_path / "killed")
    whole, killed = (result_of(kind, tmp_path / name) for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "killed")
    assert not (tmp_path / ".killed.resume").exists()


def test_two_processes_killed_end_with_the_same_bits(folder, tmp_path):
    """With dropout: each draws its own, the same again."""
    run(folder, "teacher", tmp_path / "whole", processes=2)
    kill_after(folder, "teacher", tmp_path / "killed", 7, processes=2)
    run(folder, "teacher", tmp_path / "killed", processes=2)
    whole, killed = (result_of("teacher", tmp_path / name) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "killed")


def test_a_stage_of_several_trainings_may_be_killed_in_any(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(SPECS, "gradual", GRADUAL)
    run(folder, "gradual", tmp_path / "whole")
    for training, step in (("train", 5), ("train-1", 5), ("train-2", 20), ("train-3", 5)):
        kill_after(folder, "gradual", tmp_path / "killed", step, training)
    run(folder, "gradual", tmp_path / "killed")
    whole, killed = (result_of("gradual", tmp_path / name) for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.parametrize("kind", ["teacher", "l0_joint"])
def test_two_processes_have_the_losses_of_one(kind, folder, tmp_path, monkeypatch):
    """Without dropout, which each process draws for itself."""
    stage, own = SPECS[kind]
    short = own["training"] | {"dropout": 0.0, "epochs": 20}
    monkeypatch.setitem(SPECS, kind, (stage, own | {"training": short}))
    run(folder, kind, tmp_path / "one")
    run(folder, kind, tmp_path / "two", processes=2)
    assert json.loads((tmp_path / "two" / "stage.json").read_text())["compute"]["processes"] == 2
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert [row["tokens"] for row in one] == [row["tokens"] for row in two]
    losses = [[row["loss"] for row in rows] for rows in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert len(set(losses[0])) > 1


def test_processes_that_found_different_checkpoints_are_refused(tmp_path):
    """One of an earlier run wrote on between them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"
        "from qaprune.train import processes\n"
        "joined, _ = processes.join(2, torch.device('cpu'))\n"
        "sys.stdout.write(f'same {joined.agree(5)} other {joined.agree(joined.index)}\\n')\n"
    )
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run([sys.executable, *launch], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["same True other False"] * 2, done.stderr[-3000:]


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler here")
def test_a_compiled_training_killed_ends_with_the_same_bits(folder, tmp_path, monkeypatch):
    """Its graphs must not hang on which shapes this process met first."""
    run(folder, "teacher", tmp_path / "whole", compile="default")
    for step in (7, 60):
        kill_after(folder, "teacher", tmp_path / "killed", step, compile="default")
    run(folder, "teacher", tmp_path / "killed", compile="default")
    whole, killed = (result_of("teacher", tmp_path / name) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler here")
def test_compiled_training_has_the_losses_of_plain(folder, tmp_path, monkeypatch):
    stage, own = SPECS["teacher"]
    short = own["training"] | {"dropout": 0.0, "epochs": 20}
    monkeypatch.setitem(SPECS, "teacher", (stage, own | {"training": short}))
    run(folder, "teacher", tmp_path / "plain")
    run(folder, "teacher", tmp_path / "compiled", compile="default")
    plain, compiled = ([row["loss"] for row in log_of(tmp_path / name)] for name in ("plain", "compiled"))
    assert compiled == pytest.approx(plain, rel=1e-3)
    weights = load_file(tmp_path / "compiled" / "model.safetensors")
    assert weights.keys() == load_file(tmp_path / "plain" / "model.safetensors").keys()


def test_a_number_of_processes_that_nobody_started_is_refused(folder, tmp_path):
    words = [sys.executable, "-m", "qaprune", *command(folder, "teacher", tmp_path / "out", processes=2)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "compute.processes: expected 2, but 1 run here; start the stage with torchrun" in done.stderr
    assert not (tmp_path / "out").exists()


def test_fewer_gpus_than_processes_are_refused(monkeypatch):
    monkeypatch.setattr(processes.stage, "launched_processes", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="expected a GPU for each of 2, but torch finds 1"):
        processes.join(2, torch.device("cuda"))


def test_a_disk_that_fills_up_is_one_line(folder, tmp_path):
    """A limit on the size of files stands in for the disk: checkpoints are larger than the log."""
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)); "
    limited += "from qaprune.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", limited, *command(folder, "teacher", tmp_path / "out")]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=os.environ | {SECONDS: "0"}
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("qaprune: error"))
    assert "no checkpoint of step 1 could be written" in line
    assert "File too large" in line
    assert not (tmp_path / "out").exists()
