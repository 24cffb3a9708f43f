"""Bundles for hosts without network: what is packed, and how it is split."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from qaprune.bundle.contents import data_files, source_files
from qaprune.bundle.pack import extras_of, pack
from qaprune.bundle.parts import write_parts
from qaprune.bundle.wheels import Needs, Target, collect, read_pins
from qaprune.cli import main
from qaprune.config import DEFAULT, load_config, read_yaml
from qaprune.errors import InputError
from tests.conftest import ROOT
from tests.unit.bundle_data import joined, make_checkout, make_wheel

TARGET = Target.parse("3.12", "manylinux_2_28_x86_64")


# --- wheels ---

INDEX = {
    "qa": [
        "torch>=2",
        "tool[fast]>=1",
        "shared",
        'old; python_version < "3.12"',
        'win; sys_platform == "win32"',
    ],
    "torch": ["shared", "graphs"],
    "graphs": ["numbers"],
    "numbers": [],
    "tool": ["qa", 'speedups>=3; extra == "fast"', 'docs; extra == "doc"', 'new; python_version >= "3.12"'],
    "speedups": [],
    "new": [],
    "shared": [],
}
PINS = dict.fromkeys(INDEX, "3.0") | {"torch": "2.13.0"}


def closure(folder, roots=("qa",), without=(), pins=PINS, index=INDEX) -> set[str]:
    def fetch(wanted):
        return {name: make_wheel(folder, name, version, index[name]) for name, version in wanted.items()}

    needs = [Requirement(root) for root in roots]
    return set(collect(needs, frozenset(without), pins, TARGET, fetch))


def test_the_wheels_are_all_that_the_other_host_needs_and_no_more(tmp_path):
    everything = {"qa", "torch", "graphs", "numbers", "tool", "speedups", "new", "shared"}
    assert closure(tmp_path) == everything
    # What only torch needs stays out with it; what others need too does not.
    assert closure(tmp_path, without={"torch"}) == everything - {"torch", "graphs", "numbers"}


def test_a_pin_that_a_wheel_refuses_is_said_while_packing(tmp_path):
    with pytest.raises(InputError, match=r"speedups==2\.0, but tool needs speedups>=3"):
        closure(tmp_path, pins=PINS | {"speedups": "2.0"})
    with pytest.raises(InputError, match="no version of new, which tool needs"):
        closure(tmp_path, pins={name: pin for name, pin in PINS.items() if name != "new"})


@pytest.mark.parametrize("need", ["nvidia-cublas==13.0", "triton==3.7", "cuda-toolkit[nvrtc]==13.0"])
def test_cuda_packages_are_never_fetched(tmp_path, need):
    index = INDEX | {"torch": [f'{need}; platform_system == "Linux"'], need.partition("=")[0]: []}
    pins = PINS | {"nvidia-cublas": "13.0", "triton": "3.7", "cuda-toolkit": "13.0"}
    with pytest.raises(InputError, match=r"torch: pip found a CUDA build.*--without torch"):
        closure(tmp_path, index=index, pins=pins)
    assert "qa" in closure(tmp_path, without={"torch"}, index=index, pins=pins)


def test_every_direct_requirement_is_pinned_within_its_range():
    needs, pins = Needs.read(ROOT / "pyproject.toml"), read_pins(ROOT / "constraints.txt")
    for need in [*needs.run, *needs.build, Requirement("pip")]:
        assert need.specifier.contains(pins[need.name]), need
    assert "datasets" not in {need.name for need in needs.run}
    assert needs.of_host({"torch", "regex"}) == ["regex", "torch>=2.11"]


def test_pip_is_told_every_older_platform():
    tags = Target.parse("3.12", "manylinux_2_18_aarch64").platforms
    assert tags[:3] == ["manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"]
    assert tags[-2:] == ["manylinux_2_5_aarch64", "manylinux1_aarch64"]


# --- parts ---


def test_parts_are_small_and_join_to_the_archive(tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(25_000))
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o700)
    (tmp_path / "out").mkdir()
    contents = {"a/big": tmp_path / "big", "tool": tmp_path / "tool", "a/text": b"words"}
    archive = write_parts(contents, tmp_path / "out", 10_000)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out").iterdir())]
    assert len(sizes) == 3
    assert sizes[:2] == [10_000, 10_000]
    assert 0 < sizes[2] <= 10_000
    assert list(archive.parts) == ["part-001", "part-002", "part-003"]
    whole = joined(tmp_path / "out")
    assert archive.digest == hashlib.sha256(whole).hexdigest()
    for name, digest in archive.parts.items():
        assert digest == hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(whole))) as packed:
        assert packed.getnames() == ["a/big", "a/text", "tool"]
        assert packed.extractfile("a/big").read() == (tmp_path / "big").read_bytes()
        assert [packed.getmember(name).mode for name in ("a/big", "tool")] == [0o644, 0o755]


def test_the_same_contents_give_the_same_bytes(tmp_path):
    digests = set()
    for number in (1, 2):
        folder = tmp_path / str(number)
        (folder / "out").mkdir(parents=True)
        for name in ("a", "b") if number == 1 else ("b", "a"):
            (folder / name).write_text(name)
            os.utime(folder / name, (number * 1e9, number * 1e9))
            (folder / name).chmod(0o644 if number == 1 else 0o600)
        contents = {name: folder / name for name in (("a", "b") if number == 1 else ("b", "a"))}
        digests.add(write_parts(contents, folder / "out", 100).digest)
    assert len(digests) == 1


# --- contents ---


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "vocab.txt", "pytorch_model.bin", "notes.md"):
        (folder / name).write_text(name)
    return folder


def overlay(tmp_path: Path, source: dict, **more) -> Path:
    """A config with one model from `source`, data sets from scratch but for what `more` says."""
    models = {"m": {"architecture": "bert", "source": source}}
    datasets = {"squad2": read_yaml(DEFAULT)["datasets"]["squad2"] | more}
    criteria = {"random": {"draws": 5}}
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump({"models": models, "datasets": datasets, "criteria": criteria}))
    return path


def test_the_source_is_what_git_tracks_and_changes_are_said(tmp_path):
    checkout = make_checkout(tmp_path / "checkout")
    lines = []
    names = ["Snakefile", "bundled/commit.json", "constraints.txt", "pyproject.toml", "src/qaprune/a.py"]
    assert sorted(source_files(checkout, lines.append)) == names
    assert lines == []
    (checkout / "Snakefile").write_text("changed")
    (checkout / "constraints.txt").unlink()
    (checkout / "src" / "qaprune" / "new.py").write_text("")
    (checkout / "notes.txt").write_text("")
    found = source_files(checkout, lines.append)
    assert "constraints.txt" not in found
    assert lines == [
        "uncommitted changes are packed as they stand: Snakefile, constraints.txt",
        "not packed, since git does not track them: src/qaprune/new.py",
    ]


def test_no_checkout_no_bundle(tmp_path):
    with pytest.raises(InputError, match=r"a bundle is made from a checkout|git tracks no files"):
        source_files(tmp_path, print)


def unpack_files(contents, folder: Path) -> Path:
    for name, source in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    return folder


def test_the_packed_config_finds_its_data_on_another_host(tmp_path, monkeypatch):
    """Absolute, relative and `local` paths alike; nothing names this machine's folders."""
    data, elsewhere = tmp_path / "data", tmp_path / "else where"
    encoder = checkpoint(data / "models" / "enc")
    elsewhere.mkdir()
    (elsewhere / "dev $HOME.json").write_text("{}")
    # Downloads are often links to files whose names say nothing.
    (data / "blob").write_text("{}")
    (data / "train.json.gz").symlink_to(data / "blob")
    config = overlay(
        tmp_path,
        {"hub": "org/enc", "local": "models/enc"},
        train={"path": "train.json.gz"},
        dev={"path": str(elsewhere / "dev $NAME.json")},
    )
    monkeypatch.setenv("NAME", "$HOME")
    before = load_config([config], {"data_root": str(data)})
    host = unpack_files(data_files(before), tmp_path / "host")
    assert str(tmp_path) not in (host / "bundled" / "config.yaml").read_text()
    packed = sorted(
        path.relative_to(host / "bundled").as_posix() for path in host.rglob("*") if path.is_file()
    )
    assert packed == [
        "config.yaml",
        "data/datasets/squad2/dev/dev__HOME.json",
        "data/datasets/squad2/train/train.json.gz",
        *(f"data/models/m/source/enc/{name}" for name in ("config.json", "model.safetensors", "vocab.txt")),
    ]
    encoder.rename(tmp_path / "gone")
    monkeypatch.chdir(host)
    after = load_config([Path("bundled/config.yaml")])
    assert after["models"]["m"].pop("source") == {"path": "bundled/data/models/m/source/enc"}
    for split, name in (("train", "train.json.gz"), ("dev", "dev__HOME.json")):
        path = after["datasets"]["squad2"].pop(split)["path"]
        assert path == f"bundled/data/datasets/squad2/{split}/{name}"
        before["datasets"]["squad2"].pop(split)
    before["models"]["m"].pop("source")
    assert (before.pop("data_root"), after.pop("data_root")) == (str(data), "bundled/data")
    assert after == before


def test_a_file_that_two_keys_name_is_packed_once(tmp_path):
    (tmp_path / "all.json").write_text("{}")
    both = {"path": str(tmp_path / "all.json")}
    scratch = read_yaml(DEFAULT)["models"]["bert"]["source"]
    found = data_files(load_config([overlay(tmp_path, scratch, train=both, dev=both)]))
    assert list(found) == ["bundled/data/datasets/squad2/train/all.json", "bundled/config.yaml"]
    packed = yaml.safe_load(found["bundled/config.yaml"])["datasets"]["squad2"]
    assert packed["train"] == packed["dev"] == {"path": "datasets/squad2/train/all.json"}


def test_a_folder_of_shards_is_packed_shard_by_shard(tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    for name in ("b.jsonl.gz", "a.jsonl", "notes.txt"):
        (shards / name).write_text("x")
    source = {"path": str(shards)}
    scratch = read_yaml(DEFAULT)["models"]["bert"]["source"]
    found = data_files(load_config([overlay(tmp_path, scratch, train=source, dev=source)]))
    home = "bundled/data/datasets/squad2/train/shards"
    assert list(found) == [f"{home}/a.jsonl", f"{home}/b.jsonl.gz", "bundled/config.yaml"]


@pytest.mark.parametrize("config", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_config_without_local_copies_is_refused_with_the_key(config, tmp_path):
    loaded = load_config([config])
    if "hub:" not in config.read_text(encoding="utf-8"):
        assert list(data_files(loaded)) == ["bundled/config.yaml"]
        return
    with pytest.raises(InputError, match=r"^config: models\.[\w-]+\.source: hub .* --data-root FOLDER"):
        data_files(loaded)


def test_criteria_that_stand_twice_are_packed_and_what_they_need(tmp_path):
    recovery = ROOT / "config" / "recovery.yaml"  # has `l0@ends` and Torch-Pruning's selection
    with pytest.raises(InputError, match=r"models\.minilm\.source"):  # which comes after the criteria
        pack([recovery], {}, tmp_path / "out", [], TARGET, 10**6, print)
    extras = extras_of(load_config([recovery]))
    asked = {need.name for need in Needs.read(ROOT / "pyproject.toml", extras).run}
    plain = {need.name for need in Needs.read(ROOT / "pyproject.toml", extras_of(load_config([]))).run}
    assert asked - plain == {"torch-pruning"}
    assert "torch-pruning" in read_pins(ROOT / "constraints.txt")


def test_backends_bring_their_packages(tmp_path):
    file = tmp_path / "onnx.yaml"
    file.write_text("name: mine\nprofile: {backend: [sdpa, onnxruntime]}\n")
    assert extras_of(load_config([file])) == ["onnx"]
    assert extras_of(load_config([])) == []
    assert {"onnx", "onnxruntime", "onnxscript"} <= read_pins(ROOT / "constraints.txt").keys()


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    weights = checkpoint(tmp_path / "enc") / "model.safetensors"
    weights.rename(weights.with_name("model-00001-of-00002.safetensors"))  # which no stage reads either
    config = load_config([overlay(tmp_path, {"path": str(tmp_path / "enc")})])
    with pytest.raises(InputError, match=r"models.m.source: .*enc: expected a checkpoint with"):
        data_files(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--python-version", "312"], "--python-version: expected one like 3.12, got '312'"),
        (["--platform", "linux"], "--platform: expected one like manylinux_2_28_x86_64, got 'linux'"),
        (["--data-root", "no/such"], "no/such"),
    ],
)
def test_bad_options_are_one_line(words, message, tmp_path, capsys):
    config = overlay(tmp_path, {"hub": "org/enc", "local": "enc"})
    assert main(["bundle", "--config", str(config), "--out", str(tmp_path / "out"), *words]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
