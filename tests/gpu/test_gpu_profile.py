"""The profile stage on a real GPU: NVML, CUDA events, bfloat16, attention kernels, CUDA graphs, memory."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from qaprune.profile.environment import capture
from qaprune.profile.models import Fleet, Untrained
from qaprune.profile.nvml import Gpu, open_gpu
from qaprune.profile.power import make_meter
from qaprune.profile.settings import Setting
from qaprune.profile.stage import profile_run
from qaprune.profile.timers import make_stopwatch
from tests.unit.profile_data import SPEC, tiny_features

pytestmark = pytest.mark.gpu

SHAPE = {
    "vocab_size": 1000,
    "hidden_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}
CUDA = {
    "device": "cuda",
    "dtype": ["auto"],
    "backend": ["sdpa"],
    "cells": [{"batch": 32, "length": 384}],
    "rounds": 20,
    "warmup": {"least": 5, "most": 50, "cv_percent": 2},
    "foreign_processes": "mark",
    "untrained": {"criterion": "uniform", "budgets": ["h50-f50"]},
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of half a bert-base."""
    from transformers import BertConfig

    folder = tmp_path_factory.mktemp("encoder")
    BertConfig(**SHAPE).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from qaprune.data.features import save_features

    path = tmp_path_factory.mktemp("features") / "dev.safetensors"
    save_features(path, tiny_features())
    return path


def run(spec: dict, encoder: Path, features: Path, out: Path) -> list[dict]:
    """The cells of a profile of untrained models."""
    profile_run(SPEC | CUDA | spec, {}, features, out, lambda line: None, encoder=encoder)
    return json.loads((out / "cells.json").read_text())["cells"]


def fleet_of(encoder: Path, device: str) -> Fleet:
    untrained = Untrained(encoder, "uniform", ("h50-f50",), 3, "sdpa", 384)
    return Fleet(untrained.loaders(device), device, ["bfloat16"])


def test_events_and_wall_clock_time_the_same_work(device: str):
    import torch

    stopwatch = make_stopwatch(device)
    cycles = 20_000_000
    short, long = (
        statistics.median(stopwatch.measure(lambda n=n: torch.cuda._sleep(n))[1] for _ in range(9))
        for n in (cycles, 2 * cycles)
    )
    assert long / short == pytest.approx(2, rel=0.05)
    wall, on_device = stopwatch.measure(lambda: torch.cuda._sleep(cycles))
    assert 0 < on_device <= wall


def test_nvml_shows_the_device_that_torch_computes_on(device: str):
    with open_gpu(device) as gpu:
        assert isinstance(gpu, Gpu), gpu
        name = gpu.ask("nvmlDeviceGetName", gpu.card)
    environment = capture(device)
    assert (name.decode() if isinstance(name, bytes) else name) == environment["gpu"]
    assert environment["driver"]
    assert environment["cuda"]


def test_energy_above_idle_is_measured_or_says_why(device: str):
    import torch

    matrix = torch.randn(4096, 4096, device=device, dtype=torch.bfloat16)
    stopwatch = make_stopwatch(device)
    with open_gpu(device) as gpu:
        meter = make_meter(device, gpu, stopwatch.wait)
        measured = meter.measure(lambda: matrix @ matrix, meter.idle())
    if hasattr(measured.energy, "reason"):
        pytest.skip(f"energy not measured: {measured.energy.reason}")
    assert measured.energy.gross_j > measured.energy.net_j > 0
    assert abs(measured.energy.disagreement_percent) < 25
    assert measured.sampler["sm_clock_mhz"]["mean"] > 0


def test_a_smaller_model_is_faster_in_bfloat16(encoder: Path, features: Path, tmp_path: Path):
    cells = run({}, encoder, features, tmp_path)
    assert {cell["dtype"] for cell in cells} == {"bfloat16"}, "auto is bfloat16 on a GPU that has it"
    assert all(cell["not_measured"] is None and cell["warmup_steady"] is not None for cell in cells)
    from qaprune.report.timings import read_timings

    timings = read_timings(tmp_path)
    medians = {name: statistics.median(rounds.values()) for (_, name), rounds in timings.seconds.items()}
    assert medians["uniform-h50-f50/pruned"] < medians["teacher"]
    for key, on_device in timings.device_seconds.items():
        assert statistics.median(on_device) <= statistics.median(timings.seconds[key].values())


def test_memory_holds_weights_and_what_a_pass_allocates(encoder: Path, features: Path, tmp_path: Path):
    teacher, smaller = run({}, encoder, features, tmp_path)
    weights = fleet_of(encoder, "cuda:0").model("teacher", Setting(32, 384, "bfloat16", "sdpa", "off"))
    least = sum(tensor.numel() * tensor.element_size() for tensor in weights.parameters()) / 2**20
    assert least < teacher["peak_memory_mb"] < 20 * least
    assert smaller["peak_memory_mb"] < teacher["peak_memory_mb"]


def test_what_does_not_fit_says_so(encoder: Path, features: Path, tmp_path: Path):
    import torch

    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1.5 * 2**30) / total)
    try:
        cells = run(
            {"cells": [{"batch": 4096, "length": 512}, {"batch": 1, "length": 128}]},
            encoder,
            features,
            tmp_path,
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    found = {cell["batch"]: cell["not_measured"] for cell in cells if cell["variant"] == "teacher"}
    assert found == {4096: "does not fit: out of memory", 1: None}


@pytest.mark.parametrize("backend", ["eager", "flash_attention_2"])
def test_attention_backends_agree(encoder: Path, features: Path, tmp_path: Path, backend: str):
    cells = run({"backend": ["sdpa", backend]}, encoder, features, tmp_path)
    other = [cell for cell in cells if cell["backend"] == backend]
    if all(cell["not_measured"] for cell in other):
        pytest.skip(other[0]["not_measured"])
    assert max(cell["logit_difference_percent"] for cell in other) < 5


def test_torchs_flash_kernel_takes_full_windows(encoder: Path, device: str):
    """SDPA can only use it where no mask is passed: windows without padding."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    setting = Setting(4, 384, "bfloat16", "sdpa", "off")
    model = fleet_of(encoder, device).model("uniform-h50-f50/pruned", setting)
    ids = torch.randint(1000, (4, 384), device=device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.inference_mode():
        wanted = model(**inputs).start_logits
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
            found = model(**inputs).start_logits
    assert (found - wanted).abs().max() <= 0.05 * wanted.abs().max()


@pytest.mark.slow
def test_cuda_graphs_compute_the_same_and_help_at_batch_1(encoder: Path, features: Path, tmp_path: Path):
    spec = {"compile": ["off", "max-autotune"], "cells": [{"batch": 1, "length": 128}]}
    cells = run(spec, encoder, features, tmp_path)
    assert [cell["not_measured"] for cell in cells] == [None] * 4
    assert max(cell["logit_difference_percent"] for cell in cells) < 5
    from qaprune.report.timings import read_timings

    medians = {
        (name, setting.compile): statistics.median(rounds.values())
        for (setting, name), rounds in read_timings(tmp_path).seconds.items()
    }
    assert medians["teacher", "max-autotune"] < medians["teacher", "off"], (
        "launches cost more than work here"
    )
