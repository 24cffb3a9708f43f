"""The training loop on a real GPU: bfloat16, the same bits again, memory that runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from qaprune.train.checkpoints import SECONDS, Checkpoints
from qaprune.train.compute import start
from qaprune.train.loop import Job, fit
from qaprune.train.objectives import Finetune
from tests.conftest import make_features, make_model

pytestmark = pytest.mark.gpu

COMPUTE = {"device": "cuda", "dtype": "auto", "attention": "auto", "threads": 1}
SETTINGS = {"epochs": 10, "lr": 1e-3, "warmup": 0.1, "batch_tokens": 256, "weight_decay": 0.01, "clip": 1.0}


def trained(folder, checkpoints=None, **compute) -> dict[str, torch.Tensor]:
    model = make_model("bert", scale=0.1)
    chosen = start(COMPUTE | compute, 3)
    job = Job(make_features(), 3, chosen, folder / "log", "t", checkpoints=checkpoints)
    fit(model, job, SETTINGS)
    return model.to("cpu").state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_training_repeats_bit_for_bit(device, tmp_path):
    assert same(trained(tmp_path), trained(tmp_path))


def test_attention_over_long_windows_repeats_bit_for_bit(device):
    """Few heads and many keys: there the fused kernel shares one sum among blocks, unless told not to."""
    start(COMPUTE, 3)
    query, key, value = torch.randn(3, 2, 4, 2048, 64, device=device, dtype=torch.bfloat16)
    mask = torch.arange(2048, device=device) < 2000
    found = []
    for _ in range(20):
        inputs = [part.clone().requires_grad_() for part in (query, key, value)]
        output = functional.scaled_dot_product_attention(*inputs, attn_mask=mask[None, None, None])
        found.append(torch.stack(torch.autograd.grad(output.float().square().sum(), inputs)))
    assert all(torch.equal(gradients, found[0]) for gradients in found)


def test_a_killed_run_ends_with_the_same_bits(device, tmp_path, monkeypatch):
    monkeypatch.setenv(SECONDS, "0")
    whole = trained(tmp_path)
    step = Finetune.end

    def dies(self, calls=[]):  # noqa: B006  counts over calls
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Finetune, "end", dies)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, Checkpoints(tmp_path / "c", {}))
    monkeypatch.setattr(Finetune, "end", step)
    assert same(trained(tmp_path, Checkpoints(tmp_path / "c", {})), whole)


def test_memory_that_runs_out_halves_the_passes(device, tmp_path):
    """For real: the process may take so much that one pass over the whole batch does not fit."""
    model = make_model("bert", scale=0.1, hidden_size=1024, intermediate_size=8192, layers=8).to(device)
    features = make_features(windows=2000)
    settings = SETTINGS | {"steps": 3, "batch_tokens": 64_000}
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    weights = 4 * 4 * sum(parameter.numel() for parameter in model.parameters())
    torch.cuda.set_per_process_memory_fraction(min(1.0, (weights + 2**30) / total))
    try:
        result = fit(model, Job(features, 3, start(COMPUTE, 3), tmp_path / "log", "t"), settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert result.steps == 3
    assert np.isfinite(result.loss)


def test_compiled_training_learns(device, tmp_path):
    weights = trained(tmp_path, compile="default")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
