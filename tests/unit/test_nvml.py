"""NVML's session and device mapping against a fake with pynvml's real names and signatures."""

from __future__ import annotations

import inspect
import sys

import pynvml
import pytest

from qaprune.errors import InputError
from qaprune.profile.nvml import Gpu, ask, find_gpu, open_gpu, visible_uuid
from qaprune.profile.outcome import NotMeasured, Unavailable
from tests.unit.fake_nvml import OTHER, SLICE, UUID, FakeNvml

TWO = (f"GPU-{UUID}", f"GPU-{OTHER}")
SLICES = (f"MIG-{SLICE}", f"MIG-6{SLICE[1:]}")


def test_the_fake_has_pynvmls_signatures():
    defined = [name for name in vars(FakeNvml) if name.startswith("nvml")]
    assert len(defined) > 20
    for name in defined:
        ours = list(inspect.signature(getattr(FakeNvml, name)).parameters)[1:]
        assert ours == list(inspect.signature(getattr(pynvml, name)).parameters), name


def test_the_fakes_errors_and_constants_are_pynvmls():
    fake = FakeNvml()
    assert fake.NVMLError is pynvml.NVMLError
    assert fake.NVML_CLOCK_SM == pynvml.NVML_CLOCK_SM
    with pytest.raises(AttributeError):
        _ = fake.nvmlDeviceGetName  # a function that the fake does not define must not reach the driver


@pytest.mark.parametrize("uuid", [UUID, f"GPU-{UUID}"])
def test_a_card_is_found_by_torchs_uuid_with_or_without_its_prefix(uuid):
    fake = FakeNvml(cards=TWO)
    with open_gpu("cuda:0", uuid, fake) as gpu:
        assert gpu == Gpu(fake, f"GPU-{UUID}", f"GPU-{UUID}")
        assert fake.open == 1
    assert fake.open == 0, "NVML was left open"


def test_the_session_is_closed_after_an_error_inside():
    fake = FakeNvml()
    with pytest.raises(KeyError), open_gpu("cuda:0", UUID, fake):
        raise KeyError
    assert fake.open == 0


def test_a_cpu_never_touches_nvml():
    fake = FakeNvml()
    with open_gpu("cpu", None, fake) as gpu:
        assert gpu == NotMeasured("no GPU: timed on the CPU")
    assert fake.calls == []


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with open_gpu("cuda:0", UUID) as gpu:
        assert gpu == NotMeasured("the package nvidia-ml-py is not installed")


@pytest.mark.parametrize(
    ("errors", "cards", "reason"),
    [
        ({"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}, TWO, "NVML Shared Library Not Found"),
        ({"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}, TWO, "Driver Not Loaded"),
        ({"nvmlDeviceGetHandleByUUID": pynvml.NVML_ERROR_NO_PERMISSION}, TWO, "Insufficient Permissions"),
        ({"nvmlDeviceGetMigMode": pynvml.NVML_ERROR_NO_PERMISSION}, TWO, "Insufficient Permissions"),
        ({}, ("GPU-another",), f"no device with the UUID {UUID}"),
    ],
)
def test_what_cannot_be_opened_says_why(errors, cards, reason):
    fake = FakeNvml(cards=cards, errors=errors)
    with open_gpu("cuda:0", UUID, fake) as gpu:
        assert isinstance(gpu, NotMeasured)
        assert reason in gpu.reason
    assert fake.open == 0


def test_a_card_without_mig_is_whole():
    fake = FakeNvml(errors={"nvmlDeviceGetMigMode": pynvml.NVML_ERROR_NOT_SUPPORTED})
    assert not find_gpu(fake, UUID).mig


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED])
def test_a_lost_device_ends_the_run_in_one_line(code):
    fake = FakeNvml(errors={"nvmlDeviceGetPowerUsage": code})
    with pytest.raises(InputError, match="GPU was lost during the run") as caught:
        ask(fake, "nvmlDeviceGetPowerUsage", "handle")
    assert "\n" not in str(caught.value)


def test_a_lost_device_can_be_left_though_nvml_cannot_shut_down():
    fake = FakeNvml(errors={"nvmlShutdown": pynvml.NVML_ERROR_GPU_IS_LOST})
    with open_gpu("cuda:0", UUID, fake):
        pass
    assert "nvmlShutdown" in fake.calls


def test_a_session_closed_by_another_is_a_reason_and_for_good():
    fake = FakeNvml(errors={"nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_UNINITIALIZED})
    with pytest.raises(Unavailable, match="NVML was shut down") as caught:
        ask(fake, "nvmlDeviceGetPowerUsage", "handle")
    assert caught.value.for_good


def test_a_passing_error_is_not_for_good():
    fake = FakeNvml(errors={"nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_TIMEOUT})
    with pytest.raises(Unavailable, match="nvmlDeviceGetPowerUsage: Timeout") as caught:
        ask(fake, "nvmlDeviceGetPowerUsage", "handle")
    assert not caught.value.for_good


# MIG


@pytest.mark.parametrize("uuid", [SLICE, f"MIG-{SLICE}"])
def test_torch_may_give_the_slices_own_uuid(uuid):
    fake = FakeNvml(slices=SLICES)
    assert find_gpu(fake, uuid) == Gpu(fake, f"MIG-{SLICE}", f"GPU-{UUID}", True, f"MIG-{SLICE}")


def test_torch_may_give_the_cards_uuid_and_the_environment_names_the_slice():
    fake = FakeNvml(slices=SLICES)
    gpu = find_gpu(fake, UUID, 0, {"CUDA_VISIBLE_DEVICES": SLICES[1]})
    assert (gpu.card, gpu.slice, gpu.share) == (f"GPU-{UUID}", SLICES[1], SLICES[1])


def test_an_unknown_slice_never_passes_for_the_card():
    gpu = find_gpu(FakeNvml(slices=SLICES), UUID, 0, {})
    assert gpu.mig
    assert gpu.slice is None
    with pytest.raises(Unavailable, match="does not tell which"):
        _ = gpu.share


# CUDA_VISIBLE_DEVICES


def visible(text: str | None, ordinal: int = 0, order: str | None = "PCI_BUS_ID", **more) -> str:
    environ = {"CUDA_VISIBLE_DEVICES": text, "CUDA_DEVICE_ORDER": order}
    given = {key: value for key, value in environ.items() if value is not None}
    return visible_uuid(FakeNvml(**{"cards": TWO, **more}), ordinal, given)


@pytest.mark.parametrize(
    ("text", "ordinal", "uuid"),
    [
        (None, 1, TWO[1]),
        ("1", 0, TWO[1]),
        ("1, 0", 1, TWO[0]),
        (TWO[1], 0, TWO[1]),
        ("GPU-12349", 0, TWO[1]),
        (f"GPU-{OTHER.upper()}", 0, TWO[1]),
        (f"{TWO[1]},GPU-12345", 1, TWO[0]),
        (f"MIG-{SLICE}", 0, SLICES[0]),
        ("MIG-6", 0, SLICES[1]),
        (f"MIG-GPU-{UUID}/4/0", 0, SLICES[1]),
        ("MIG-GPU-12345/3/0", 0, SLICES[0]),
    ],
)
def test_visible_devices_by_index_uuid_prefix_and_mig_id(text, ordinal, uuid):
    assert visible(text, ordinal, slices=SLICES) == uuid


@pytest.mark.parametrize(
    ("text", "ordinal", "reason"),
    [
        ("GPU-1234", 0, "2 devices begin with 'GPU-1234'"),
        ("GPU-9", 0, "no devices begin with 'GPU-9'"),
        ("MIG-9", 0, "no devices begin with 'MIG-9'"),
        (f"MIG-GPU-{UUID}/5/0", 0, "no MIG slice"),
        (f"MIG-GPU-{UUID}/x", 0, "expected MIG-GPU-<uuid>/<instance>/<instance>"),
        ("", 0, "names no device number 0"),
        ("0", 1, "names no device number 1"),
        ("7", 0, "no GPU number 7: NVML counts 2"),
        ("-1", 0, "'-1' is no index"),
        ("NoDevFiles", 0, "'NoDevFiles' is no index"),
    ],
)
def test_an_entry_that_settles_nothing_says_why(text, ordinal, reason):
    with pytest.raises(Unavailable) as caught:
        visible(text, ordinal, slices=SLICES)
    assert reason in str(caught.value)


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST"])
def test_an_index_among_several_cards_is_not_guessed(order):
    with pytest.raises(Unavailable, match="ambiguous"):
        visible("1", order=order)
    assert visible("0", order=order, cards=TWO[:1]) == TWO[0]


def test_the_environment_stands_in_where_torch_gives_no_uuid(monkeypatch):
    monkeypatch.setattr("qaprune.profile.nvml.torch_uuid", lambda device: None)
    with open_gpu(
        "cuda:1", None, FakeNvml(cards=TWO), {"CUDA_VISIBLE_DEVICES": f"GPU-12345,{TWO[1]}"}
    ) as gpu:
        assert gpu.card == TWO[1]
