"""The from-scratch encoders are real BERT and RoBERTa folders."""

import json

import pytest

from qaprune.data.scratch import build_encoder
from qaprune.errors import InputError

SHAPE = {"vocab_size": 600, "layers": 2, "hidden": 32, "heads": 4, "intermediate": 64, "max_positions": 96}
TEXTS = [
    f"The Vorin Bridge was designed by Dorel Vantik in {year} . Who designed the Vorin Bridge?"
    for year in range(1700, 1900)
]
QUESTION, CONTEXT = "Who designed it?", "Dorel Vantik did in 1802 ."


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    for architecture in ("bert", "roberta"):
        build_encoder(architecture, TEXTS, root / architecture, seed=3, **SHAPE)
    return root


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_folder_loads_through_the_auto_classes(encoders, architecture):
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoders / architecture)
    model = AutoModelForQuestionAnswering.from_pretrained(encoders / architecture).eval()
    assert (
        type(model).__name__
        == {"bert": "Bert", "roberta": "Roberta"}[architecture] + "ForQuestionAnswering"
    )
    assert type(tokenizer).__name__.startswith({"bert": "Bert", "roberta": "Roberta"}[architecture])
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.model_max_length == SHAPE["max_positions"]
    full = tokenizer(
        QUESTION,
        CONTEXT * 50,
        truncation="only_second",
        max_length=SHAPE["max_positions"],
        return_tensors="pt",
    )
    assert full["input_ids"].shape == (1, SHAPE["max_positions"])
    assert torch.isfinite(model(**full).start_logits).all()


def test_bert_pairs_are_lower_cased_with_segments(encoders):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoders / "bert")
    encoding = tokenizer(QUESTION, CONTEXT)
    ids, first_sep = encoding["input_ids"], encoding["input_ids"].index(tokenizer.sep_token_id)
    assert ids[0] == tokenizer.cls_token_id
    assert ids[-1] == tokenizer.sep_token_id
    assert ids.count(tokenizer.sep_token_id) == 2
    assert encoding["token_type_ids"] == [0] * (first_sep + 1) + [1] * (len(ids) - first_sep - 1)
    assert tokenizer.tokenize("VORIN Bridge") == tokenizer.tokenize("vorin bridge")
    assert tokenizer.pad_token_id == 0


def test_roberta_pairs_have_two_separators_and_no_segments(encoders):
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoders / "roberta")
    config = AutoConfig.from_pretrained(encoders / "roberta")
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(QUESTION, CONTEXT)["input_ids"])
    assert "token_type_ids" not in tokenizer(QUESTION, CONTEXT)
    assert tokens[0] == "<s>"
    assert tokens[-1] == "</s>"
    assert "".join(tokens).count("</s></s>") == 1
    assert tokenizer.pad_token_id == config.pad_token_id == 1
    assert config.max_position_embeddings == SHAPE["max_positions"] + 2
    assert config.type_vocab_size == 1
    text = "Ünseen Wörd — 漢字"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_same_seed_gives_the_same_bytes_and_another_seed_other_weights(encoders, architecture, tmp_path):
    import torch

    state = torch.get_rng_state()
    build_encoder(architecture, TEXTS, tmp_path / "same", seed=3, **SHAPE)
    build_encoder(architecture, TEXTS, tmp_path / "other", seed=4, **SHAPE)
    assert torch.equal(state, torch.get_rng_state())
    for name in ("model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"):
        assert (tmp_path / "same" / name).read_bytes() == (encoders / architecture / name).read_bytes()
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("same", "other")]
    assert weights[0] != weights[1]


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_the_embedded_encoders_stay_under_two_million_parameters(encoders, architecture, tmp_path):
    from safetensors.numpy import load_file

    from qaprune.config import DEFAULT, read_yaml

    shape = read_yaml(DEFAULT)["models"][architecture]["source"]["scratch"]
    build_encoder(architecture, TEXTS, tmp_path, 0, **shape)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == architecture
    unused = (shape["vocab_size"] - config["vocab_size"]) * shape["hidden"]
    assert sum(w.size for w in load_file(tmp_path / "model.safetensors").values()) + unused <= 2_000_000


@pytest.mark.parametrize(
    ("change", "named"),
    [({"architecture": "gpt2"}, "architecture"), ({"heads": 5}, "heads"), ({"texts": [" "]}, "texts")],
)
def test_bad_input_is_named(tmp_path, change, named):
    arguments = {"architecture": "bert", "texts": TEXTS, "out": tmp_path, "seed": 0, **SHAPE} | change
    with pytest.raises(InputError, match=named):
        build_encoder(**arguments)
