"""What surrounds every stage: folders that can be trusted, one-line errors, exit codes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qaprune import stage
from qaprune.budget import parse_budget
from qaprune.cli import STAGES, main
from qaprune.errors import InputError
from qaprune.gate.registry import GateTask, Scores, load_criterion
from qaprune.models.encoder import EncoderShape
from qaprune.prune.costs import flops_costs
from qaprune.prune.mask import Mask, full_mask, keep_highest, load_mask, save_mask
from qaprune.prune.select import select
from qaprune.stage import digest, read_stage, run_stage

SHAPE = EncoderShape(16, 4, (4, 4, 4, 4), (8, 8, 8, 8))


def write(out: Path) -> dict:
    (out / "model.txt").write_text("x")
    (out / "masks").mkdir()
    return {"summary": "done"}


def test_a_finished_stage_leaves_its_files_and_a_record(tmp_path):
    out = tmp_path / "a" / "b"
    (tmp_path / "in.txt").write_text("1")
    run_stage("gate", {"k": 1}, {"in": tmp_path / "in.txt"}, out, write)
    record = read_stage(out)
    assert record["spec"] == {"k": 1}
    assert record["inputs"]["in"] == digest(tmp_path / "in.txt")
    assert sorted(path.name for path in out.iterdir()) == [stage.MADE, "masks", "model.txt", "stage.json"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["b"]


def test_a_failed_stage_leaves_nothing_and_no_old_record(tmp_path):
    out = tmp_path / "b"
    run_stage("gate", {}, {}, out, write)

    def fail(folder: Path) -> dict:
        (folder / "half.txt").write_text("x")
        raise InputError("no")

    with pytest.raises(InputError):
        run_stage("gate", {}, {}, out, fail)
    assert not (out / "stage.json").exists()
    assert not (out / "half.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_folders_of_killed_runs_go_and_those_of_running_ones_stay(tmp_path):
    killed, other = tmp_path / ".b-abcdefgh", tmp_path / ".b-h50-abcdefgh"
    for folder in (killed, other):
        folder.mkdir()
        (folder / ".lock").write_text("")
    seen = []

    def work(folder: Path) -> dict:
        if not seen:
            seen.append(folder)
            run_stage("gate", {}, {}, tmp_path / "b", work)
            assert folder.exists(), "its process still works there"
            assert (folder / ".lock").exists()
        return {}

    run_stage("gate", {}, {}, tmp_path / "b", work)
    assert not killed.exists()
    assert other.exists(), "another stage's"
    assert not (tmp_path / "b" / ".lock").exists()


def test_a_second_run_clears_what_the_first_made_and_nothing_else(tmp_path):
    out = tmp_path / "b"
    for folder in (out / "mine", out / "masks"):
        folder.mkdir(parents=True)
        (folder / "x").write_text("x")
    (out / "thesis.txt").write_text("precious")
    run_stage(
        "gate", {}, {}, out, lambda f: ((f / "old.txt").write_text("x") and (f / "old").mkdir()) or {}
    )
    (out / "stage.json").unlink()  # as Snakemake does
    run_stage("gate", {}, {}, out, write)
    names = {path.name for path in out.iterdir()}
    assert names == {stage.MADE, "masks", "model.txt", "stage.json", "mine", "thesis.txt"}
    assert (out / "masks" / "x").exists(), "a folder of the same name was somebody's"
    (tmp_path / "a").write_text("x")
    for damaged in ('["../a", "..", ".", "", "mine/x", 3]', "[{}]", "{", "3"):
        (out / stage.MADE).write_text(damaged)
        run_stage("gate", {}, {}, out, write)
        assert names == {path.name for path in out.iterdir()}
        assert (tmp_path / "a").exists()
        assert (out / "mine" / "x").exists()


def test_a_file_in_the_place_of_somebodys_folder_is_one_line(tmp_path):
    (tmp_path / "b" / "model.txt" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written"):
        run_stage("gate", {}, {}, tmp_path / "b", write)
    assert (tmp_path / "b" / "model.txt" / "x").exists()


@pytest.mark.parametrize("place", [".", "..", "stage.json", "../b/c/.."])
def test_nobodys_working_folder_is_an_output(tmp_path, monkeypatch, capsys, place):
    (tmp_path / "b" / "c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "b")
    Path("stage.json").write_text("{}")
    spec = json.dumps({"version": 3, "seed": 1, "train_questions": 10, "dev_questions": 10})
    assert main(["corpus", "--spec", spec, "--out", place]) == 1
    assert "expected a folder of its own" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["c", "stage.json"]


def test_no_stage_replaces_what_it_reads(tmp_path):
    run_stage("gate", {}, {}, tmp_path / "b", write)
    with pytest.raises(InputError, match="is --teacher"):
        run_stage("gate", {}, {"teacher": tmp_path / "b"}, tmp_path / "c" / ".." / "b", write)
    assert read_stage(tmp_path / "b")


def test_a_full_disk_is_one_line(tmp_path):
    def full(_folder: Path) -> dict:
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left on device"):
        run_stage("gate", {}, {}, tmp_path / "b", full)


def test_memory_that_runs_out_anywhere_in_a_stage_is_one_line(tmp_path):
    def large(folder: Path) -> dict:
        return {"a": np.empty(10**17)}

    with pytest.raises(InputError, match=r"^out of memory \(Unable to allocate .* for an array"):
        run_stage("gate", {}, {}, tmp_path / "b", large)
    assert not (tmp_path / "b").exists()


def test_weights_that_do_not_fit_on_the_disk_are_one_line(tmp_path):
    """Safetensors has an error of its own. A limit on the size of files stands in for the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def large(folder: Path) -> dict:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            save_file({"a": np.zeros(9999, np.float32)}, folder / "model.safetensors")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return {}

    with pytest.raises(InputError, match=r"b: cannot be written \(File too large\)"):
        run_stage("gate", {}, {}, tmp_path / "b", large)
    assert not list(tmp_path.glob("**/model.safetensors"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here that is always full")
def test_a_log_file_that_cannot_grow_hides_no_error(tmp_path, capsys):
    words = ["prune", "--spec", "{}", "--teacher", str(tmp_path), "--features", str(tmp_path)]
    words += ["--holdout", str(tmp_path), "--out", str(tmp_path / "o"), "--log", "/dev/full"]
    assert main(words) == 1
    assert capsys.readouterr().err == "qaprune: error: --spec: missing key 'compute'\n"


def test_the_digest_of_a_stage_changes_with_its_spec_and_inputs(tmp_path):
    digests = set()
    for name, spec in (("a", {"k": 1}), ("b", {"k": 2}), ("c", {"k": 1})):
        run_stage("gate", spec, {}, tmp_path / name, write)
        digests.add(digest(tmp_path / name))
    assert len(digests) == 2


def test_the_digest_of_a_latency_table_changes_with_its_times(tmp_path):
    """Masks hang on them, and so does what a killed training may go on from."""
    digests = set()
    for name, times in (("a", "[1.0]"), ("b", "[1.1]"), ("c", "[1.0]")):
        run_stage(
            "latency", {}, {}, tmp_path / name, lambda f, t=times: (f / "table.json").write_text(t) and {}
        )
        digests.add(digest(tmp_path / name))
    assert len(digests) == 2


def test_the_digest_of_a_stage_changes_with_the_files_that_it_read(tmp_path):
    """Their path stays the same: a killed training must not go on from another encoder's checkpoint."""
    digests = set()
    for name, read in (("a", {"digest": "1"}), ("b", {"digest": "2"}), ("c", {"digests": {"dev": "1"}})):
        run_stage("encoder", {"path": "p"}, {}, tmp_path / name, lambda _, result=read: result)
        digests.add(digest(tmp_path / name))
    assert len(digests) == 3


def test_the_folder_that_a_stage_works_in_is_locked_before_it_has_its_name(tmp_path, monkeypatch):
    """Else another process of the stage takes it for what a killed one left."""
    real, seen = stage.fcntl.flock, []

    def flock(file, how):
        seen.append([path.name for path in tmp_path.iterdir() if path.name.startswith(".b-")])
        real(file, how)

    monkeypatch.setattr(stage.fcntl, "flock", flock)
    run_stage("gate", {}, {}, tmp_path / "b", write)
    assert seen == [[]]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["gate", "--spec", "{", "--teacher", ".", "--features", ".", "--out", "o"],
            "--spec: invalid JSON",
        ),
        (
            ["gate", "--spec", "[]", "--teacher", ".", "--features", ".", "--out", "o"],
            "expected a JSON object",
        ),
        (
            ["gate", "--spec", "@none.json", "--teacher", ".", "--features", ".", "--out", "o"],
            "--spec: none.json: no such file",
        ),
        (
            ["gate", "--spec", "@.", "--teacher", ".", "--features", ".", "--out", "o"],
            "--spec: .: cannot be read (Is a directory)",
        ),
        (
            ["gate", "--spec", "[" * 100_000, "--teacher", ".", "--features", ".", "--out", "o"],
            "--spec: invalid JSON: ",
        ),
        (
            ["gate", "--spec", "{}", "--teacher", ".", "--features", ".", "--out", "o", "--log", "."],
            "--log: .: cannot be written (Is a directory)",
        ),
        (
            ["gate", "--spec", "{}", "--teacher", "none", "--features", ".", "--out", "o"],
            "--teacher: none: no such file or folder",
        ),
        (
            [
                "evaluate",
                "--spec",
                "{}",
                "--features",
                ".",
                "--dev",
                ".",
                "--gold",
                ".",
                "--variant",
                "x",
                "--out",
                "o",
            ],
            "expected KEY=DIR",
        ),
        (["show", "none"], "none"),
        (
            ["gate", "--spec", "{}", "--teacher", "/", "--features", "/", "--out", "o"],
            "missing key 'criterion'",
        ),
        (
            ["corpus", "--spec", "{}", "--out", "/dev/null/corpus"],
            "/dev/null/corpus: cannot be written",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    errors = capsys.readouterr().err.strip()
    assert message in errors
    assert errors.startswith("qaprune: error: ")
    assert len(errors.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_wrong_usage_is_exit_code_2():
    done = subprocess.run([sys.executable, "-m", "qaprune", "gate"], capture_output=True, check=False)
    assert done.returncode == 2


def test_help_names_every_stage_and_imports_no_torch():
    code = (
        "import sys, qaprune.cli\n"
        "try: qaprune.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(stage in done.stdout for stage in STAGES)


def test_the_log_keeps_the_error(tmp_path, capsys):
    encoder = tmp_path / "enc"
    encoder.mkdir()
    (encoder / "config.json").write_text('{"model_type": "t5"}')
    spec = json.dumps({"criterion": "random", "label": "x"})
    words = [
        "gate",
        "--spec",
        spec,
        "--teacher",
        str(encoder),
        "--features",
        str(encoder),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([*words, "--log", str(tmp_path / "l.log")]) == 1
    assert "expected bert or roberta, got 't5'" in (tmp_path / "l.log").read_text()
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("share", [1, 12.5, 25, 50, 99, 100])
def test_keeping_the_highest_keeps_the_nearest_count(share):
    generator = np.random.default_rng(0)
    scores = tuple(generator.random(8) for _ in range(4))
    mask = keep_highest(scores, share)
    kept = sum(int(np.count_nonzero(layer)) for layer in mask)
    assert kept == max(1, int(share / 100 * 32 + 0.5))
    flat, chosen = np.concatenate(scores), np.concatenate(mask) > 0
    assert kept == 32 or flat[chosen].min() > flat[~chosen].max()


def test_of_equal_scores_each_layer_keeps_one_in_turn():
    mask = keep_highest((np.zeros(3), np.zeros(3)), 50)
    assert [layer.tolist() for layer in mask] == [[1, 1, 0], [1, 0, 0]]
    # Closed gates at one bound fill no layer: what is above them stays, and of them as many everywhere.
    closed = [np.full(8, -4.6) for _ in range(3)]
    closed[1][:4] = 1.0
    assert [int(layer.sum()) for layer in keep_highest(tuple(closed), 100 * 10 / 24)] == [2, 6, 2]


def whole_layers(name: str, budget: str) -> Mask:
    scores = load_criterion(name).score(GateTask(SHAPE, {}, 0))
    return select(scores, 0, parse_budget(budget), SHAPE, name, flops_costs(SHAPE, 32))


@pytest.mark.parametrize(
    ("budget", "layers"),
    [
        ("flops50", 2),
        ("x4", 1),
        ("h50-f50", 2),
        ("h25-f25", 1),
        ("h1-f1", 1),
        ("h100-f100", 4),
        ("h75-f70", 3),
    ],
)
def test_whole_layers_match_the_budget_s_flops(budget, layers):
    mask = whole_layers("first_layers", budget)
    assert mask.widths()[0] == (4,) * layers + (0,) * (4 - layers)
    assert mask.widths()[1] == (8,) * layers + (0,) * (4 - layers)


def test_alternate_layers_keep_the_last_and_skip_one():
    mask = whole_layers("alternate_layers", "h50-f50")
    assert mask.widths()[0] == (0, 4, 0, 4)


@pytest.mark.parametrize("name", ["gain", "torch_pruning_global", "l0"])
def test_a_limit_on_cost_does_not_hang_on_the_scale_of_heads_scores(name):
    """Of criteria whose scores only order gates; what is added up as a loss has one scale."""
    random = np.random.default_rng(0)
    heads, ff = random.random((1, 4, 4)), random.random((1, 4, 8))
    masks = [
        select(Scores(scale * heads, ff), 0, parse_budget("flops50"), SHAPE, name, flops_costs(SHAPE, 32))
        for scale in (1, 1000)
    ]
    assert masks[0].widths() == masks[1].widths()
    assert 0 < sum(masks[0].widths()[0]) < 16


def test_mask_files_come_back_and_broken_ones_are_refused(tmp_path):
    mask = Mask(tuple(np.array([0, 0.5, 1, 0], np.float32) for _ in range(4)), full_mask(SHAPE).ff)
    save_mask(tmp_path / "m.safetensors", mask, {"criterion": "x"})
    loaded = load_mask(tmp_path / "m.safetensors")
    assert all(
        np.array_equal(a, b)
        for a, b in zip((*mask.heads, *mask.ff), (*loaded.heads, *loaded.ff), strict=True)
    )
    assert loaded.hidden is None
    hidden = np.array([0, 0.25] * (SHAPE.hidden // 2), np.float32)
    save_mask(tmp_path / "h.safetensors", Mask(mask.heads, mask.ff, hidden), {})
    assert np.array_equal(load_mask(tmp_path / "h.safetensors").hidden, hidden)
    (tmp_path / "m.safetensors").write_bytes((tmp_path / "m.safetensors").read_bytes()[:-10])
    with pytest.raises(InputError, match="not a safetensors mask file"):
        load_mask(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="no such mask file"):
        load_mask(tmp_path / "none")
    from safetensors.numpy import save_file

    save_file({"weights": np.ones(3, np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="expected tensors layer"):
        load_mask(tmp_path / "w.safetensors")
