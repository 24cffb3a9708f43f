"""The GPU sampler against the fake driver, in the fake's time."""

from __future__ import annotations

import threading

import pynvml
import pytest

from qaprune.errors import InputError
from qaprune.profile.nvml import Gpu, find_gpu
from qaprune.profile.outcome import NotMeasured
from qaprune.profile.sampler import THROTTLE_REASONS, Sampler, integrate, throttle_names
from tests.unit.fake_nvml import BUSY_W, IDLE_W, SLICE, UUID, FakeNvml

KEYS = {
    "power_w",
    "gpu_util_percent",
    "memory_util_percent",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "temperature_c",
    "throttle",
    "memory_used_mb",
    "pcie_tx_mb_s",
    "pcie_rx_mb_s",
}


def sampled(fake: FakeNvml, polls: int = 20, gpu: Gpu | None = None) -> dict:
    """The summary of so many polls, 50 ms of the fake's time apart, busy in every second one."""
    with Sampler(gpu or find_gpu(fake, UUID), clock=fake.world.clock, start_thread=False) as sampler:
        since = fake.world.now
        for number in range(polls):
            fake.world.advance(0.05, BUSY_W if number % 2 else IDLE_W)
            sampler.poll()
    return sampler.summary(since, fake.world.now)


def test_throttle_bits_are_pynvmls():
    known = {
        name: value
        for name, value in vars(pynvml).items()
        if name.startswith(("nvmlClocksEventReason", "nvmlClocksThrottleReason"))
        and not name.endswith(("All", "None"))
    }
    assert set(known.values()) <= set(THROTTLE_REASONS)
    assert set(THROTTLE_REASONS) - set(known.values()) <= {512, 1024}, "releases before 13.6 lack these two"
    for name, bit in known.items():
        words = name.removeprefix("nvmlClocksEventReason").removeprefix("nvmlClocksThrottleReason")
        if words != "UserDefinedClocks":  # an older name of the application clocks' bit
            assert THROTTLE_REASONS[bit].replace("_", "") == words.lower()


def test_throttle_reasons_are_named_and_unknown_bits_kept():
    assert throttle_names(0) == []
    assert throttle_names(0x4 | 0x40) == ["sw_power_cap", "hw_thermal_slowdown"]
    assert throttle_names(0x1000) == ["unknown_0x1000"]


def test_the_summary_has_mean_min_and_max_of_everything_in_stated_units():
    summary = sampled(FakeNvml())
    assert summary["gaps"] == {}
    assert summary["power_w"] == pytest.approx(
        {"mean": (IDLE_W + BUSY_W) / 2, "min": IDLE_W, "max": BUSY_W}
    )
    assert summary["power_source"] == "NVML_FI_DEV_POWER_INSTANT"
    single = {key: summary[key]["max"] for key in KEYS - {"power_w", "throttle"}}
    assert single == {
        "gpu_util_percent": 97,
        "memory_util_percent": 40,
        "sm_clock_mhz": 1980,
        "memory_clock_mhz": 2619,
        "temperature_c": 61,
        "memory_used_mb": 2048,
        "pcie_tx_mb_s": 5,
        "pcie_rx_mb_s": 9,
    }
    assert summary["throttle_reasons"] == {}


def test_throttle_reasons_seen_are_shares_of_the_readings():
    fake = FakeNvml()
    with Sampler(find_gpu(fake, UUID), clock=fake.world.clock, start_thread=False) as sampler:
        for number in range(20):
            fake.throttle = 0x4 if number < 5 else 0
            sampler.poll()
    assert sampler.summary(0, 1e9)["throttle_reasons"] == {"sw_power_cap": 25.0}


def test_only_the_window_counts():
    fake = FakeNvml()
    with Sampler(find_gpu(fake, UUID), clock=fake.world.clock, start_thread=False) as sampler:
        sampler.poll()
        fake.world.advance(1, BUSY_W)
        since = fake.world.now
        sampler.poll()
    summary = sampler.summary(since, fake.world.now)
    assert summary["power_w"]["min"] == BUSY_W
    assert summary["gaps"]["temperature_c"] == "no reading fell into the window"


@pytest.mark.parametrize(
    ("function", "keys"),
    [
        ("nvmlDeviceGetUtilizationRates", {"gpu_util_percent", "memory_util_percent"}),
        ("nvmlDeviceGetClockInfo", {"sm_clock_mhz", "memory_clock_mhz"}),
        ("nvmlDeviceGetTemperature", {"temperature_c"}),
        ("nvmlDeviceGetMemoryInfo", {"memory_used_mb"}),
        ("nvmlDeviceGetPcieThroughput", {"pcie_tx_mb_s", "pcie_rx_mb_s"}),
    ],
)
@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION])
def test_what_a_card_lacks_is_a_named_gap_never_zero_and_asked_once(function, keys, code):
    fake = FakeNvml(errors={function: code})
    summary = sampled(fake)
    assert set(summary["gaps"]) == keys
    for key in keys:
        assert key not in summary
        assert summary["gaps"][key] == f"{function}: {pynvml.NVMLError(code)}"
    assert fake.calls.count(function) == (2 if function.endswith(("ClockInfo", "Throughput")) else 1)


def test_power_falls_back_to_the_older_reading_and_says_which():
    fake = FakeNvml()
    fake.instant = False
    summary = sampled(fake)
    assert summary["power_source"] == "nvmlDeviceGetPowerUsage"
    assert summary["power_w"]["max"] == BUSY_W


def test_a_card_without_any_power_reading_has_a_gap():
    fake = FakeNvml(errors={"nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_NOT_SUPPORTED})
    fake.instant = False
    with Sampler(find_gpu(fake, UUID), clock=fake.world.clock, start_thread=False) as sampler:
        sampler.poll()
    assert sampler.energy(0, 1e9) == NotMeasured("nvmlDeviceGetPowerUsage: Not Supported")


def test_drivers_with_the_older_throttle_name_are_read():
    fake = FakeNvml(errors={"nvmlDeviceGetCurrentClocksEventReasons": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND})
    fake.throttle = 0x8
    assert sampled(fake)["throttle_reasons"] == {"hw_slowdown": 100.0}


def test_a_passing_error_is_counted_and_the_quantity_goes_on():
    fake = FakeNvml()
    with Sampler(find_gpu(fake, UUID), clock=fake.world.clock, start_thread=False) as sampler:
        for number in range(4):
            fake.errors = {"nvmlDeviceGetFieldValues": pynvml.NVML_ERROR_TIMEOUT} if number == 0 else {}
            sampler.poll()
    summary = sampler.summary(0, 1e9)
    assert summary["power_w"]["min"] == IDLE_W
    assert summary["gaps"] == {"power_w": "1 reads failed: nvmlDeviceGetFieldValues: Timeout"}


def test_a_mig_slice_has_its_own_memory_the_cards_clocks_and_no_power():
    fake = FakeNvml(slices=(f"MIG-{SLICE}",))
    summary = sampled(fake, gpu=find_gpu(fake, SLICE))
    assert summary["memory_used_mb"]["max"] == 1024
    assert summary["sm_clock_mhz"]["max"] == 1980
    whole = {"power_w", "gpu_util_percent", "memory_util_percent", "pcie_tx_mb_s", "pcie_rx_mb_s"}
    assert set(summary["gaps"]) == whole
    assert all("MIG slice" in reason for reason in summary["gaps"].values())


def test_a_session_shut_down_underneath_is_a_gap_everywhere():
    functions = (
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetCurrentClocksThrottleReasons",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetPcieThroughput",
    )
    fake = FakeNvml()
    fake_gpu = find_gpu(fake, UUID)
    fake.errors = dict.fromkeys(functions, pynvml.NVML_ERROR_UNINITIALIZED)
    summary = sampled(fake, gpu=fake_gpu)
    assert set(summary["gaps"]) == KEYS
    assert {"NVML was shut down under the measurement (Uninitialized)"} == set(summary["gaps"].values())


def test_a_lost_device_is_kept_for_the_caller():
    fake = FakeNvml()
    with Sampler(find_gpu(fake, UUID), clock=fake.world.clock, start_thread=False) as sampler:
        fake.errors = {"nvmlDeviceGetTemperature": pynvml.NVML_ERROR_GPU_IS_LOST}
        sampler.poll()
    assert isinstance(sampler.lost, InputError)


def test_the_cost_of_polling_is_kept():
    fake = FakeNvml()
    reading = fake.nvmlDeviceGetTemperature
    fake.nvmlDeviceGetTemperature = lambda *arguments: (
        fake.world.advance(0.01, IDLE_W),
        reading(*arguments),
    )[1]
    summary = sampled(fake, polls=10)  # the temperature is read in two of them
    assert summary["polls"] == 10
    assert summary["poll_seconds"] == pytest.approx(0.02)
    assert summary["seconds"] == pytest.approx(10 * 0.05 + 0.02)
    assert summary["poll_cpu_seconds"] >= 0


def test_the_thread_polls_and_stops():
    fake, polled = FakeNvml(), threading.Event()
    reading = fake.nvmlDeviceGetFieldValues

    def count(handle, fieldIds):
        if fake.calls.count("nvmlDeviceGetFieldValues") >= 5:
            polled.set()
        return reading(handle, fieldIds)

    fake.nvmlDeviceGetFieldValues = count
    with Sampler(find_gpu(fake, UUID), interval_s=0.0001) as sampler:
        assert polled.wait(30)
    polls = sampler.polls
    assert polls >= 4
    assert not any(thread.name == "gpu-sampler" for thread in threading.enumerate())


def test_a_bug_in_the_thread_is_raised_not_swallowed():
    fake = FakeNvml()
    fake.nvmlDeviceGetTemperature = lambda handle, sensor: 1 / 0
    with pytest.raises(ZeroDivisionError), Sampler(find_gpu(fake, UUID)):
        pass


def test_integration_is_the_trapezoids_area():
    points = [(1.0, 10.0), (2.0, 20.0), (3.0, 20.0), (4.0, 10.0), (5.0, 10.0)]
    assert integrate(points, 0.0, 6.0) == pytest.approx(10 + 15 + 20 + 15 + 10 + 10)
    assert integrate(points[:4], 0.0, 6.0) == NotMeasured("4 power samples fell into the window, 5 needed")
