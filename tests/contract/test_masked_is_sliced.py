"""Hard rule 1: a masked model and the model sliced by that mask compute the same logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qaprune.errors import InputError
from qaprune.gate.gates import masked
from qaprune.models.cost import encoder_flops, parameters
from qaprune.models.encoder import model_shape
from qaprune.prune.mask import Mask, full_mask
from qaprune.prune.slice import slice_model
from tests.conftest import make_model

TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


def random_mask(seed: int, layers: int = 3) -> Mask:
    """Fractional survivors, whole sub-layers closed now and then."""
    generator = np.random.default_rng(seed)

    def layer(width: int) -> np.ndarray:
        kept = generator.random(width) < generator.choice([0.0, 0.3, 0.7, 1.0])
        return (kept * generator.uniform(0.2, 1.0, width)).astype(np.float32)

    return Mask(tuple(layer(4) for _ in range(layers)), tuple(layer(24) for _ in range(layers)))


def inputs(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 60, (3, 17), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 11:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        output = model(**batch)
    return torch.stack([output.start_logits, output.end_logits])


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_masked_equals_sliced(architecture, dtype, attention, seed):
    model = make_model(architecture, seed, dtype)
    model.set_attn_implementation(attention)
    mask, batch = random_mask(seed), inputs(seed)
    with masked(model, mask):
        expected = logits(model, batch)
    found = logits(slice_model(model, mask), batch)
    assert (found - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_slicing_leaves_the_teacher_as_it_was(architecture):
    model = make_model(architecture)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    expected = logits(model, inputs())
    slice_model(model, random_mask(1))
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert torch.equal(logits(model, inputs()), expected)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_slice_of_a_slice_is_one_slice(architecture):
    model = make_model(architecture, dtype="float64")
    first = random_mask(3)
    once = slice_model(model, first)
    second = Mask(
        tuple((np.arange(width) % 2 == 0).astype(np.float32) for width in model_shape(once).heads),
        tuple((np.arange(width) % 3 > 0).astype(np.float32) for width in model_shape(once).ff),
    )
    both = [layer.copy() for layer in (*first.heads, *first.ff)]
    for layer, inner in zip(both, (*second.heads, *second.ff), strict=True):
        layer[np.flatnonzero(layer)] *= inner
    direct = slice_model(model, Mask(tuple(both[:3]), tuple(both[3:])))
    expected = logits(direct, inputs())
    assert torch.allclose(logits(slice_model(once, second), inputs()), expected, atol=1e-12)


def test_a_lost_bias_would_be_seen():
    """The planted fault that the random parameters are there for."""
    model = make_model("bert")
    mask = Mask(full_mask(model_shape(model)).heads, tuple(np.zeros(24, np.float32) for _ in range(3)))
    with masked(model, mask):
        expected = logits(model, inputs())
    sliced = slice_model(model, mask)
    torch.nn.init.zeros_(sliced.bert.encoder.layer[0].output.dense.bias)
    assert (logits(sliced, inputs()) - expected).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("seed", range(6))
def test_flops_and_parameters_follow_the_tensors(architecture, seed):
    model = make_model(architecture)
    mask = random_mask(seed)
    small = slice_model(model, mask)
    heads, ff = mask.widths()
    assert model_shape(small).heads == heads
    assert model_shape(small).ff == ff
    # Every matrix product of the encoder, counted by hooks on the real modules.
    counted = 0

    def count(module, args, _output):
        nonlocal counted
        counted += 2 * args[0].numel() * module.out_features

    handles = [m.register_forward_hook(count) for m in small.modules() if isinstance(m, torch.nn.Linear)]
    logits(small, {"input_ids": torch.ones(1, 20, dtype=torch.long)})
    for handle in handles:
        handle.remove()
    attention = 4 * 20 * 20 * model_shape(small).head_size * sum(heads)
    assert encoder_flops(model_shape(small), 20) == counted + attention
    removed_heads = 12 - sum(heads)
    removed_units = 72 - sum(ff)
    per_head, per_unit = 4 * 32 * 8 + 3 * 8, 2 * 32 + 1
    assert parameters(model) - parameters(small) == removed_heads * per_head + removed_units * per_unit


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"heads: expected widths \(4, 4, 4\)"):
        slice_model(make_model("bert"), Mask((np.ones(3, np.float32),) * 3, (np.ones(24, np.float32),) * 3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    mask = Mask((np.full(4, value, np.float32),) * 3, (np.ones(24, np.float32),) * 3)
    with pytest.raises(InputError, match="expected finite values"):
        slice_model(make_model("bert"), mask)
