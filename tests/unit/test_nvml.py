"""Energy by NVML against a fake with pynvml's real names and signatures."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pynvml
import pytest

from qaprune.profile.nvml import Energy, NotMeasured, measure_energy

UUID = "12345678-aaaa-bbbb-cccc-1234567890ab"


class FakeNvml(SimpleNamespace):
    """One card. `step_mj` is added to the counter at each read; NVMLError is the real class."""

    NVMLError = pynvml.NVMLError
    NVML_ERROR_NOT_FOUND = pynvml.NVML_ERROR_NOT_FOUND
    NVML_ERROR_INVALID_ARGUMENT = pynvml.NVML_ERROR_INVALID_ARGUMENT

    def __init__(
        self, uuid: str = f"GPU-{UUID}", step_mj: int = 50_000, mig: int | None = 0, fail: str = ""
    ):
        super().__init__(uuid=uuid, step_mj=step_mj, mig=mig, fail=fail, counter=10**9, open=0)

    def _check(self, name: str, code: int) -> None:
        if self.fail == name:
            raise pynvml.NVMLError(code)

    def nvmlInit(self):
        self._check("init", pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid):
        self._check("permission", pynvml.NVML_ERROR_NO_PERMISSION)
        if uuid != self.uuid:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "handle"

    def nvmlDeviceGetMigMode(self, device):
        if self.mig is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [self.mig, self.mig]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        assert handle == "handle"
        self._check("counter", pynvml.NVML_ERROR_NOT_SUPPORTED)
        self.counter += self.step_mj
        return self.counter


def measure(fake: FakeNvml, **more):
    calls = []
    result = measure_energy(
        lambda: calls.append(1), "cuda:0", lambda: None, min_seconds=0.01, uuid=UUID, nvml=fake, **more
    )
    assert fake.open == 0, "NVML was left open"
    return result, len(calls)


def test_the_fake_has_pynvmls_signatures():
    for name, method in inspect.getmembers(FakeNvml, inspect.isfunction):
        if name.startswith("nvml"):
            ours = list(inspect.signature(method).parameters)[1:]
            assert ours == list(inspect.signature(getattr(pynvml, name)).parameters), name


def test_counter_in_millijoules_over_a_window_long_enough():
    energy, calls = measure(FakeNvml(step_mj=50_000))
    assert isinstance(energy, Energy)
    assert energy.joules == pytest.approx(50.0)
    assert energy.seconds >= 0.01
    assert energy.passes == calls > 1
    assert energy.joules_per_pass == pytest.approx(50.0 / calls)


def test_cards_without_mig_are_measured():
    assert isinstance(measure(FakeNvml(mig=None))[0], Energy)


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (FakeNvml(fail="init"), "NVML Shared Library Not Found"),
        (FakeNvml(fail="counter"), "Not Supported"),
        (FakeNvml(fail="permission"), "Insufficient Permissions"),
        (FakeNvml(uuid="GPU-another"), "knows no device"),
        (FakeNvml(uuid=f"MIG-{UUID}"), "MIG slice"),
        (FakeNvml(mig=1), "MIG slice"),
        (FakeNvml(step_mj=0), "did not move"),
    ],
)
def test_what_cannot_be_measured_says_why(fake, reason):
    result, _ = measure(fake)
    assert isinstance(result, NotMeasured)
    assert reason in result.reason


def test_cpu_never_touches_nvml():
    result = measure_energy(lambda: None, "cpu", lambda: None, nvml=None)
    assert result == NotMeasured("no GPU: timed on the CPU")
