"""Hard rule 2: a pruned checkpoint is a Hugging Face checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForQuestionAnswering

from qaprune.errors import InputError
from qaprune.models.checkpoint import write_variant
from qaprune.models.encoder import load_model
from qaprune.prune.mask import save_mask
from qaprune.prune.slice import slice_model
from qaprune.prune.stage import load_variant
from tests.conftest import closed_mask, make_model
from tests.contract.test_masked_is_sliced import inputs, logits, random_mask


@pytest.fixture(params=["bert", "roberta"])
def sliced(request):
    return slice_model(make_model(request.param), random_mask(10))


def test_round_trip_is_bit_identical(sliced, tmp_path):
    sliced.config.no_answer_threshold = -1.25
    sliced.save_pretrained(tmp_path)
    loaded, info = AutoModelForQuestionAnswering.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert type(loaded) is type(sliced)
    for name, weight in sliced.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]), name
    loaded.set_attn_implementation(sliced.config._attn_implementation)
    assert torch.equal(logits(loaded.eval(), inputs()), logits(sliced, inputs()))
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.no_answer_threshold == -1.25
    assert config.heads_per_layer == sliced.config.heads_per_layer


def test_only_safetensors_are_written(sliced, tmp_path):
    sliced.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    assert not [path for path in tmp_path.iterdir() if path.suffix in {".bin", ".pt", ".pkl"}]


@pytest.mark.parametrize(
    "imports",
    [
        "from transformers import AutoModelForQuestionAnswering as A; import qaprune",
        "import qaprune; from transformers import AutoModelForQuestionAnswering as A",
        "import qaprune.models.pruned; from transformers import AutoModelForQuestionAnswering as A",
    ],
)
def test_import_order_does_not_matter(sliced, tmp_path, imports):
    """In a fresh process, in any order that a user's script may have."""
    sliced.save_pretrained(tmp_path)
    code = f"{imports}; print(type(A.from_pretrained({str(tmp_path)!r})).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == type(sliced).__name__


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("heads_per_layer", [4, 4]),
        ("heads_per_layer", [4, 4, 5]),
        ("ff_per_layer", "wide"),
        ("ff_per_layer", [1, -1, 1]),
        ("hidden_width", 33),
        ("hidden_width", 0),
    ],
)
def test_a_config_that_no_slicing_made_is_refused(sliced, tmp_path, key, value):
    sliced.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(InputError, match=key):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("ff_per_layer", lambda ff: [ff[0] - 1, *ff[1:]]),
        ("ff_per_layer", lambda ff: [*ff[:-1], 1]),
        ("heads_per_layer", lambda heads: [0, *heads[1:]]),
        ("hidden_width", lambda width: width - 1),
    ],
)
def test_a_config_that_disagrees_with_its_weights_is_refused(sliced, tmp_path, key, change):
    sliced.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: change(config[key])}))
    with pytest.raises(InputError, match=r"cannot be loaded|config.json and weights disagree") as raised:
        load_model(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_cut_weights_file_is_refused(sliced, tmp_path):
    sliced.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_model(tmp_path)


def test_pickled_weights_are_refused(sliced, tmp_path):
    sliced.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="only safetensors"):
        load_model(tmp_path)


def test_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InputError, match="expected bert or roberta, got 'gpt2'"):
        load_model(tmp_path)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_pruned_model_trains_in_bfloat16(sliced, attention):
    sliced.set_attn_implementation(attention)
    with torch.autocast("cpu", torch.bfloat16):
        output = sliced.train()(**inputs())
    (output.start_logits.float().sum() + output.end_logits.float().sum()).backward()
    assert all(
        weight.grad is not None for name, weight in sliced.named_parameters() if "qa_outputs" in name
    )


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_pruned_model_compiles(architecture):
    model = slice_model(make_model(architecture), closed_mask())
    expected = logits(model, inputs())
    found = logits(torch.compile(model, dynamic=False), inputs())
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_pruned_model_comes_back_from_teacher_and_mask(tmp_path):
    """Pruned weights need not be kept: bit for bit the same model is cut from what stays."""
    teacher = make_model("roberta")
    teacher.save_pretrained(tmp_path / "teacher")
    masks = [random_mask(seed) for seed in (10, 5)]
    point = tmp_path / "point"
    for draw, mask in enumerate(masks):
        folder = point / "draws" / str(draw) if draw else point
        folder.mkdir(parents=True)
        (point / "masks").mkdir(exist_ok=True)
        save_mask(point / "masks" / f"{draw}.safetensors", mask, {})
        write_variant(folder, {"variant": "pruned", "draw": draw})
        again = load_variant(folder, tmp_path / "teacher", teacher.config._attn_implementation)
        assert torch.equal(logits(again, inputs()), logits(slice_model(teacher, mask), inputs()))
    teacher.config.save_pretrained(point)
    write_variant(point, {"variant": "retrained", "draw": 0})
    with pytest.raises(InputError, match=r"no model.safetensors"):
        load_variant(point, tmp_path / "teacher", "eager")
