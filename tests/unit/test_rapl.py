"""CPU energy from RAPL counters in a made-up sysfs tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from qaprune.profile.outcome import Unavailable
from qaprune.profile.rapl import RaplCounter


def zone(root: Path, name: str, label: str, microjoules: int, most: int = 10_000_000) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{label}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    return folder


def spend(folder: Path, microjoules: int) -> None:
    now = int((folder / "energy_uj").read_text()) + microjoules
    (folder / "energy_uj").write_text(str(now % int((folder / "max_energy_range_uj").read_text())))


def test_packages_are_summed_and_nothing_is_counted_twice(tmp_path: Path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 2_000_000)
    others = [
        zone(tmp_path, "intel-rapl:0:0", "core", 0),
        zone(tmp_path, "intel-rapl:0:1", "dram", 0),
        zone(tmp_path, "intel-rapl:2", "psys", 0),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0),
    ]
    counter = RaplCounter(tmp_path)
    assert counter.read() == 0
    spend(first, 500_000)
    spend(second, 1_500_000)
    for other in others:
        spend(other, 3_000_000)
    assert counter.read() == pytest.approx(2.0)


def test_a_wrapped_counter_goes_on(tmp_path: Path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000)
    counter = RaplCounter(tmp_path)
    for total in (3.0, 6.0, 9.0, 12.0):  # wraps twice
        spend(package, 3_000_000)
        assert counter.read() == pytest.approx(total)


@pytest.mark.parametrize("content", ["", "max", "-5"])
def test_a_counter_that_is_no_number_is_named(tmp_path: Path, content: str):
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text(content)
    with pytest.raises(Unavailable, match="energy_uj of intel-rapl:0 is not a number"):
        RaplCounter(tmp_path)


@pytest.mark.parametrize("make", [lambda root: None, lambda root: zone(root, "intel-rapl:0", "psys", 0)])
def test_no_packages_is_said(tmp_path: Path, make):
    make(tmp_path)
    with pytest.raises(Unavailable, match="no CPU package counters"):
        RaplCounter(tmp_path)
    with pytest.raises(Unavailable, match="no CPU package counters"):
        RaplCounter(tmp_path / "absent")


def test_one_unreadable_package_is_enough_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The tests may run as root, whom no file mode stops: the refusal is planted."""
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    closed = zone(tmp_path, "intel-rapl:1", "package-1", 0) / "energy_uj"
    read_text = Path.read_text

    def refuse(path: Path, *arguments: object, **more: object) -> str:
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return read_text(path, *arguments, **more)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(Unavailable, match="energy_uj of intel-rapl:1 is readable by root only"):
        RaplCounter(tmp_path)


def test_a_counter_that_goes_away_mid_run_is_said(tmp_path: Path):
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    counter = RaplCounter(tmp_path)
    (package / "energy_uj").unlink()
    with pytest.raises(Unavailable, match="energy_uj of intel-rapl:0: No such file"):
        counter.read()
