"""Energy a question: counter, idle power, cross-check, and every way that it cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pynvml
import pytest

from qaprune.errors import InputError
from qaprune.profile.energy import ENERGY_COLUMNS, Energy, Idle, Measurement, Part, energy_columns
from qaprune.profile.nvml import Gpu, find_gpu
from qaprune.profile.outcome import NotMeasured
from qaprune.profile.power import PERIODS_A_WINDOW, Meter, NvmlCounter, make_meter
from qaprune.profile.sampler import Sampler
from tests.unit.fake_nvml import BUSY_W, IDLE_W, SLICE, UUID, FakeNvml, World

PASS_S = 0.004


class Bench:
    """A fake card under a meter whose sampler polls after every pass, in the fake's time."""

    def __init__(self, fake: FakeNvml | None = None, gpu: Gpu | None = None, pass_s: float = PASS_S):
        self.fake = fake or FakeNvml()
        self.world, self.pass_s = self.fake.world, pass_s
        self.gpu = gpu or find_gpu(self.fake, UUID)
        self.passes = 0
        self.sampler: Sampler | None = None
        made = make_meter("cuda:0", self.gpu, lambda: None)
        self.meter = Meter(made.counter, self._sampler, lambda: None, self.world.clock, self.world.sleep)

    def _sampler(self) -> Sampler:
        self.sampler = Sampler(self.gpu, clock=self.world.clock, start_thread=False)
        return self.sampler

    def call(self) -> None:
        self.passes += 1
        self.world.advance(self.pass_s, BUSY_W)
        if self.sampler:
            self.sampler.poll()

    def measure(self, **more) -> Measurement:
        return self.meter.measure(self.call, self.meter.idle(), **more)


@pytest.mark.parametrize("period_s", [0.01, 0.02, 0.1])
def test_idle_power_and_the_counters_own_period_are_measured(period_s: float):
    idle = Bench(FakeNvml(World(period_s))).meter.idle(seconds=1.0)
    assert idle.watts == pytest.approx(IDLE_W, rel=0.01)
    assert idle.period_s == pytest.approx(period_s, abs=0.001)
    assert idle.seconds >= 1.0


def test_idle_waits_for_the_device_and_leaves_out_its_last_work():
    bench, queued = Bench(), [True]

    def sleep(seconds: float) -> None:
        tail = bench.world.now < 100.4  # power falls off some time after the last work
        bench.world.advance(seconds, BUSY_W if queued or tail else IDLE_W)

    meter = Meter(bench.meter.counter, bench.meter.make_sampler, queued.clear, bench.world.clock, sleep)
    assert meter.idle().watts == pytest.approx(IDLE_W, rel=0.01)
    assert meter.idle(settle_seconds=0).watts == pytest.approx(IDLE_W, rel=0.01)


@pytest.mark.parametrize("period_s", [0.01, 0.1])
def test_gross_and_net_energy_of_a_window(period_s: float):
    bench = Bench(FakeNvml(World(period_s)))
    energy = bench.measure(min_seconds=1.0).energy
    assert isinstance(energy, Energy)
    assert energy.gross_j / energy.passes == pytest.approx(BUSY_W * PASS_S, rel=0.01)
    assert energy.net_j / energy.passes == pytest.approx((BUSY_W - IDLE_W) * PASS_S, rel=0.02)
    assert energy.seconds / energy.passes == pytest.approx(PASS_S, rel=0.01)


@pytest.mark.parametrize("period_s", [0.02, 0.1, 0.5])
def test_a_window_is_long_enough_for_the_counter(period_s: float):
    energy = Bench(FakeNvml(World(period_s))).measure(min_seconds=0.2).energy
    assert energy.seconds >= max(0.2, PERIODS_A_WINDOW * period_s * 0.99)
    assert energy.resolution_percent < 10


@pytest.mark.parametrize("warm_seconds", [0.40, 0.43, 0.46, 0.49])
def test_a_window_begins_and_ends_at_an_update_wherever_it_falls(warm_seconds: float):
    bench = Bench(FakeNvml(World(0.1)))
    energy = bench.measure(min_seconds=2.07, warm_seconds=warm_seconds).energy
    assert energy.gross_j / energy.passes == pytest.approx(BUSY_W * PASS_S, rel=0.005)


def test_passes_of_the_warm_up_are_not_counted():
    bench = Bench()
    energy = bench.measure(min_seconds=1.0, warm_seconds=2.0).energy
    assert energy.passes < bench.passes - 2.0 / PASS_S * 0.9


def test_a_slow_pass_is_measured_too():
    energy = Bench(pass_s=0.7).measure(min_seconds=1.0).energy
    assert energy.gross_j / energy.passes == pytest.approx(BUSY_W * 0.7, rel=0.1)


@pytest.mark.parametrize(("scale", "percent"), [(1.0, 0.0), (1.25, 25.0), (0.5, -50.0)])
def test_disagreement_of_power_samples_and_counter_is_shown(scale: float, percent: float):
    bench = Bench()
    bench.fake.power_scale = scale
    measured = bench.measure()
    assert measured.energy.disagreement_percent == pytest.approx(percent, abs=1.0)


def test_no_cross_check_where_the_card_gives_no_power():
    bench = Bench(FakeNvml(errors={"nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_NOT_SUPPORTED}))
    bench.fake.instant = False
    columns = energy_columns(bench.measure(), 1)
    assert columns["energy_j"] > 0
    assert columns["energy_disagreement_percent"] is None
    assert columns["energy_disagreement_reason"] == "nvmlDeviceGetPowerUsage: Not Supported"
    assert columns["sampler"]["gaps"]["power_w"] == "nvmlDeviceGetPowerUsage: Not Supported"


def test_idle_above_the_load_gives_gross_and_no_net():
    idle = Idle(watts=BUSY_W + 1, seconds=1.0, period_s=0.02)
    bench = Bench()
    columns = energy_columns(bench.meter.measure(bench.call, idle), 1)
    assert columns["energy_j"] is None
    assert "is not below that of the window" in columns["energy_reason"]
    assert columns["energy_gross_j"] > 0


def test_columns_are_joules_a_question_with_units_in_their_names():
    parts = [Part(0.8, 180.0, 40), Part(1.2, 320.0, 60)]
    energy = Energy(parts, Idle(50.0, 1.0, 0.02), "nvml", 510.0)
    columns = energy_columns(Measurement(energy, {"gaps": {}}), questions_per_pass=4.0)
    assert columns == {
        "energy_j": 1.0,
        "energy_gross_j": 1.25,
        "energy_reason": None,
        "energy_source": "nvml",
        "energy_window_s": 2.0,
        "energy_passes": 100,
        "energy_parts": [part._asdict() for part in parts],
        "energy_resolution_percent": pytest.approx(2.0),
        "energy_counter_period_ms": pytest.approx(20.0),
        "energy_disagreement_percent": pytest.approx(2.0),
        "energy_disagreement_reason": None,
        "idle_power_w": 50.0,
        "idle_window_s": 1.0,
        "sampler": {"gaps": {}},
        "sampler_reason": None,
    }


def test_columns_without_energy_are_null_with_reasons():
    columns = energy_columns(Measurement(NotMeasured("why"), NotMeasured("why not")), 4.0)
    reasons = {"energy_reason": "why", "energy_disagreement_reason": "why", "sampler_reason": "why not"}
    assert columns == dict.fromkeys(ENERGY_COLUMNS) | {"sampler": None} | reasons


def test_a_measurement_is_plain_json():
    columns = energy_columns(Bench().measure(), 2.0)
    assert json.loads(json.dumps(columns, allow_nan=False)) == columns


# what cannot be measured


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (pynvml.NVML_ERROR_NOT_SUPPORTED, "nvmlDeviceGetTotalEnergyConsumption: Not Supported"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "nvmlDeviceGetTotalEnergyConsumption: Insufficient Permissions"),
        (pynvml.NVML_ERROR_UNINITIALIZED, "NVML was shut down"),
    ],
)
def test_a_card_without_the_counter_is_still_sampled(code: int, reason: str):
    bench = Bench(FakeNvml(errors={"nvmlDeviceGetTotalEnergyConsumption": code}))
    measured = bench.measure()
    assert isinstance(measured.energy, NotMeasured)
    assert reason in measured.energy.reason
    assert measured.sampler["power_w"]["max"] == BUSY_W


def test_energy_of_a_mig_slice_is_not_the_cards():
    fake = FakeNvml(slices=(f"MIG-{SLICE}",))
    measured = Bench(fake, find_gpu(fake, SLICE)).measure()
    assert measured.energy == NotMeasured("a MIG slice: the energy counter belongs to the whole card")
    assert measured.sampler["memory_used_mb"]["max"] == 1024
    assert "nvmlDeviceGetTotalEnergyConsumption" not in fake.calls


def test_a_counter_that_stands_still_is_not_zero_energy():
    measured = Bench(FakeNvml(World(stuck=True))).measure()
    assert isinstance(measured.energy, NotMeasured)
    assert "moved 0 times" in measured.energy.reason


def test_a_counter_that_stops_under_load_is_not_zero_energy():
    bench = Bench()
    idle = bench.meter.idle()
    bench.world.stuck = True
    energy = bench.meter.measure(bench.call, idle).energy
    assert isinstance(energy, NotMeasured)
    assert "did not move" in energy.reason


def test_a_counter_that_is_reset_is_not_negative_energy():
    bench = Bench()
    idle = bench.meter.idle()

    def call() -> None:
        bench.call()
        if bench.passes == 200:
            bench.world.joules = bench.world.counted = 0.0

    energy = bench.meter.measure(call, idle).energy
    assert isinstance(energy, NotMeasured)
    assert "it was reset" in energy.reason


def test_nvml_shut_down_mid_run_is_a_reason():
    bench = Bench()
    idle = bench.meter.idle()
    bench.fake.errors = {"nvmlDeviceGetTotalEnergyConsumption": pynvml.NVML_ERROR_UNINITIALIZED}
    measured = bench.meter.measure(bench.call, idle)
    assert measured.energy == NotMeasured("NVML was shut down under the measurement (Uninitialized)")
    assert measured.sampler["power_w"]["max"] == BUSY_W


@pytest.mark.parametrize("function", ["nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetFieldValues"])
def test_a_device_lost_mid_run_ends_it(function: str):
    bench = Bench()
    idle = bench.meter.idle()

    def call() -> None:
        bench.call()
        if bench.passes == 50:
            bench.fake.errors = {function: pynvml.NVML_ERROR_GPU_IS_LOST}

    with pytest.raises(InputError, match="GPU was lost during the run"):
        bench.meter.measure(call, idle)


def test_cudas_error_on_a_lost_device_is_said_in_nvmls_words():
    bench = Bench()
    idle = bench.meter.idle()

    def call() -> None:
        bench.fake.errors = {"nvmlDeviceGetFieldValues": pynvml.NVML_ERROR_GPU_IS_LOST}
        bench.call()
        raise RuntimeError("CUDA error: unspecified launch failure")

    with pytest.raises(InputError, match="GPU was lost during the run"):
        bench.meter.measure(call, idle)


def test_a_lost_device_is_asked_for_where_no_poll_saw_it_yet():
    """The sampler polls every 50 ms; CUDA's error comes at once."""
    bench = Bench()
    idle = bench.meter.idle()

    def call() -> None:
        bench.fake.errors = {"nvmlDeviceGetMemoryInfo": pynvml.NVML_ERROR_GPU_IS_LOST}
        raise RuntimeError("CUDA error: unspecified launch failure")

    with pytest.raises(InputError, match="GPU was lost during the run"):
        bench.meter.measure(call, idle)


def test_an_error_of_the_model_itself_passes_through():
    bench = Bench()
    with pytest.raises(KeyError, match="planted"):
        bench.meter.measure(lambda: {}["planted"], bench.meter.idle())


def test_a_gpu_that_nvml_cannot_open_is_not_measured_and_runs_nothing():
    meter = make_meter("cuda:0", NotMeasured("NVML: Driver Not Loaded"), lambda: None)
    measured = meter.measure(lambda: pytest.fail("a pass was run for nothing"), meter.idle())
    assert measured == Measurement(*[NotMeasured("NVML: Driver Not Loaded")] * 2)


def test_the_counter_is_in_millijoules():
    bench = Bench()
    assert NvmlCounter(bench.gpu).read() == pytest.approx(5000.0)


# CPU


def rapl_zone(root: Path) -> Path:
    folder = root / "intel-rapl:0"
    folder.mkdir()
    (folder / "name").write_text("package-0")
    (folder / "energy_uj").write_text("0")
    (folder / "max_energy_range_uj").write_text(str(10**12))
    return folder / "energy_uj"


def test_a_cpu_is_measured_by_rapl_without_a_cross_check(tmp_path: Path):
    energy_uj, world = rapl_zone(tmp_path), World()

    def spend(seconds: float, watts: float) -> None:
        world.advance(seconds, watts)
        energy_uj.write_text(str(int(world.counted * 1e6)))

    made = make_meter("cpu", NotMeasured("no GPU: timed on the CPU"), lambda: None, tmp_path)
    made.counter.read()
    meter = Meter(
        made.counter, made.make_sampler, made.wait, world.clock, lambda seconds: spend(seconds, IDLE_W)
    )
    columns = energy_columns(meter.measure(lambda: spend(PASS_S, BUSY_W), meter.idle()), 1)
    assert columns["energy_j"] == pytest.approx((BUSY_W - IDLE_W) * PASS_S, rel=0.02)
    assert columns["energy_source"] == "rapl"
    assert columns["energy_disagreement_percent"] is None
    assert columns["energy_disagreement_reason"] == "no GPU: timed on the CPU"


def test_a_cpu_without_rapl_runs_nothing_and_says_why(tmp_path: Path):
    meter = make_meter("cpu", NotMeasured("no GPU: timed on the CPU"), lambda: None, tmp_path)
    measured = meter.measure(lambda: pytest.fail("a pass was run for nothing"), meter.idle())
    assert measured.energy == NotMeasured(
        "no GPU: timed on the CPU; RAPL: this machine shows no CPU package counters"
    )
    assert measured.sampler == NotMeasured("no GPU: timed on the CPU")


def test_a_gpu_without_a_counter_never_gets_the_cpus_energy(tmp_path: Path):
    rapl_zone(tmp_path)
    meter = make_meter("cuda:0", NotMeasured("NVML: Driver Not Loaded"), lambda: None, tmp_path)
    assert meter.counter == NotMeasured("NVML: Driver Not Loaded")
