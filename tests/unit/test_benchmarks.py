"""The benchmarks' own runner: one baseline a machine, a slower run fails, a first run says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import nq_reader, pruning_core, stock_trainer
from benchmarks import run as runner
from benchmarks.run import NO_BASELINE, describe_machine, machine_folder, newest_baseline, run
from tests.conftest import ROOT, make_model

BENCHMARKS = """
def test_sum(benchmark):
    benchmark.pedantic(sum, (range(1000),), rounds=5)
"""


MACHINE = {"fingerprint": "abc", "cpu": "Example CPU 3000", "cores": 2}


@pytest.fixture
def target(tmp_path) -> Path:
    path = tmp_path / "test_small.py"
    path.write_text(BENCHMARKS)
    return path


def rewrite(path: Path, edit) -> None:
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def scale(factor: float):
    """An edit that makes a saved run so many times as slow."""

    def edit(record: dict) -> None:
        for bench in record["benchmarks"]:
            bench["stats"]["min"] *= factor

    return edit


def test_save_and_comparison(tmp_path, target, capfd):
    """No timing decides here: the baseline is made a thousand times slower, then faster, than it was."""
    more = {"tolerance": 25, "targets": [str(target), f"--rootdir={tmp_path}"], "storage": tmp_path}
    assert run(MACHINE, save=True, **more) == 0
    assert "saved as this machine's baseline: example-cpu-3000-2-cores-abc/" in capfd.readouterr().out
    folder = machine_folder(MACHINE, tmp_path)
    baseline = newest_baseline(folder)
    assert json.loads(baseline.read_text())["machine_info"] == MACHINE

    rewrite(baseline, scale(1000))
    assert run(MACHINE, save=False, **more) == 0
    printed = capfd.readouterr()
    assert "0001_baselin" in printed.out
    assert "not compared" not in printed.out
    assert "machine_info is different" not in printed.err

    target.write_text(BENCHMARKS + BENCHMARKS.replace("test_sum", "test_new"))
    rewrite(baseline, scale(1e-6))
    assert run(MACHINE, save=False, **more) == runner.REGRESSION
    printed = capfd.readouterr()
    assert "Performance has regressed" in printed.err
    assert "Traceback" not in printed.err + printed.out
    assert "not in the baseline, not compared: test_small.py::test_new" in printed.out
    assert newest_baseline(folder) == baseline, "only a save moves the baseline"


def test_a_run_with_a_failed_benchmark_does_not_become_the_baseline(tmp_path, target, capfd):
    target.write_text(BENCHMARKS + "\ndef test_broken(benchmark):\n    benchmark(lambda: 1 / 0)\n")
    targets = [str(target), f"--rootdir={tmp_path}"]
    assert run(MACHINE, save=True, tolerance=25, targets=targets, storage=tmp_path) == 1
    assert "not saved: not all benchmarks ran" in capfd.readouterr().out
    assert newest_baseline(machine_folder(MACHINE, tmp_path)) is None


def test_a_first_run_compares_nothing_and_says_what_to_do(tmp_path, monkeypatch, capsys):
    commands = []

    def finished(command, **more):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(runner.subprocess, "run", finished)
    assert run(MACHINE, save=False, tolerance=25, storage=tmp_path) == 0
    assert not [word for word in commands[0] if "--benchmark-compare" in word], "an error without baseline"
    assert capsys.readouterr().out == f"{NO_BASELINE}\n"


def test_a_save_is_compared_but_may_be_slower(tmp_path):
    baseline = tmp_path / "0001_baseline.json"
    saving = runner.pytest_options(tmp_path, baseline, save=True, tolerance=25)
    assert f"--benchmark-compare={baseline}" in saving
    assert not [option for option in saving if "compare-fail" in option]
    judging = runner.pytest_options(tmp_path, baseline, save=False, tolerance=15)
    assert "--benchmark-compare-fail=min:15%" in judging


def test_each_fingerprint_has_its_own_folder(tmp_path, monkeypatch):
    here = describe_machine()
    folder = machine_folder(here, tmp_path)
    assert here["torch_threads"] == runner.THREADS
    assert folder.name.endswith(here["fingerprint"])
    assert folder.parent == tmp_path
    monkeypatch.setattr("qaprune.profile.environment.available_cores", lambda: 99)
    other = machine_folder(describe_machine(), tmp_path)
    assert other != folder
    assert "-99-cores-" in other.name


def test_the_newest_baseline_counts(tmp_path):
    for name in ("0002_baseline.json", "0010_baseline.json", "0009_baseline.json", "notes.json"):
        (tmp_path / "interpreter").mkdir(exist_ok=True)
        (tmp_path / "interpreter" / name).write_text("{}")
    assert newest_baseline(tmp_path).name == "0010_baseline.json"


@pytest.mark.parametrize("content", ["{", "{}", '{"benchmarks": [{}]}'])
def test_a_damaged_baseline_is_one_line_before_anything_is_timed(tmp_path, monkeypatch, capsys, content):
    monkeypatch.setattr(runner, "describe_machine", lambda: MACHINE)
    monkeypatch.setattr(runner, "machine_folder", lambda machine, storage: tmp_path)
    monkeypatch.setattr(runner.subprocess, "run", lambda *args, **more: pytest.fail("timed"))
    (tmp_path / "interpreter").mkdir()
    (tmp_path / "interpreter" / "0001_baseline.json").write_text(content)
    assert runner.main([]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "0001_baseline.json" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--save", "-k", "plan"], ["--tolerance", "-1"], ["--tolerance", "x"]]
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        runner.main(arguments)
    assert stopped.value.code == 2
    assert "--save" in capsys.readouterr().err or arguments[0] == "--tolerance"


def test_timings_stay_local():
    assert f"{runner.STORAGE.name}/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.slow
def test_every_benchmark_runs():
    command = [sys.executable, "-m", "pytest", "benchmarks", "-o", "addopts=", "-q", "--benchmark-disable"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("part", ["slice", "gain", "fisher", "leave_one_out"])
def test_what_pruning_costs_is_held_against_its_bar(part, monkeypatch, capsys):
    """On a tiny model: the figures mean nothing, that a missed bar ends in 3 does."""
    for name, value in (("LENGTH", 16), ("BATCH_TOKENS", 64), ("WINDOWS", 8), ("BLOCK", 8)):
        monkeypatch.setattr(pruning_core, name, value)
    monkeypatch.setattr(pruning_core, "untrained", lambda size: make_model("bert"))
    if part == "slice" and not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is Linux's to tell")
    for most, code in ((1e9, 0), (0, 3)):
        for name in ("SLICE_SECONDS", "SLICE_MEMORY", "SCORING"):
            monkeypatch.setattr(pruning_core, name, most)
        monkeypatch.setattr(pruning_core, "PREFIX", 1e9 - most)
        assert pruning_core.main([part, "--rounds", "1", "--threads", "1"]) == code
        assert ("beyond the bar" in capsys.readouterr().out) == (code == 3)


@pytest.mark.slow
def test_the_reader_s_benchmark_runs_its_stages(capsys):
    """On too little to meet its bars: start-up is most of it."""
    assert nq_reader.main(["--megabytes", "0.2", "0.4", "--threads", "1"]) in (0, 3)
    *sizes, last = capsys.readouterr().out.splitlines()
    assert [line.count("MB/s a core") for line in sizes] == [1, 1]
    assert last.startswith("the largest file took ")


def test_only_answerable_questions_are_left(tmp_path):
    asked = [{"id": "a", "answers": [{"text": "x", "answer_start": 0}]}, {"id": "b", "answers": []}]
    source = tmp_path / "train.json"
    source.write_text(
        json.dumps({"data": [{"title": "T", "paragraphs": [{"context": "x", "qas": asked}]}]})
    )
    kept = json.loads(stock_trainer.answerable_part(source, tmp_path / "out.json").read_text())
    assert [question["id"] for question in kept["data"][0]["paragraphs"][0]["qas"]] == ["a"]
    assert len(json.loads(source.read_text())["data"][0]["paragraphs"][0]["qas"]) == 2


def test_the_bound_of_the_loss_is_students():
    assert stock_trainer.upper_bound([1.0, 2.0, 3.0]) == pytest.approx(2 + 2.91999 / 3**0.5, abs=1e-4)
    assert stock_trainer.upper_bound([1.0, 1.0]) == 1.0


def compare(monkeypatch, stock: list[float], seconds: float, *words: str) -> int:
    """`stock_trainer.main` where ours has an F1 of 60 and the recipe those of `stock`, one a seed."""
    scores = iter([f1 for theirs in stock for f1 in (60.0, theirs)])
    ready = SimpleNamespace(features=SimpleNamespace(questions=100, windows=100))
    cpu = SimpleNamespace(device=SimpleNamespace(type="cpu"))
    monkeypatch.setattr("qaprune.train.compute.start", lambda settings, seed: cpu)
    monkeypatch.setattr(stock_trainer, "prepare", lambda *_: ready)
    monkeypatch.setattr(stock_trainer, "train_ours", lambda *_: (seconds, None))
    monkeypatch.setattr(stock_trainer, "train_stock", lambda *words: (0.2 if words[4] else 0.5, None))
    monkeypatch.setattr(stock_trainer, "f1_of", lambda *_: next(scores))
    files = [word for name in ("model", "train", "dev") for word in (f"--{name}", "x")]
    return stock_trainer.main([*files, *words])


@pytest.mark.parametrize(
    ("seconds", "stock", "code"),
    [
        (10.0, [60.0, 60.5, 59.5], 0),
        (10.0, [61.0, 60.0, 62.0], 3),  # a loss of 1 on average is not shown to be under 1
        (30.0, [60.0, 60.5, 59.5], 3),  # too slow
    ],
)
def test_the_comparison_with_the_recipe_fails_where_a_bar_is_missed(
    seconds, stock, code, monkeypatch, capsys
):
    assert compare(monkeypatch, stock, seconds) == code
    lines = capsys.readouterr().out.splitlines()
    assert f"its defaults       2.0, ours {50 / seconds:.2f} times (bar 4.0)" in lines
    assert lines[-1].startswith(f"our loss {sum(stock) / 3 - 60:+.2f}, at most")


def test_answerable_files_of_one_name_stay_two(monkeypatch, tmp_path):
    for side, answers in (("train", 2), ("dev", 1)):
        (tmp_path / side).mkdir()
        asked = [{"id": str(n), "answers": ["x"]} for n in range(answers)]
        content = {"data": [{"paragraphs": [{"qas": asked}]}]}
        (tmp_path / side / "data.json").write_text(json.dumps(content))
    kept = {}

    def prepare(_model, train, dev, *_):
        for side, path in (("train", train), ("dev", dev)):
            content = json.loads(path.read_text())
            kept[side] = len(content["data"][0]["paragraphs"][0]["qas"])
        raise KeyError

    monkeypatch.setattr(stock_trainer, "prepare", prepare)
    files = [f"--{side}={tmp_path / side / 'data.json'}" for side in ("train", "dev")]
    with pytest.raises(KeyError):
        stock_trainer.main(["--model", "x", *files, "--answerable", "--threads", "1"])
    assert kept == {"train": 2, "dev": 1}


def test_seeds_that_were_compared_are_not_trained_again(monkeypatch, tmp_path, capsys):
    words = ["--steps", "0", "--rows", str(tmp_path / "rows.jsonl"), "--seeds"]
    assert compare(monkeypatch, [60.0], 10.0, *words, "1") == 0
    assert compare(monkeypatch, [60.5, 59.5], 10.0, *words, "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if "times" in line], "no steps, no speed"
    assert lines[-2:] == [
        "seed 3: F1 ours 60.00, the recipe's 59.50",
        f"our loss +0.00, at most {stock_trainer.upper_bound([0, 0.5, -0.5]):+.2f} (bar 1.0)",
    ]
    with pytest.raises(StopIteration):  # other arguments, other rows
        compare(monkeypatch, [], 10.0, *words, "3", "--rate", "1e-4")
