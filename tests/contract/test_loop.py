"""What the training loop promises whatever is trained: the same weights by any way there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from qaprune.budget import parse_budget
from qaprune.data.features import FlatLogits
from qaprune.errors import InputError
from qaprune.gate.gates import gated
from qaprune.gate.l0_gates import L0Gates
from qaprune.gate.learning import GateObjective, alive_parts
from qaprune.gate.registry import GateTask
from qaprune.gate.straight_through import StraightThroughGates
from qaprune.models.encoder import model_shape
from qaprune.prune.slice import slice_model
from qaprune.train import checkpoints as kept
from qaprune.train.checkpoints import Checkpoints, State
from qaprune.train.compute import Compute
from qaprune.train.hidden import HiddenMatch, initial_map
from qaprune.train.loop import Job, train
from qaprune.train.objectives import Finetune, Objective
from qaprune.train.optimizers import make_optimizer
from tests.conftest import closed_mask, make_features, make_model

COMPUTE = Compute(torch.device("cpu"), torch.float32, "eager")
SETTINGS = {"epochs": 4, "lr": 1e-3, "warmup": 0.1, "batch_tokens": 256, "weight_decay": 0.01, "clip": 1.0}
GATES = {"lr": 0.1, "warmup": 0.5, "cooldown": 0.2, "init_heads": 2.5, "init_ff": 2.0}
KINDS = ("gold", "distilled", "hidden", "l0", "l0_joint", "movement")


class Training:
    """One kind of training on the small model, from its start."""

    def __init__(self, kind: str, dropout: float = 0.1):
        torch.manual_seed(0)
        self.kind = kind
        rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), dropout)
        self.model = make_model("bert", scale=0.1, **rates).train()
        self.features = make_features()
        self.logits = None
        self.settings = dict(SETTINGS)
        if kind in ("distilled", "hidden", "l0_joint"):
            self.settings |= {"temperature": 2.0, "weight": 0.5}
            spans = np.random.default_rng(0).normal(size=(len(self.features.input_ids), 2))
            self.logits = FlatLogits(spans.astype(np.float32))
        if kind == "hidden":
            self.settings["hidden_weight"] = 0.5

    def run(
        self, folder: Path, checkpoints: Checkpoints | None = None, wrap=lambda objective: objective, **more
    ):
        """Train; `wrap` may put something around the objective. What a checkpoint would hold at the end."""
        settings = self.settings | more

        def fit(objective: Objective):
            self.objective = wrap(objective)
            log = folder / "train.jsonl"
            job = Job(self.features, 3, COMPUTE, log, "t", self.logits, checkpoints)
            self.result = train(self.objective, job, settings)
            return {name: tensor.clone() for name, tensor in objective.tensors().items()}

        if self.kind in ("gold", "distilled"):
            return fit(Finetune(self.model, settings))
        if self.kind == "hidden":
            return fit(HiddenMatch(self.model, make_model("bert", seed=1), settings))
        budget = parse_budget("h50-f50-d75")
        task = GateTask(
            model_shape(self.model), GATES, 3, budget, self.model, training=settings, hidden=True
        )
        if self.kind == "l0":
            self.model.eval().requires_grad_(False)
        learnt = (StraightThroughGates if self.kind == "movement" else L0Gates)(task)
        with gated(self.model) as gates:
            alive = None if self.kind == "l0" else alive_parts(task)
            return fit(GateObjective(task, gates, learnt, alive))


class Killed(Exception):
    pass


def dying(step: int):
    """Makes an objective end its process, as it were, in the middle of a step."""

    def wrap(objective: Objective) -> Objective:
        counted = {"steps": 0}
        collect = objective.collect

        def last():
            counted["steps"] += 1
            if counted["steps"] == step:
                raise Killed
            collect()

        objective.collect = last
        return objective

    return wrap


def assert_same(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], **tolerance: float
) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        same = (
            torch.allclose(found[name], tensor, **tolerance)
            if tolerance
            else torch.equal(found[name], tensor)
        )
        assert same, name


def untimed(path: Path) -> list[dict]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setenv(kept.SECONDS, "0")
    monkeypatch.setattr(kept, "PATIENCE", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_ends_with_the_same_bits(kind, tmp_path, every_step):
    whole = Training(kind).run(tmp_path)
    log = untimed(tmp_path / "train.jsonl")
    identity = {"spec": kind}
    for step in (2, 5):  # killed twice, the second time after going on
        with pytest.raises(Killed):
            Training(kind).run(tmp_path, Checkpoints(tmp_path / "c", identity), dying(step))
    last = Training(kind)
    found = last.run(tmp_path, Checkpoints(tmp_path / "c", identity))
    assert_same(found, whole)
    assert untimed(tmp_path / "train.jsonl") == log
    assert last.result.tokens == 4 * len(make_features().input_ids)
    assert last.result.windows == 4 * make_features().windows


def test_another_training_starts_anew(tmp_path, every_step):
    with pytest.raises(Killed):
        Training("gold").run(tmp_path, Checkpoints(tmp_path / "c", {"spec": 1}), dying(4))
    assert Checkpoints(tmp_path / "c", {"spec": 1}).load() is not None
    assert Checkpoints(tmp_path / "c", {"spec": 2}).load() is None


def test_a_damaged_checkpoint_is_none(tmp_path, every_step):
    with pytest.raises(Killed):
        Training("gold").run(tmp_path, Checkpoints(tmp_path / "c", {}), dying(4))
    (path,) = (tmp_path / "c").glob("step-*/state.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    assert Checkpoints(tmp_path / "c", {}).load() is None
    assert_same(
        Training("gold").run(tmp_path, Checkpoints(tmp_path / "c", {})), Training("gold").run(tmp_path)
    )


def test_a_checkpoint_that_goes_while_it_is_read_is_followed_by_the_next(tmp_path, monkeypatch):
    found = Checkpoints(tmp_path / "c", {})
    found.save(1, State({"a": torch.ones(3)}, {"step": 1}))
    read = kept.load_file

    def slow(path):
        monkeypatch.setattr(kept, "load_file", read)
        Checkpoints(tmp_path / "c", {}).save(2, State({"a": torch.zeros(3)}, {"step": 2}))
        return read(path)

    monkeypatch.setattr(kept, "load_file", slow)
    assert found.load().facts == {"step": 2}


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    found = Checkpoints(tmp_path / "c", {})
    found.save(1, State({"a": torch.ones(3)}, {"step": 1}))

    def full(tensors, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "save_file", full)
    with pytest.raises(
        InputError, match=r"no checkpoint of step 2 could be written \(No space left on device\)"
    ):
        found.save(2, State({"a": torch.zeros(3)}, {"step": 2}))
    assert torch.equal(found.load().tensors["a"], torch.ones(3))
    assert not list((tmp_path / "c").glob(".writing*"))


def test_processes_that_train_the_same_leave_each_other_alone(tmp_path):
    """One that outlived its command writes on while the command runs again."""
    found = Checkpoints(tmp_path / "c", {})
    living, dead = (tmp_path / "c" / f".writing-{number}" for number in (os.getppid(), 2**22 + 1))
    for folder in (living, dead):
        folder.mkdir(parents=True)
        (folder / "state.json").write_text("half")
    found.save(1, State({"a": torch.ones(3)}, {"step": 1}))
    assert found.load().facts == {"step": 1}
    assert [path.name for path in (tmp_path / "c").glob(".writing*")] == [living.name]


def first_gradients(kind, folder, wrap=lambda objective: objective, **more) -> list[torch.Tensor]:
    """Of the first step. Weights would not do: Adam makes a whole step of a gradient's last bit."""
    found: list[torch.Tensor] = []

    def stop(objective: Objective) -> Objective:
        def last(progress: float) -> None:
            found.extend(p.grad.clone() for p in objective.parameters if p.grad is not None)
            raise Killed

        objective.penalise = last
        return wrap(objective)

    with pytest.raises(Killed):
        Training(kind, dropout=0.0).run(folder, wrap=stop, **more)
    return found


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected) > 1
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6 * max(1.0, other.abs().max().item()))


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_change_nothing_but_the_memory(kind, tmp_path):
    whole = first_gradients(kind, tmp_path)
    assert_close(first_gradients(kind, tmp_path, micro_tokens=64), whole)


class Hungry:
    """Runs out of memory where a pass has more than `most` windows."""

    def __init__(self, most: int):
        self.most, self.seen = most, []

    def fail(self) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    def __call__(self, objective: Objective) -> Objective:
        loss = objective.loss

        def tried(batch):
            rows = len(batch["input_ids"])
            self.seen.append(rows)
            if rows > self.most:
                self.fail()
            return loss(batch)

        objective.loss = tried
        return objective


MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory"),
    MemoryError("Unable to allocate 2.00 GiB for an array"),
)


@pytest.mark.parametrize("error", MEMORY, ids=str)
def test_memory_runs_out_in_many_words(error, tmp_path):
    def fail() -> None:
        raise error

    hungry = Hungry(3)
    hungry.fail = fail
    Training("gold").run(tmp_path, wrap=hungry)
    assert max(hungry.seen) > 3


@pytest.mark.parametrize("kind", ["gold", "l0_joint"])
def test_out_of_memory_halves_the_passes_and_keeps_the_batch(kind, tmp_path):
    assert_close(first_gradients(kind, tmp_path, Hungry(3)), first_gradients(kind, tmp_path))
    hungry = Hungry(3)
    Training(kind).run(tmp_path, wrap=hungry)
    assert max(hungry.seen) > 3
    assert sum(rows > 3 for rows in hungry.seen) <= 2, "it learns the size once, not in every step"


def test_the_memory_of_a_cpu_runs_out_alike(tmp_path):
    hungry = Hungry(3)
    hungry.fail = lambda: torch.empty(10**15)
    Training("gold").run(tmp_path, wrap=hungry)
    assert max(hungry.seen) > 3


def test_out_of_memory_with_one_window_is_one_line(tmp_path):
    with pytest.raises(InputError, match="t: out of memory with a single window of 32 tokens on cpu"):
        Training("gold").run(tmp_path, wrap=Hungry(0))


def test_whole_numbers_are_settings_too():
    """YAML's 2 is no float: gates that start there and an optimizer without a second moment."""
    model = make_model("bert")
    whole = GATES | {"init_heads": 2, "init_ff": 2, "init_hidden": 4}
    task = GateTask(model_shape(model), whole, 3, parse_budget("h50-f50-d75"), model, hidden=True)
    assert [gates.mean().item() for gates in L0Gates(task).parameters] == [2, 2, 4]
    assert make_optimizer(model, 1e-3, 0.0, 0).param_groups[0]["betas"] == (0.9, 0.0)


def test_out_of_memory_in_the_optimizers_step_is_one_line(tmp_path):
    def greedy(objective):
        objective.optimizers[0].step = lambda: torch.empty(10**15)
        return objective

    with pytest.raises(InputError, match="t: out of memory for the optimizer's moments on cpu"):
        Training("gold").run(tmp_path, wrap=greedy)


@pytest.mark.parametrize("kind", ["gold", "l0"])
def test_a_last_step_that_breaks_the_weights_is_seen(kind, tmp_path):
    def broken(objective):
        def end():
            with torch.no_grad():
                objective.parameters[-1].view(-1)[0] = float("inf")

        objective.end = end
        return objective

    with pytest.raises(InputError, match="t: a weight is not a number after the last step"):
        Training(kind).run(tmp_path, wrap=broken, steps=1)


def test_other_errors_are_not_taken_for_memory(tmp_path):
    def broken(objective):
        objective.loss = lambda batch: torch.zeros(2) @ torch.zeros(3)
        return objective

    with pytest.raises(RuntimeError, match="size"):
        Training("gold").run(tmp_path, wrap=broken)


def test_a_student_starts_in_the_teachers_dimensions():
    teacher = make_model("bert", vocab_size=60)
    student = slice_model(teacher, closed_mask())
    mapping = initial_map(student, teacher)
    assert mapping.shape == (16, 32)
    small, large = (model.get_input_embeddings().weight for model in (student, teacher))
    open_dimensions = np.flatnonzero(closed_mask().hidden)
    assert torch.allclose((small @ mapping)[:, open_dimensions], large[:, open_dimensions], atol=1e-4)
    assert torch.equal(initial_map(teacher, teacher), torch.eye(32))


def test_hidden_states_of_oneself_are_no_distance(tmp_path):
    model, features = make_model("bert"), make_features()
    from qaprune.train.batches import labelled_batch

    batch = labelled_batch(features, np.arange(6), "cpu")
    plain = Finetune(model, SETTINGS).loss(batch)
    same = HiddenMatch(model, make_model("bert"), SETTINGS | {"hidden_weight": 10.0}).loss(batch)
    other = HiddenMatch(model, make_model("bert", seed=1), SETTINGS | {"hidden_weight": 10.0}).loss(batch)
    assert same.item() == pytest.approx(plain.item(), abs=1e-5)
    assert other.item() > plain.item() + 0.1
    batch["input_ids"][batch["attention_mask"] == 0] = 7  # what stands in the padding plays no part
    one = HiddenMatch(
        model, make_model("bert", seed=1), SETTINGS | {"hidden_weight": 10.0, "hidden_layers": [2]}
    ).loss(batch)
    assert one.item() != pytest.approx(other.item(), rel=1e-3)


def test_a_layer_that_is_not_there_is_one_line():
    with pytest.raises(InputError, match=r"hidden_layers: 3: expected layers from 1 to 2"):
        HiddenMatch(
            make_model("bert", layers=2),
            make_model("bert", layers=2),
            SETTINGS | {"hidden_weight": 1.0, "hidden_layers": [1, 3]},
        )


@pytest.mark.parametrize("width", [32, 16])
def test_matching_hidden_states_brings_them_closer(width, tmp_path):
    training = Training("hidden", dropout=0.0)
    if width == 16:
        training.model = slice_model(training.model, closed_mask()).train()
    found = training.run(tmp_path, epochs=40, lr=3e-3, hidden_weight=5.0)
    rows = untimed(tmp_path / "train.jsonl")
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert found["map"].shape == (width, 32)
