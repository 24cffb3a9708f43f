"""Hard rule 1: a masked model and the model sliced by that mask compute the same logits.

And what else holds of every slice, over random architectures and random masks of all gated kinds.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qaprune.errors import InputError
from qaprune.gate.gates import masked
from qaprune.models.cost import encoder_flops, kept_shares, parameters
from qaprune.models.encoder import EncoderShape, hidden_norms, load_model, model_shape
from qaprune.prune.mask import Mask, full_mask
from qaprune.prune.slice import slice_model
from tests.conftest import make_model

TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


SHAPE = EncoderShape(hidden=32, head_size=8, heads=(4, 4, 4), ff=(24, 24, 24))


def random_mask(seed: int, shape: EncoderShape = SHAPE) -> Mask:
    """Fractional survivors, some sub-layers closed as a whole; every other mask cuts the hidden width."""
    generator = np.random.default_rng(seed)

    def layer(width: int) -> np.ndarray:
        kept = generator.random(width) < generator.choice([0.0, 0.3, 0.7, 1.0])
        return (kept * generator.uniform(0.2, 1.0, width)).astype(np.float32)

    heads, ff = (tuple(layer(width) for width in widths) for widths in (shape.heads, shape.ff))
    if seed % 2:
        return Mask(heads, ff)
    width = shape.hidden
    hidden = generator.uniform(0.2, 1.0, width) * (
        generator.random(width) < generator.choice([0.1, 0.6, 1.0])
    )
    hidden[generator.integers(width)] = 1
    return Mask(heads, ff, hidden.astype(np.float32))


def random_model(seed: int, dtype: str = "float32") -> torch.nn.Module:
    """An encoder of random widths and depth, every parameter random."""
    generator = np.random.default_rng(seed)
    heads, size = int(generator.integers(1, 6)), int(generator.integers(2, 9))
    return make_model(
        ["bert", "roberta"][seed // 2 % 2],
        seed,
        dtype,
        types=5 * (seed // 4 % 2),
        layers=int(generator.integers(1, 4)),
        hidden_size=heads * size,
        num_attention_heads=heads,
        intermediate_size=int(generator.integers(1, 30)),
    )


ANY = given(seed=st.integers(0, 10_000))
FEW = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def inputs(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 60, (3, 17), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 11:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """All that a model puts out, in one row."""
    with torch.no_grad():
        output = model(**batch)
    types = getattr(output, "answer_type_logits", None)
    found = [output.start_logits, output.end_logits] + [types] * (types is not None)
    return torch.cat([side.flatten() for side in found])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@settings(FEW, max_examples=24)
@ANY
def test_masked_equals_sliced(dtype, attention, seed):
    model = random_model(seed, dtype)
    model.set_attn_implementation(attention)
    mask, batch = random_mask(seed, model_shape(model)), inputs(seed)
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


@FEW
@ANY
def test_a_slice_of_a_slice_is_one_slice(seed):
    model = random_model(seed, "float64")
    first = random_mask(seed, model_shape(model))
    once = slice_model(model, first)
    second = random_mask(seed + 7, model_shape(once))
    both = [layer.astype(np.float64) for layer in (*first.heads, *first.ff)]
    for layer, inner in zip(both, (*second.heads, *second.ff), strict=True):
        layer[np.flatnonzero(layer)] *= inner
    hidden = np.ones(model_shape(model).hidden) if first.hidden is None else first.hidden.astype(float)
    if second.hidden is not None:
        hidden[np.flatnonzero(hidden)] *= second.hidden
    layers = model_shape(model).layers
    direct = slice_model(model, Mask(tuple(both[:layers]), tuple(both[layers:]), hidden))
    assert model_shape(direct) == model_shape(slice_model(once, second))
    expected = logits(direct, inputs())
    assert torch.allclose(logits(slice_model(once, second), inputs()), expected, rtol=1e-9, atol=1e-9)


@FEW
@ANY
def test_a_slice_comes_back_from_disk_bit_for_bit(seed, tmp_path_factory):
    model = random_model(seed)
    small = slice_model(model, random_mask(seed, model_shape(model)))
    folder = tmp_path_factory.mktemp("slice")
    small.save_pretrained(folder)
    loaded = load_model(folder, small.config._attn_implementation).eval()
    assert model_shape(loaded) == model_shape(small)
    weights = loaded.state_dict()
    assert weights.keys() == small.state_dict().keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in small.state_dict().items())
    # At odd widths a product's last bits hang on where its memory starts.
    expected = logits(small, inputs())
    assert (logits(loaded, inputs()) - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_a_lost_bias_would_be_seen():
    """The planted fault that the random parameters are there for."""
    model = make_model("bert")
    mask = Mask(full_mask(model_shape(model)).heads, tuple(np.zeros(24, np.float32) for _ in range(3)))
    with masked(model, mask):
        expected = logits(model, inputs())
    sliced = slice_model(model, mask)
    torch.nn.init.zeros_(sliced.bert.encoder.layer[0].output.dense.bias)
    assert (logits(sliced, inputs()) - expected).abs().max() > 1e-2 * expected.abs().max()


@FEW
@ANY
def test_flops_and_parameters_follow_the_tensors(seed):
    model = random_model(seed)
    full = model_shape(model)
    mask = random_mask(seed, full)
    small = slice_model(model, mask)
    shape = model_shape(small)
    assert (shape.heads, shape.ff) == mask.widths()
    assert shape.hidden == (full.hidden if mask.hidden is None else np.count_nonzero(mask.hidden))
    # Every matrix product of the encoder, counted by hooks on the real modules.
    counted = 0

    def count(module, args, _output):
        nonlocal counted
        counted += 2 * args[0].numel() * module.out_features

    products = [
        module
        for name, module in small.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "answer_type_outputs"
    ]
    handles = [module.register_forward_hook(count) for module in products]
    logits(small, {"input_ids": torch.ones(1, 20, dtype=torch.long)})
    for handle in handles:
        handle.remove()
    attention = 4 * 20 * 20 * shape.head_size * sum(shape.heads)
    assert encoder_flops(shape, 20) == counted + attention
    assert parameters(small) == parameters_of(shape, model.config.to_dict())
    kept = kept_shares(shape, small.config.to_dict())
    assert kept["hidden_kept"] == pytest.approx(100 * shape.hidden / full.hidden, abs=1e-3)
    assert kept["heads_kept"] == pytest.approx(100 * sum(shape.heads) / sum(full.heads), abs=1e-3)


def parameters_of(shape: EncoderShape, config: dict) -> int:
    """Written down from the architecture: tables, three LayerNorms' kinds, projections, output heads."""
    tables = config["vocab_size"] + config["max_position_embeddings"] + config["type_vocab_size"]
    width, total = shape.hidden, shape.hidden * (tables + 2)
    for heads, units in zip(shape.heads, shape.ff, strict=True):
        inner = heads * shape.head_size
        total += 3 * inner * (width + 1) + width * (inner + 1) + 2 * width
        total += units * (width + 1) + width * (units + 1) + 2 * width
    return total + (2 + config.get("answer_types", 0)) * (width + 1)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"heads: expected widths \(4, 4, 4\)"):
        slice_model(make_model("bert"), Mask((np.ones(3, np.float32),) * 3, (np.ones(24, np.float32),) * 3))


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (np.ones(31, np.float32), r"hidden: expected 32 dimensions, got shape \[31\]"),
        (np.full(32, np.nan, np.float32), "hidden: expected finite values"),
        (np.zeros(32, np.float32), "hidden: expected one open dimension at least"),
    ],
)
def test_a_hidden_mask_that_fits_nothing_is_refused(hidden, message):
    full = full_mask(SHAPE)
    with pytest.raises(InputError, match=message):
        slice_model(make_model("bert"), Mask(full.heads, full.ff, hidden))


def test_statistics_over_closed_dimensions_would_be_seen():
    """The planted fault that hard rule 1 names: LayerNorms that still count what was cut."""
    model, full = make_model("bert"), full_mask(SHAPE)
    mask = Mask(full.heads, full.ff, (np.arange(32) % 3 > 0).astype(np.float32))
    with masked(model, mask):
        expected = logits(model, inputs())
    closed = torch.from_numpy(mask.hidden)
    handles = [norm.register_forward_hook(lambda _m, _i, out: out * closed) for norm in hidden_norms(model)]
    wrong = logits(model, inputs())
    for handle in handles:
        handle.remove()
    assert (wrong - expected).abs().max() > 1e-2 * expected.abs().max()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    mask = Mask((np.full(4, value, np.float32),) * 3, (np.ones(24, np.float32),) * 3)
    with pytest.raises(InputError, match="expected finite values"):
        slice_model(make_model("bert"), mask)
