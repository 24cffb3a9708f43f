"""Bundles on the other host: the whole folder, and what `run.sh` answers there."""

from __future__ import annotations

import ensurepip
import gzip
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

from qaprune.bundle import pack as pack_module
from qaprune.bundle.pack import pack
from qaprune.bundle.wheels import Target, read_pins
from qaprune.config import DEFAULT
from qaprune.errors import InputError
from qaprune.stage import git_commit
from tests.conftest import ROOT
from tests.unit.bundle_data import git, joined, make_checkout, make_wheel

HERE = Target(f"{sys.version_info.major}.{sys.version_info.minor}", 17, platform.machine())

linux = pytest.mark.skipif(platform.system() != "Linux", reason="bundles are for Linux hosts")


@pytest.fixture
def checkout(tmp_path) -> Path:
    return make_checkout(tmp_path / "checkout")


def fetch_fakes(target, folder, log):
    def fetch(wanted):
        return {name: make_wheel(folder, name, version, []) for name, version in wanted.items()}

    return fetch


@pytest.fixture
def bundle(checkout, tmp_path, monkeypatch) -> Path:
    """A bundle of the embedded config and the tiny checkout, in several parts."""
    (checkout / "random.bin").write_bytes(os.urandom(5000))
    git(checkout, "add", "random.bin")
    git(checkout, "commit", "-q", "-m", "Second")
    monkeypatch.setattr(pack_module, "ROOT", checkout)
    make(tmp_path / "out" / "b")
    return tmp_path / "out" / "b"


def make(out: Path, fetcher=fetch_fakes, without=("hostly",), limit=4000) -> list[str]:
    return pack([DEFAULT], {}, out, without, HERE, limit, print, fetcher)


def run(bundle: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(bundle / "run.sh"), *words],
        env=os.environ | {"PYTHON": sys.executable} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error."""
    assert done.returncode == 1, done
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("run.sh: error: ")]
    assert "Traceback" not in done.stderr
    return line


def set_fact(bundle: Path, key: str, value: str) -> None:
    lines = (bundle / "bundle.env").read_text().splitlines()
    lines = [f"{key}='{value}'" if line.startswith(f"{key}=") else line for line in lines]
    (bundle / "bundle.env").write_text("\n".join(lines) + "\n")


def test_a_bundle_holds_parts_digests_and_the_script(bundle, tmp_path):
    names = sorted(path.name for path in bundle.iterdir())
    assert names[:2] == ["SHA256SUMS", "bundle.env"]
    assert names[2:-1] == [f"part-{number:03d}" for number in range(1, len(names) - 2)]
    assert len(names) > 4
    assert names[-1] == "run.sh"
    assert [path.name for path in bundle.parent.iterdir()] == ["b"]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(joined(bundle)))) as packed:
        names = packed.getnames()
        needs = packed.extractfile("bundled/requirements.txt").read().decode()
    wheels = [Path(name).name for name in names if "/wheels/" in name]
    assert wheels == [f"{name}-3.0-py3-none-any.whl" for name in ("builder", "pip", "tool")]
    assert needs == "tool>=1\nhostly>=1.5\nbuilder\n"


def test_a_bundle_made_twice_is_the_same_and_replaces_the_older(bundle):
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    (bundle / "part-099").write_text("of an older one")
    make(bundle)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_failed_bundle_leaves_the_older_and_nothing_else(bundle, tmp_path):
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}

    def no_network(target, folder, log):
        def fetch(wanted):
            (folder / "half").write_text("")
            raise InputError("pip download: no network")

        return fetch

    for out in (bundle, bundle.parent / "c"):
        with pytest.raises(InputError, match="no network"):
            make(out, no_network)
    assert [path.name for path in bundle.parent.iterdir()] == ["b"]
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_nothing_of_others_is_replaced_and_unknown_packages_are_named(bundle, tmp_path):
    with pytest.raises(InputError, match="is not empty and holds no bundle"):
        make(tmp_path)
    results = bundle / "work" / "qaprune" / "results"
    results.mkdir(parents=True)
    with pytest.raises(InputError, match="holds 'work', which is no part of a bundle"):
        make(bundle)
    assert results.exists()
    with pytest.raises(InputError, match=r"--without: pip: run\.sh installs with"):
        make(tmp_path / "c", without=["pip"])
    with pytest.raises(InputError, match="--without: torhc: not among the packages"):
        make(tmp_path / "c", without=["torhc"])


@linux
def test_run_sh_unpacks_what_was_packed(bundle, checkout, tmp_path):
    assert run(bundle, "check").returncode == 0
    work = tmp_path / "a b" / "work"
    done = run(bundle, "unpack", WORK=str(work))
    assert done.returncode == 0, done.stderr
    tree = work / "qaprune"
    assert (tree / "random.bin").read_bytes() == (checkout / "random.bin").read_bytes()
    assert [path.name for path in work.iterdir()] == ["qaprune"]
    # Unpacked once, the parts are no longer needed.
    (bundle / "part-001").unlink()
    assert run(bundle, "unpack", WORK=str(work)).returncode == 0
    set_fact(bundle, "ARCHIVE_SHA256", "other")
    assert "holds something else than this bundle" in refused(run(bundle, "unpack", WORK=str(work)))


@linux
def test_a_damaged_or_missing_part_is_named(bundle, tmp_path):
    part = bundle / "part-002"
    good = part.read_bytes()
    part.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    for step in ("check", "unpack"):
        assert "part-002: wrong digest" in refused(run(bundle, step, WORK=str(tmp_path / "work")))
    part.unlink()
    assert "part-002: missing" in refused(run(bundle, "check"))
    part.write_bytes(good)
    assert run(bundle, "check").returncode == 0
    (bundle / "SHA256SUMS").unlink()
    assert "SHA256SUMS: missing" in refused(run(bundle, "check"))
    assert not (tmp_path / "work").exists()


@linux
@pytest.mark.parametrize("keep", [1, -1])
def test_parts_of_another_bundle_are_refused(bundle, tmp_path, keep):
    """Right by their own digests, and yet not what this bundle is: nothing of them stays."""
    set_fact(bundle, "ARCHIVE_SHA256", "0" * 64)
    lines = (bundle / "SHA256SUMS").read_text().splitlines()[:-2]
    (bundle / "SHA256SUMS").write_text("\n".join(lines[:keep] if keep == 1 else lines) + "\n")
    error = refused(run(bundle, "unpack", WORK=str(tmp_path / "work")))
    assert ("cannot be unpacked" if keep == 1 else "not those of this bundle.env") in error
    assert list((tmp_path / "work").iterdir()) == []


@linux
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("HOST_PYTHON", "3.99", "too old for this bundle: set PYTHON to a Python 3.99, or pack it again"),
        ("HOST_PYTHON", "3.9", "too new for this bundle"),
        ("HOST_MACHINE", "sparc", "the bundle is for Linux sparc"),
        ("HOST_GLIBC", "2.999", "the bundle is for glibc 2.999 or newer"),
        ("HOST_NEEDS", "no-such-torch>=2.11", "no no-such-torch in "),
        ("HOST_NEEDS", "pyyaml>=5 packaging>=999.0", "is too old, expected 999.0 or newer"),
    ],
)
def test_a_host_that_does_not_fit_is_told_in_one_line(bundle, tmp_path, key, value, message):
    set_fact(bundle, "HOST_NEEDS", "")
    set_fact(bundle, key, value)
    assert message in refused(run(bundle, "doctor", WORK=str(tmp_path / "work")))
    assert not (tmp_path / "work").exists()


@linux
def test_a_missing_python_is_said(bundle):
    assert "no/python: not found; set PYTHON" in refused(run(bundle, "run", PYTHON="no/python"))


@linux
@pytest.mark.parametrize("words", [[], ["run"], ["doctor"]])
def test_the_exit_code_and_the_options_are_handed_on(bundle, tmp_path, words):
    """With a virtual environment that is ready and only says how it was called."""
    assert run(bundle, "unpack").returncode == 0
    set_fact(bundle, "HOST_NEEDS", "")
    venv = bundle / "work" / "venv"
    (venv / "bin").mkdir(parents=True)
    facts = dict(line.split("=", 1) for line in (bundle / "bundle.env").read_text().splitlines())
    made_of = (facts["ARCHIVE_SHA256"], venv, sys.executable, sys.prefix, sys.version)
    (venv / ".ready").write_text("".join(f"{part}\n" for part in made_of))
    python = venv / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$PWD $HF_HUB_OFFLINE $*"\nexit 3\n')
    python.chmod(0o755)
    done = run(bundle, *words, "-n", "--config", "a=b c")
    assert done.returncode == 3
    snakemake = "snakemake --configfile bundled/config.yaml --cores all"
    module = "qaprune doctor" if words == ["doctor"] else snakemake
    assert done.stdout.strip() == f"{bundle / 'work' / 'qaprune'} 1 -m {module} -n --config a=b c"


@linux
@pytest.mark.parametrize("change", ["moved", "other Python", "neither"])
def test_an_environment_made_elsewhere_or_by_another_python_is_made_anew(bundle, tmp_path, change):
    """Else a copy runs the source of the first, or the torch of a Python that is no longer asked for."""
    assert run(bundle, "unpack").returncode == 0
    set_fact(bundle, "HOST_NEEDS", "")
    venv, python = bundle / "work" / "venv", tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    facts = dict(line.split("=", 1) for line in (bundle / "bundle.env").read_text().splitlines())
    made_of = [facts["ARCHIVE_SHA256"], venv, sys.executable, sys.prefix, sys.version]
    if change == "other Python":
        made_of[3] = "/usr"
    venv.mkdir()
    (venv / ".ready").write_text("".join(f"{part}\n" for part in made_of))
    (venv / "mark").write_text("")
    if change == "moved":
        bundle = bundle.rename(tmp_path / "moved")
        venv = bundle / "work" / "venv"
    run(bundle, "install", PYTHON=str(python))
    assert (venv / "mark").exists() == (change == "neither")


def test_an_unpacked_bundle_knows_its_commit(bundle, checkout, tmp_path):
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(joined(bundle)))) as packed:
        packed.extractall(tmp_path / "host", filter="data")
    package = tmp_path / "host" / "src" / "qaprune"
    # A repository around it has another commit.
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "host/Snakefile")
    git(tmp_path, "commit", "-q", "-m", "Other")
    assert git_commit(package) == git_commit(checkout / "src" / "qaprune") == commit
    (package / "a.py").write_text("A = 2\n")
    assert git_commit(package) == f"{commit}+"


@linux
@pytest.mark.slow
def test_the_whole_of_it_runs_where_nothing_can_be_fetched(tmp_path):
    """This checkout, installed beside the packages of this Python by the pip that Python itself brings."""
    pips = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not pips:
        pytest.skip("this Python brings no pip wheel")
    pins = read_pins(ROOT / "constraints.txt")
    here = {name for name in pins if name != "pip" and installed(name)}
    make(tmp_path / "b", lambda *_: lambda wanted: dict.fromkeys(wanted, pips[-1]), here, 60_000_000)
    # No git, no settings of pip, and a home that cannot be written.
    host = {"PATH": without_git(tmp_path / "bin"), "HOME": "/nowhere", "PIP_CONSTRAINT": "/nowhere"}
    done = run(tmp_path / "b", "-n", WORK=str(tmp_path / "w o r k"), **host)
    assert done.returncode == 0, done.stderr
    assert "This was a dry-run" in done.stdout
    target = "results/embedded/corpus/stage.json"
    done = run(tmp_path / "b", "run", target, WORK=str(tmp_path / "w o r k"), **host)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "w o r k" / "qaprune" / target).read_text())
    assert record["git_commit"] == git_commit()
    assert record["packages"]["qaprune"] == metadata.version("qaprune")


def installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def without_git(folder: Path) -> str:
    """A folder of links to the programs of this machine but git."""
    folder.mkdir()
    for path in (Path("/usr/bin"), Path("/bin")):
        for program in path.iterdir():
            if not program.name.startswith("git") and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return str(folder)
