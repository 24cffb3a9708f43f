"""Timers, environment and the profile stage on tiny CPU models."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import statistics
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from qaprune.data.examples import open_text
from qaprune.data.features import save_features
from qaprune.errors import InputError
from qaprune.profile import measure, stage
from qaprune.profile.energy import Idle
from qaprune.profile.environment import capture, cpu_model, fingerprint
from qaprune.profile.inputs import pick_windows
from qaprune.profile.nvml import Gpu
from qaprune.profile.outcome import NotMeasured
from qaprune.profile.outputs import SAMPLE_COLUMNS
from qaprune.profile.power import Meter, make_meter
from qaprune.profile.settings import check_spec
from qaprune.profile.stage import profile_run
from qaprune.profile.timers import CudaStopwatch, Stopwatch, time_interleaved, warm_up
from qaprune.report.intervals import paired_ratios, speedup_interval
from tests.unit.fake_nvml import UUID, FakeNvml
from tests.unit.profile_data import SPEC, tiny_features, write_dev

NO_ENERGY = "no GPU: timed on the CPU; RAPL: this machine shows no CPU package counters"


class FakeClock:
    """Time that passes only where a model says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []

    def __call__(self) -> float:
        return self.now

    def model(self, name: str, seconds: float):
        def forward(number: int) -> None:
            self.calls.append((name, number))
            self.now += seconds * (1 + 0.05 * number)

        return forward


def test_every_round_times_every_variant_once_in_changing_order():
    clock = FakeClock()
    models = {name: clock.model(name, 0.01) for name in "abcd"}
    samples = time_interleaved(models, 12, 0, Stopwatch(clock=clock), seed=1)
    orders = [tuple(sample.name for sample in samples if sample.round == number) for number in range(12)]
    assert all(sorted(order) == list("abcd") for order in orders)
    assert [sample.round for sample in samples] == sorted(sample.round for sample in samples)
    assert len({order[0] for order in orders}) == 4, "some variant never went first"


def test_order_hangs_on_the_seed_alone():
    def names(seed: int) -> list[str]:
        clock = FakeClock()
        models = {name: clock.model(name, 0.01) for name in "abcd"}
        return [sample.name for sample in time_interleaved(models, 6, 0, Stopwatch(clock=clock), seed)]

    assert names(1) == names(1) != names(2)


def test_planted_slowdown_is_found_under_drift():
    clock = FakeClock()
    models = {"teacher": clock.model("teacher", 0.01), "slow": clock.model("slow", 0.02)}
    samples = time_interleaved(models, 20, 0, Stopwatch(clock=clock))
    sides = {
        name: {sample.round: sample.seconds for sample in samples if sample.name == name} for name in models
    }
    ratio, low, high = speedup_interval(paired_ratios(sides["teacher"], sides["slow"]))
    assert (ratio, low, high) == pytest.approx((0.5, 0.5, 0.5))


def test_min_seconds_adds_rounds():
    clock = FakeClock()
    samples = time_interleaved({"a": clock.model("a", 0.1)}, 2, 1.0, Stopwatch(clock=clock))
    assert sum(sample.seconds for sample in samples) >= 1.0
    assert len(samples) > 2


def test_device_is_waited_for_before_and_after_each_pass():
    clock, events = FakeClock(), []
    model = clock.model("a", 0.01)
    stopwatch = Stopwatch(lambda: events.append("wait"))
    time_interleaved({"a": lambda number: (events.append("pass"), model(number))}, 3, 0, stopwatch)
    assert events == ["wait", "pass", "wait"] * 3


def test_nothing_to_time_is_refused():
    with pytest.raises(InputError, match="no variants"):
        time_interleaved({}, 1, 0)


def test_warm_up_ends_when_rounds_take_the_same_time():
    clock = FakeClock()
    first = iter([0.5, 0.1, 0.02])

    def model(number: int) -> None:
        clock.now += next(first, 0.01)

    done = warm_up({"a": model}, 3, 20, 1.0, Stopwatch(clock=clock))
    assert (done.rounds, done.steady) == (6, True), "the three slow rounds and three that agree"
    assert done.cv_percent == pytest.approx(0)


def test_warm_up_that_never_steadies_says_so():
    clock = FakeClock()
    swing = itertools.cycle([0.01, 0.02])

    def model(number: int) -> None:
        clock.now += next(swing)

    done = warm_up({"a": model}, 4, 9, 5.0, Stopwatch(clock=clock))
    assert (done.rounds, done.steady) == (9, False)
    assert done.cv_percent == pytest.approx(100 * statistics.stdev([1, 2, 1, 2]) / 1.5)


def test_events_of_the_device_are_read_beside_the_wall_clock():
    clock = FakeClock()

    class Event:
        def record(self) -> None:
            self.at = clock.now

        def elapsed_time(self, other: Event) -> float:
            return 1000 * (other.at - self.at)

    def wait() -> None:
        clock.now += 0.001

    stopwatch = CudaStopwatch(wait, clock, events=(Event(), Event()))
    (sample,) = time_interleaved({"a": clock.model("a", 0.01)}, 1, 0, stopwatch)
    assert sample.device_seconds == pytest.approx(0.01)
    assert sample.seconds == pytest.approx(0.011), "the wait behind the pass is the caller's time too"


def test_environment_names_the_machine_and_no_paths():
    environment = capture()
    text = json.dumps(environment)
    assert environment["torch"].startswith("2.")
    assert environment["cores"] >= 1
    assert environment["gpu"] is None
    assert not re.search(r"/(home|root|tmp|work|usr)\b", text)


def test_fingerprint_follows_what_timings_depend_on():
    environment = capture()
    same = environment | {"git_commit": "another"}
    other = environment | {"torch_threads": environment["torch_threads"] + 1}
    assert fingerprint(environment) == fingerprint(same) != fingerprint(other)


def test_cpu_model_reads_the_kernels_file(tmp_path: Path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Some  CPU @ 2GHz\n")
    assert cpu_model(cpuinfo) == "Some CPU @ 2GHz"
    assert cpu_model(tmp_path / "absent")


def test_same_windows_for_all_and_repeated_only_when_they_run_out():
    batches = pick_windows(100, 8, 1)
    assert len({int(index) for batch in batches for index in batch}) == len(batches) * 8
    assert [len(batch) for batch in pick_windows(3, 8, 1)] == [8]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cells", []),
        ("cells", [{"batch": 0, "length": 8}]),
        ("rounds", 0),
        ("dtype", ["int8"]),
        ("dtype", "float32"),
        ("backend", []),
        ("compile", ["fast"]),
        ("warmup", {"least": 1, "most": 3, "cv_percent": 5}),
        ("warmup", None),
        ("threads", None),
        ("foreign_processes", "ignore"),
        ("foreign_processes", None),
    ],
)
def test_impossible_spec_names_its_key(key: str, value: object):
    with pytest.raises(InputError, match=rf"profile\.{key}"):
        check_spec(SPEC | {key: value})


def test_a_gpu_that_is_not_there_is_an_error_not_a_fallback(tmp_path: Path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match="finds no GPU"):
        profile_run(SPEC | {"device": "cuda"}, {}, tmp_path / "dev.safetensors", tmp_path)


@pytest.fixture(scope="module")
def profiled(
    checkpoints: tuple[Path, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, list[str]]:
    """The two models timed, on a machine without RAPL wherever the tests run."""
    import torch

    features, variants = checkpoints
    out = tmp_path_factory.mktemp("profile")
    lines: list[str] = []
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "make_meter", partial(make_meter, powercap=out / "absent"))
        dev = write_dev(out / "dev.jsonl.gz")
        summary = profile_run(SPEC, variants, features, out, lines.append, dev)
    assert torch.get_num_threads() == threads, "the stage left its thread setting behind"
    return out, summary, lines


def test_stage_keeps_every_raw_sample(profiled: tuple[Path, str, list[str]]):
    out, _, _ = profiled
    with open_text(out / "samples.csv.gz") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == SAMPLE_COLUMNS
    assert len(rows) == 2 * 2 * SPEC["rounds"]
    assert {row["dtype"] for row in rows} == {"float32"}, "auto is float32 on a CPU"
    assert {row["device_seconds"] for row in rows} == {""}, "a CPU has no clock of its own"
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_smaller_model_is_faster(profiled: tuple[Path, str, list[str]]):
    out, summary, lines = profiled
    with open_text(out / "samples.csv.gz") as stream:
        rows = [row for row in csv.DictReader(stream) if row["batch"] == "2"]
    least = {
        key: min(float(row["seconds"]) for row in rows if row["variant"] == key)
        for key in ("teacher", "l0-h50-f50/pruned")
    }
    assert least["l0-h50-f50/pruned"] < least["teacher"], (
        "the least of five: medians swing on a busy machine"
    )
    assert "median teacher" in summary
    assert f"energy not measured ({NO_ENERGY})" in summary
    assert [line.partition(":")[0] for line in lines] == ["  batch 2 x 32", "  batch 1 x 16"]


def test_stage_says_what_it_could_not_measure(profiled: tuple[Path, str, list[str]]):
    described = json.loads((profiled[0] / "cells.json").read_text())
    assert len(described["cells"]) == 4
    assert described["foreign_processes"] is None
    assert described["foreign_processes_reason"] == "no GPU: timed on the CPU"
    assert (described["cells"][0]["batch"], described["cells"][0]["length"]) == (2, 32)
    for cell in described["cells"]:
        assert cell["peak_memory_mb"] is None
        assert cell["peak_memory_reason"]
        assert cell["energy_j"] is None
        assert cell["energy_gross_j"] is None
        assert cell["energy_reason"] == NO_ENERGY
        assert cell["sampler"] is None
        assert cell["sampler_reason"] == "no GPU: timed on the CPU"
        assert cell["windows_per_question"] == pytest.approx(1.5)
        assert 0 < cell["fill_percent"] <= 100
    environment = json.loads((profiled[0] / "environment.json").read_text())
    assert environment["torch_threads"] == SPEC["threads"]
    assert described["fingerprint"] == fingerprint(environment)


def test_missing_checkpoint_is_named(tmp_path: Path):
    save_features(tmp_path / "dev.safetensors", tiny_features())
    with pytest.raises(InputError, match="absent"):
        profile_run(SPEC, {"teacher": tmp_path / "absent"}, tmp_path / "dev.safetensors", tmp_path)


class SteadyCounter:
    """100 W in a time that passes with each look at the clock, so that nothing here sleeps."""

    source = "rapl"

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        self.sleep(0.01)
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def read(self) -> float:
        return 100 * self.now


class RestedMeter(Meter):
    """A meter that found 50 W at rest."""

    def idle(self, seconds: float = 1.0, settle_seconds: float = 0.5) -> Idle:
        return Idle(watts=50.0, seconds=1.0, period_s=0.01)


def test_energy_a_question_lands_in_the_cells(
    checkpoints: tuple[Path, dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    counter = SteadyCounter()
    meter = RestedMeter(counter, NotMeasured("planted"), lambda: None, counter.clock, counter.sleep)
    monkeypatch.setattr(stage, "make_meter", lambda device, gpu, wait: meter)
    features, variants = checkpoints
    summary = profile_run(SPEC | {"cells": SPEC["cells"][:1]}, variants, features, tmp_path, print)
    assert "energy measured, not cross-checked" in summary
    for cell in json.loads((tmp_path / "cells.json").read_text())["cells"]:
        watts = cell["energy_gross_j"] * cell["energy_passes"] * 2 / 1.5 / cell["energy_window_s"]
        assert watts == pytest.approx(100), "two windows a pass, one and a half a question"
        assert cell["energy_j"] / cell["energy_gross_j"] == pytest.approx(0.5)
        assert cell["idle_power_w"] == 50
        assert cell["energy_reason"] is None


@pytest.mark.parametrize(("wanted", "measured"), [("all", 2), ("first", 1), ("off", 0)])
def test_energy_of_the_cells_that_the_config_wants(
    wanted: str,
    measured: int,
    checkpoints: tuple[Path, dict[str, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    counter = SteadyCounter()
    meter = RestedMeter(counter, NotMeasured("planted"), lambda: None, counter.clock, counter.sleep)
    monkeypatch.setattr(stage, "make_meter", lambda device, gpu, wait: meter)
    features, variants = checkpoints
    cells = [{"batch": 2, "length": 32}, {"batch": 1, "length": 32}]
    profile_run(SPEC | {"cells": cells, "energy": wanted}, variants, features, tmp_path, print)
    found = json.loads((tmp_path / "cells.json").read_text())["cells"]
    assert [cell["energy_j"] is not None for cell in found] == [
        at < measured for at in range(2) for _ in variants
    ]
    reasons = {cell["energy_reason"] for cell in found if cell["energy_j"] is None}
    assert reasons == ({f"profile.energy: {wanted}"} if measured < 2 else set())


STRANGER = (2**30, 700)


@pytest.fixture
def shared_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNvml:
    """The stage believes that it runs on this card, where its own process is alone so far."""
    fake = FakeNvml(processes={"compute": [(os.getpid(), 100)]})

    @contextmanager
    def opened(device: str):
        yield Gpu(fake, f"GPU-{UUID}", f"GPU-{UUID}")

    monkeypatch.setattr(stage, "open_gpu", opened)
    monkeypatch.setattr(stage, "make_meter", partial(make_meter, powercap=tmp_path))
    return fake


def test_a_foreign_process_aborts_before_anything_is_timed(
    checkpoints: tuple[Path, dict[str, Path]],
    tmp_path: Path,
    shared_gpu: FakeNvml,
    monkeypatch: pytest.MonkeyPatch,
):
    shared_gpu.processes["compute"].append(STRANGER)
    monkeypatch.setattr(measure, "time_interleaved", lambda *_: pytest.fail("timed beside a stranger"))
    features, variants = checkpoints
    with pytest.raises(InputError, match=r"foreign process 1073741824 \(700 MiB\) on the GPU"):
        profile_run(SPEC, variants, features, tmp_path, print)


@pytest.mark.parametrize("policy", ["abort", "mark"])
def test_a_foreign_process_that_comes_while_timing_stops_or_marks_the_run(
    checkpoints: tuple[Path, dict[str, Path]],
    tmp_path: Path,
    shared_gpu: FakeNvml,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
):
    def interrupted(*arguments: object) -> object:
        shared_gpu.processes["compute"].append(STRANGER)
        return time_interleaved(*arguments)

    monkeypatch.setattr(measure, "time_interleaved", interrupted)
    features, variants = checkpoints
    spec = SPEC | {"cells": SPEC["cells"][:1], "foreign_processes": policy}
    if policy == "abort":
        with pytest.raises(InputError, match="foreign process"):
            profile_run(spec, variants, features, tmp_path, print)
        assert not (tmp_path / "cells.json").exists()
        return
    assert "foreign process 1073741824 (700 MiB)" in profile_run(spec, variants, features, tmp_path, print)
    marked = json.loads((tmp_path / "cells.json").read_text())["foreign_processes"]
    assert marked == [{"pid": 2**30, "kind": "compute", "memory_mb": 700.0}]
