"""What a fingerprint is made of: CPU and GPU settings, variables, and records from before some of them."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from qaprune.errors import InputError
from qaprune.profile import environment
from qaprune.profile.environment import (
    ADDED_LATER,
    CPU_SETTINGS,
    GPU_SETTINGS,
    capture,
    cpu_settings,
    fingerprint,
    gpu_settings,
    timing_variables,
)
from qaprune.profile.nvml import Gpu
from qaprune.profile.outcome import NotMeasured
from qaprune.report.compare_speed import environment_differences
from tests.unit.fake_nvml import SLICE, UUID, FakeNvml

CARD = f"GPU-{UUID}"
OLD = {
    "device": "Example CPU 3000",
    "cpu": "Example CPU 3000",
    "gpu": None,
    "cores": 2,
    "torch_threads": 2,
    "torch": "2.13.0",
    "qaprune": "0.1.0",
    "git_commit": "0123456789ab",
}
"""A record from before clocks and variables were noted."""


def write_core(
    root: Path, core: int, governor: str = "performance", least: int = 800, most: int = 3500
) -> None:
    folder = root / f"cpu{core}" / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text(f"{governor}\n")
    (folder / "scaling_min_freq").write_text(f"{least * 1000}\n")
    (folder / "scaling_max_freq").write_text(f"{most * 1000}\n")


# the CPU


def test_governor_and_limits_of_the_cores_that_may_be_used(tmp_path: Path):
    write_core(tmp_path, 0)
    write_core(tmp_path, 1)
    write_core(tmp_path, 2, "powersave", 400, 2000)
    assert cpu_settings(tmp_path, [0, 1]) == {
        "cpu_governor": "performance",
        "cpu_clock_limits_mhz": "800-3500",
        "cpu_boost": None,
    }
    both = cpu_settings(tmp_path, {2, 0})
    assert both["cpu_governor"] == "performance, powersave"
    assert both["cpu_clock_limits_mhz"] == "800-3500, 400-2000"


def test_one_core_that_tells_nothing_leaves_no_guess_about_the_others(tmp_path: Path):
    write_core(tmp_path, 0)
    assert cpu_settings(tmp_path, [0, 1]) == dict.fromkeys(CPU_SETTINGS)
    (tmp_path / "cpu0" / "cpufreq" / "scaling_max_freq").write_text("<unknown>\n")
    (tmp_path / "cpu0" / "cpufreq" / "scaling_governor").write_text("\n")
    assert cpu_settings(tmp_path, [0]) == dict.fromkeys(CPU_SETTINGS)


@pytest.mark.parametrize(
    ("name", "text", "boost"),
    [
        ("cpufreq/boost", "1\n", True),
        ("cpufreq/boost", "0\n", False),
        ("intel_pstate/no_turbo", "1\n", False),
        ("intel_pstate/no_turbo", "0\n", True),
    ],
)
def test_both_ways_to_say_that_the_cpu_may_boost(tmp_path: Path, name: str, text: str, boost: bool):
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text)
    assert cpu_settings(tmp_path, [0])["cpu_boost"] is boost


# variables


def test_variables_that_change_timings_are_noted_and_no_others():
    environ = {
        "OMP_WAIT_POLICY": "ACTIVE",
        "KMP_AFFINITY": "granularity=fine,compact,1,0",
        "MKL_NUM_THREADS": "4",
        "MKLROOT": "/opt/mkl",
        "HOME": "/home/somebody",
        "LD_PRELOAD": "/home/somebody/lib/libiomp5.so:/usr/lib/libtcmalloc.so.4 libother.so",
    }
    assert timing_variables(environ) == {
        "KMP_AFFINITY": "granularity=fine,compact,1,0",
        "LD_PRELOAD": "libiomp5.so:libtcmalloc.so.4 libother.so",
        "MKL_NUM_THREADS": "4",
        "OMP_WAIT_POLICY": "ACTIVE",
    }


def test_a_set_variable_is_in_the_record_and_in_the_fingerprint(monkeypatch):
    before = capture()
    monkeypatch.setenv("KMP_BLOCKTIME", "0")
    after = capture()
    assert after["KMP_BLOCKTIME"] == "0"
    assert fingerprint(after) != fingerprint(before)
    assert environment_differences(before, after) == (
        "other environment: KMP_BLOCKTIME is none in A, 0 in B"
    )


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_cores_of_a_job_are_noted_and_change_no_fingerprint(monkeypatch, name: str):
    monkeypatch.delenv(name, raising=False)
    before = fingerprint(capture())
    monkeypatch.setenv(name, "7")
    assert capture()[name] == "7"
    assert fingerprint(capture()) == before


# the GPU


def test_settings_of_a_card():
    assert gpu_settings(Gpu(FakeNvml(), CARD, CARD)) == {
        "gpu_mig": False,
        "gpu_max_sm_clock_mhz": 1980,
        "gpu_max_memory_clock_mhz": 3201,
        "gpu_application_sm_clock_mhz": 1830,
        "gpu_application_memory_clock_mhz": 2619,
        "gpu_power_limit_w": 700.0,
        "gpu_ecc": True,
        "gpu_persistence_mode": True,
    }


@pytest.mark.parametrize(
    ("function", "lost"),
    [
        ("nvmlDeviceGetMaxClockInfo", {"gpu_max_sm_clock_mhz", "gpu_max_memory_clock_mhz"}),
        (
            "nvmlDeviceGetApplicationsClock",
            {"gpu_application_sm_clock_mhz", "gpu_application_memory_clock_mhz"},
        ),
        ("nvmlDeviceGetEnforcedPowerLimit", {"gpu_power_limit_w"}),
        ("nvmlDeviceGetEccMode", {"gpu_ecc"}),
        ("nvmlDeviceGetPersistenceMode", {"gpu_persistence_mode"}),
    ],
)
@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION])
def test_a_setting_that_cannot_be_read_is_none_alone(function: str, lost: set[str], code: int):
    found = gpu_settings(Gpu(FakeNvml(errors={function: code}), CARD, CARD))
    assert {key for key, value in found.items() if value is None} == lost


def test_a_slice_asks_its_card_and_no_nvml_gives_nothing():
    fake = FakeNvml(slices=(f"MIG-{SLICE}",))
    found = gpu_settings(Gpu(fake, f"MIG-{SLICE}", CARD, mig=True, slice=f"MIG-{SLICE}"))
    assert found["gpu_mig"]
    assert found["gpu_max_sm_clock_mhz"] == 1980
    assert gpu_settings(NotMeasured("no driver")) == dict.fromkeys(GPU_SETTINGS)


def test_a_lost_card_ends_the_capture():
    fake = FakeNvml(errors={"nvmlDeviceGetEccMode": pynvml.NVML_ERROR_GPU_IS_LOST})
    with pytest.raises(InputError, match="GPU was lost"):
        gpu_settings(Gpu(fake, CARD, CARD))


@pytest.fixture
def torch_gpu(monkeypatch):
    """torch says that there is a card."""
    import torch

    properties = SimpleNamespace(name="NVIDIA Example", total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(environment, "nvidia_driver", lambda: "570.86.15")


@pytest.mark.usefixtures("torch_gpu")
def test_the_cards_settings_are_captured_whether_it_is_open_or_not(monkeypatch):
    card = Gpu(FakeNvml(), CARD, CARD)

    @contextmanager
    def opened(device: str):
        assert device == "cuda:0"
        yield card

    given = capture("cuda:0", card)
    assert given["gpu_power_limit_w"] == 700
    monkeypatch.setattr(environment, "open_gpu", opened)
    assert capture("cuda:0") == given
    assert capture("cuda:0", NotMeasured("no permission"))["gpu_power_limit_w"] is None


@pytest.mark.usefixtures("torch_gpu")
def test_what_slows_a_card_changes_the_fingerprint_and_persistence_does_not():
    given = capture("cuda:0", Gpu(FakeNvml(), CARD, CARD))
    for key in GPU_SETTINGS:
        other = given | {key: None}
        assert (fingerprint(other) == fingerprint(given)) is (key == "gpu_persistence_mode"), key


def test_a_cpu_run_records_no_card():
    found = capture("cpu", NotMeasured("no GPU: timed on the CPU"))
    assert {found[key] for key in GPU_SETTINGS} == {None}


# records from before


def old_fingerprint(record: dict) -> str:
    """As it was computed when the record was written."""
    kept = {key: value for key, value in record.items() if key not in ("git_commit", "qaprune")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def test_an_old_record_still_compares_where_the_new_fields_cannot_be_read():
    new = OLD | dict.fromkeys(ADDED_LATER)
    assert fingerprint(new) == fingerprint(OLD) == old_fingerprint(OLD)


def test_against_an_old_record_the_new_field_is_named():
    new = OLD | dict.fromkeys(ADDED_LATER) | {"cpu_governor": "powersave"}
    assert fingerprint(new) != fingerprint(OLD)
    assert environment_differences(OLD, new) == (
        "other environment: cpu_governor is none in A, powersave in B"
    )
