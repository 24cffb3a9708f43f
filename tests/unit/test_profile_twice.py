"""Two profiles of one run: what is called with what, which difference counts, and what is refused."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import profile_twice
from benchmarks.profile_twice import OWN_FASTEST, compare, find_inputs, judge, main
from qaprune.profile.settings import Setting
from qaprune.report.timings import Timings
from qaprune.specs import VERSIONS
from qaprune.stage import digest, read_stage
from tests.unit.compare_data import scale_samples
from tests.unit.report_data import write_profile

RUN = "bert-squad2-s13"
POINT = "l0-h50-f50/pruned"
EIGHT, ONE = (Setting(batch, 128, "float32", "sdpa", "off") for batch in (8, 1))


def timings(speeds: dict, gpu: str | None = None) -> Timings:
    """Timings from {(setting, variant): ms}: drift that all share, five rounds."""
    seconds = {
        key: {number: ms / 1000 * (1 + number / 10) for number in range(5)} for key, ms in speeds.items()
    }
    return Timings(seconds, {}, EIGHT[:2], "Example", "abc", {"gpu": gpu})


def verdict(first: dict, second: dict, within: float = 5.0) -> tuple[int, str]:
    return judge(*compare(timings(first), timings(second)), within)


def test_only_cells_of_batch_eight_and_more_count():
    first = {(at, name): ms for at in (EIGHT, ONE) for name, ms in (("teacher", 20.0), (POINT, 10.0))}
    slower_at_one = first | {(ONE, POINT): 14.0}
    code, text = verdict(first, slower_at_one)
    assert (code, text.partition(" (")[0]) == (0, "largest difference +0.00 %")
    slower_at_eight = first | {(EIGHT, POINT): 10.6}
    code, text = verdict(first, slower_at_eight)
    assert code == 3
    assert text == f"largest difference -5.66 % ({POINT}, 8 x 128 float32 sdpa off): beyond 5 %"
    assert verdict(first, slower_at_eight, within=6.0)[0] == 0
    assert verdict({k: v for k, v in first.items() if k[0] == ONE}, slower_at_one)[0] == 4


def test_a_slower_machine_alone_changes_no_speedup():
    first = {(EIGHT, "teacher"): 20.0, (EIGHT, POINT): 10.0}
    assert verdict(first, {key: 3 * ms for key, ms in first.items()})[0] == 0


def test_the_largest_difference_that_counts_stands_last():
    first = {(at, name): 10.0 for at in (ONE, EIGHT) for name in ("teacher", "a", "b", "c")}
    second = first | {(EIGHT, "b"): 12.0, (EIGHT, "c"): 9.5, (ONE, "a"): 30.0}
    pairs, lone = compare(timings(first), timings(second))
    assert not lone
    assert [pair.variant for pair in pairs[-3:]] == ["a", "c", "b"]
    last = profile_twice.table(pairs).splitlines()[-1]
    assert "-16.67 %" in last
    assert "not counted" not in last
    assert "1.000   0.833" in last


def test_with_several_settings_each_side_is_also_taken_at_its_fastest():
    eager = EIGHT._replace(backend="eager")
    first = {
        (EIGHT, "teacher"): 20.0,
        (eager, "teacher"): 16.0,
        (EIGHT, POINT): 8.0,
        (eager, POINT): 10.0,
    }
    pairs, _ = compare(timings(first), timings(first))
    found = {pair.cell: pair.first for pair in pairs}
    assert found == {
        "8 x 128 float32 sdpa off": pytest.approx(2.5),
        "8 x 128 float32 eager off": pytest.approx(1.6),
        f"8 x 128 {OWN_FASTEST}": pytest.approx(2.0),
    }


def test_what_only_one_profile_has_is_named():
    first = {(EIGHT, "teacher"): 20.0, (EIGHT, "a"): 10.0, (EIGHT, "b"): 10.0}
    second = {key: ms for key, ms in first.items() if key[1] != "b"}
    code, text = verdict(first, second)
    assert code == 4
    assert "only one profile has b at 8 x 128" in text
    assert verdict(first, second | {(EIGHT, "a"): 20.0})[0] == 3, "a difference counts more"


# --- what is called ---


def stage(folder: Path, name: str, **inputs: str) -> str:
    """A finished stage; its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"stage": name, "spec": {"label": folder.name}, "inputs": inputs}
    (folder / "stage.json").write_text(json.dumps(record))
    return digest(folder)


@pytest.fixture
def results(tmp_path) -> Path:
    """A results folder of one profiled run, without weights: the calls are caught."""
    folder = tmp_path / "results"
    dev = folder / "data" / "squad2" / "dev.jsonl.gz"
    dev.parent.mkdir(parents=True)
    dev.write_bytes(b"questions")
    (dev.parent / "train.jsonl.gz").write_bytes(b"others")
    inputs = {
        "features": stage(folder / "features" / "bert-squad2", "features"),
        "variant teacher": stage(folder / "teacher" / RUN, "teacher"),
        f"variant {POINT}": stage(folder / "prune" / RUN / "l0-h50-f50", "prune"),
        "dev": digest(dev),
    }
    stage(folder / "features" / "roberta-squad2", "features", encoder="other")
    out = write_profile(folder, RUN)
    record = {"stage": "profile", "spec": {"version": VERSIONS["profile"], "rounds": 3}, "inputs": inputs}
    (out / "stage.json").write_text(json.dumps(record))
    return folder


class Profiles:
    """Stands for the command: copies the folder's own profile, the second time with changed samples."""

    def __init__(self, results: Path, factors: dict[str, float] | None = None, code: int = 0):
        self.results, self.factors, self.code = results, factors or {}, code
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str]) -> int:
        self.commands.append(command)
        out = Path(command[command.index("--out") + 1])
        shutil.copytree(self.results / "profile" / RUN, out)
        if len(self.commands) == 2:
            copy = out.parent / "copy"
            shutil.copytree(out, copy / "profile" / RUN)
            scale_samples(copy, self.factors)
            shutil.copy(copy / "profile" / RUN / "samples.csv.gz", out)
        return self.code


def test_the_spec_and_every_input_are_those_of_the_profile(results, capsys):
    before = sorted((path, path.stat().st_mtime_ns) for path in results.rglob("*"))
    call = Profiles(results)
    assert main([str(results), "--run", RUN], call) == 0
    assert "within 5 %" in capsys.readouterr().out.splitlines()[-1]
    first, second = call.commands
    assert first[1:4] == ["-m", "qaprune", "profile"]
    assert first[:-1] == second[:-1], "the same but for --out"
    assert first[-1] != second[-1]
    assert json.loads(first[first.index("--spec") + 1]) == {"version": VERSIONS["profile"], "rounds": 3}
    given = set(pairwise(first))
    assert {
        ("--variant", f"teacher={results / 'teacher' / RUN}"),
        ("--variant", f"{POINT}={results / 'prune' / RUN / 'l0-h50-f50'}"),
        ("--features", str(results / "features" / "bert-squad2")),
        ("--dev", str(results / "data" / "squad2" / "dev.jsonl.gz")),
    } <= given
    assert sorted((path, path.stat().st_mtime_ns) for path in results.rglob("*")) == before


@pytest.mark.parametrize(("options", "code"), [([], 3), (["--within", "12"], 0)])
def test_a_planted_difference_is_found(results, capsys, options, code):
    call = Profiles(results, {POINT: 1.1})
    assert main([str(results), "--run", RUN, *options], call) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(POINT)
    assert "-9.09 %" in lines[-2]


def test_a_gpu_is_held_to_one_per_cent(results, capsys):
    path = results / "profile" / RUN / "environment.json"
    path.write_text(json.dumps({"device": "Example GPU", "gpu": "Example GPU"}))
    assert main([str(results), "--run", RUN], Profiles(results, {POINT: 1.02})) == 3
    assert "beyond 1 %" in capsys.readouterr().out


def stale(results: Path) -> None:
    stage(results / "teacher" / RUN, "teacher", features="made anew")


def old(results: Path) -> None:
    path = results / "profile" / RUN / "stage.json"
    path.write_text(path.read_text().replace(f'"version": {VERSIONS["profile"]}', '"version": 0'))


def missing(results: Path) -> None:
    (results / "profile" / RUN).rename(results / "profile" / "bert-nq-s13")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (stale, "the input 'variant teacher' is not there as it was profiled"),
        (old, "made by version 0 of the stage"),
        (missing, "profiled runs here: bert-nq-s13"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_run(results, capsys, damage, said):
    damage(results)
    call = Profiles(results)
    assert main([str(results), "--run", RUN], call) == 1
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not call.commands


def test_a_profile_that_fails_is_said(results, capsys):
    assert main([str(results), "--run", RUN], Profiles(results, code=1)) == 1
    assert "the first profile ended with exit code 1" in capsys.readouterr().err


def test_a_file_input_that_changed_is_refused(results):
    (results / "data" / "squad2" / "dev.jsonl.gz").write_bytes(b"other questions")
    with pytest.raises(profile_twice.InputError, match="'dev'"):
        find_inputs(results, read_stage(results / "profile" / RUN))
