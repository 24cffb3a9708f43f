"""Foreign processes on the GPU, against the fake driver and a made-up process table."""

from __future__ import annotations

from pathlib import Path

import pynvml
import pytest

from qaprune.errors import InputError
from qaprune.profile.foreign import ForeignWatch, descendants
from qaprune.profile.nvml import Gpu
from qaprune.profile.outcome import NotMeasured
from tests.unit.fake_nvml import OWN_PID, SLICE, UUID, FakeNvml

CHILD, GRANDCHILD, STRANGER, SERVER = OWN_PID + 1, OWN_PID + 2, 77, 88


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """This process, its child and grandchild, a stranger with a nasty name, an MPS server."""
    for pid, parent, name in (
        (OWN_PID, 1, "python"),
        (CHILD, OWN_PID, "worker"),
        (GRANDCHILD, CHILD, "worker"),
        (STRANGER, 1, f") R {OWN_PID} ("),
        (SERVER, 1, "nvidia-cuda-mps"),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0")
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
    return tmp_path


def watch(proc: Path, policy: str = "mark", errors: dict | None = None, **processes) -> ForeignWatch:
    fake = FakeNvml(processes=processes, errors=errors)
    return ForeignWatch(Gpu(fake, f"GPU-{UUID}", f"GPU-{UUID}"), policy, OWN_PID, proc)


def test_descendants_are_found_whatever_a_process_calls_itself(proc: Path):
    assert descendants(OWN_PID, proc) == {CHILD, GRANDCHILD}


@pytest.mark.parametrize("policy", ["abort", "mark"])
def test_this_process_and_its_children_do_not_count(proc: Path, policy: str):
    watched = watch(proc, policy, compute=[(OWN_PID, 500), (CHILD, 10), (GRANDCHILD, None)])
    watched.check()
    assert watched.columns() == {"foreign_processes": [], "foreign_processes_reason": None}
    assert watched.describe() is None


def test_abort_names_pid_and_memory_in_one_line(proc: Path):
    with pytest.raises(InputError) as caught:
        watch(proc, "abort", compute=[(OWN_PID, 500), (STRANGER, 300)], graphics=[(90, None)]).check()
    text = str(caught.value)
    assert "foreign processes 77 (300 MiB), 90 (memory not visible)" in text
    assert "profile.foreign_processes: mark" in text
    assert "\n" not in text


def test_mark_keeps_every_process_that_was_ever_there(proc: Path):
    fake = FakeNvml(processes={"compute": [(OWN_PID, 500), (STRANGER, 300)]})
    watched = ForeignWatch(Gpu(fake, f"GPU-{UUID}", f"GPU-{UUID}"), "mark", OWN_PID, proc)
    watched.check()
    fake.processes = {"compute": [(OWN_PID, 500)]}
    watched.check()
    assert watched.columns()["foreign_processes"] == [
        {"pid": STRANGER, "kind": "compute", "memory_mb": 300.0}
    ]
    assert watched.describe() == "foreign process 77 (300 MiB)"


@pytest.mark.parametrize("policy", ["abort", "mark"])
@pytest.mark.parametrize("listed", [[], [(STRANGER, 300)]])
def test_hidden_pids_are_said_and_never_taken_for_an_empty_device(proc: Path, policy: str, listed: list):
    watched = watch(proc, policy, compute=listed)
    watched.check()
    columns = watched.columns()
    assert columns["foreign_processes"] is None
    assert f"lists {len(listed)} processes and not this one" in columns["foreign_processes_reason"]
    assert "container" in columns["foreign_processes_reason"]


def test_the_mps_server_of_ones_own_client_does_not_count_but_other_clients_do(proc: Path):
    watched = watch(proc, compute=[(SERVER, 30), (OWN_PID, 500)], mps=[(OWN_PID, 500), (STRANGER, 200)])
    watched.check()
    assert [process["pid"] for process in watched.columns()["foreign_processes"]] == [STRANGER]


def test_an_mps_server_beside_a_process_without_mps_is_foreign(proc: Path):
    watched = watch(proc, compute=[(SERVER, 30), (OWN_PID, 500)])
    watched.check()
    assert [process["pid"] for process in watched.columns()["foreign_processes"]] == [SERVER]


def test_missing_permission_is_a_reason(proc: Path):
    refused = {"nvmlDeviceGetComputeRunningProcesses": pynvml.NVML_ERROR_NO_PERMISSION}
    watched = watch(proc, "abort", refused, compute=[(STRANGER, 1)])
    watched.check()
    assert watched.columns() == {
        "foreign_processes": None,
        "foreign_processes_reason": "nvmlDeviceGetComputeRunningProcesses: Insufficient Permissions",
    }


def test_a_card_without_graphics_or_mps_lists_has_none_of_those(proc: Path):
    lacking = {
        "nvmlDeviceGetGraphicsRunningProcesses": pynvml.NVML_ERROR_NOT_SUPPORTED,
        "nvmlDeviceGetMPSComputeRunningProcesses": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    }
    watched = watch(proc, "mark", lacking, compute=[(OWN_PID, 5)])
    watched.check()
    assert watched.columns()["foreign_processes"] == []


def test_a_refused_graphics_list_is_not_an_empty_one(proc: Path):
    refused = {"nvmlDeviceGetGraphicsRunningProcesses": pynvml.NVML_ERROR_NO_PERMISSION}
    watched = watch(proc, "mark", refused, compute=[(OWN_PID, 5)])
    watched.check()
    assert watched.columns()["foreign_processes"] is None


def test_a_lost_device_ends_the_run(proc: Path):
    lost = {"nvmlDeviceGetComputeRunningProcesses": pynvml.NVML_ERROR_GPU_IS_LOST}
    with pytest.raises(InputError, match="lost"):
        watch(proc, "mark", lost, compute=[]).check()


def test_a_slice_of_unknown_number_tells_nothing_about_processes(proc: Path):
    fake = FakeNvml(slices=(f"MIG-{SLICE}",))
    watched = ForeignWatch(Gpu(fake, f"GPU-{UUID}", f"GPU-{UUID}", mig=True), "abort", OWN_PID, proc)
    watched.check()
    assert "MIG slice" in watched.columns()["foreign_processes_reason"]


def test_without_a_gpu_the_reason_is_kept(proc: Path):
    watched = ForeignWatch(NotMeasured("no GPU: timed on the CPU"), "abort", OWN_PID, proc)
    watched.check()
    assert watched.columns()["foreign_processes_reason"] == "no GPU: timed on the CPU"
