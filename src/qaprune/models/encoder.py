"""The one place that knows where BERT and RoBERTa keep their parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qaprune.errors import InputError
from qaprune.jsonfile import expect, field, read_json

if TYPE_CHECKING:
    from torch import nn

ARCHITECTURES = ("bert", "roberta")
WEIGHTS = "model.safetensors"
SIZES = (
    *("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"),
    *("vocab_size", "max_position_embeddings", "type_vocab_size"),
)
"""Of a checkpoint's `config.json`: whole numbers, where they are given."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class EncoderShape:
    """Widths of an encoder: `heads[i]` heads of `head_size` and `ff[i]` feed-forward units in layer i;
    `hidden` dimensions in the residual stream."""

    hidden: int
    head_size: int
    heads: tuple[int, ...]
    ff: tuple[int, ...]

    @property
    def layers(self) -> int:
        return len(self.heads)


def shape_of_config(config: dict[str, Any]) -> EncoderShape:
    """The shape that a checkpoint's `config.json` (stock or pruned) describes."""
    layers = config["num_hidden_layers"]
    return EncoderShape(
        hidden=config.get("hidden_width") or config["hidden_size"],
        head_size=config["hidden_size"] // config["num_attention_heads"],
        heads=tuple(config.get("heads_per_layer") or [config["num_attention_heads"]] * layers),
        ff=tuple(config.get("ff_per_layer") or [config["intermediate_size"]] * layers),
    )


def read_config(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's `config.json`, checked to be an architecture of this project."""
    path = checkpoint / "config.json"
    config = expect(read_json(path), dict, str(path))
    model_type = config.get("model_type")
    if architecture_of(model_type) not in ARCHITECTURES:
        raise InputError(f"{path}: model_type: expected bert or roberta, got {model_type!r}")
    for key in SIZES:
        if key in config:
            field(config, key, int, str(path))
    return config


def architecture_of(model_type: str | None) -> str:
    """`bert` or `roberta` for stock and pruned model types, the type itself for any other."""
    return str(model_type).removeprefix("pruned_")


def longest_input(config: dict[str, Any]) -> int:
    """Tokens that a checkpoint has positions for; RoBERTa's start behind the padding id."""
    behind = 2 if architecture_of(config["model_type"]) == "roberta" else 0
    return config["max_position_embeddings"] - behind


def encoder_layers(model: nn.Module) -> nn.ModuleList:
    """The transformer layers of a question-answering model."""
    return getattr(model, model.base_model_prefix).encoder.layer


def head_output(layer: nn.Module) -> nn.Module:
    """The projection whose input holds the heads' outputs side by side, `head_size` columns each."""
    return layer.attention.output.dense


def ff_output(layer: nn.Module) -> nn.Module:
    """The projection whose input holds one column for each feed-forward unit."""
    return layer.output.dense


def hidden_norms(model: nn.Module) -> list[nn.Module]:
    """Every LayerNorm from the embeddings up: what they put out is all that a later part reads."""
    norms = [getattr(model, model.base_model_prefix).embeddings.LayerNorm]
    for layer in encoder_layers(model):
        norms += [layer.attention.output.LayerNorm, layer.output.LayerNorm]
    return norms


def hidden_readers(model: nn.Module) -> list[list[nn.Module]]:
    """The matrices behind each of `hidden_norms`, which read what it puts out; the residual path aside."""
    readers = []
    for layer in encoder_layers(model):
        attention = layer.attention.self
        readers += [[attention.query, attention.key, attention.value], [layer.intermediate.dense]]
    return [*readers, list(heads_of(model).values())]


def heads_of(model: nn.Module) -> dict[str, nn.Module]:
    """The projections that read the encoder's output: spans, and answer types where the model has them."""
    found = {"spans": model.qa_outputs}
    if getattr(model, "answer_type_outputs", None) is not None:
        found["types"] = model.answer_type_outputs
    return found


_HIDDEN_AXES = {
    0: ("LayerNorm.weight", "LayerNorm.bias", "output.dense.weight", "output.dense.bias"),
    1: (
        "_embeddings.weight",
        *("query.weight", "key.weight", "value.weight", "intermediate.dense.weight"),
        *("qa_outputs.weight", "answer_type_outputs.weight"),
    ),
}


def hidden_axis(name: str) -> int | None:
    """Which axis of a model's tensor of that name runs over the hidden width."""
    return next((axis for axis, suffixes in _HIDDEN_AXES.items() if name.endswith(suffixes)), None)


def require_whole(checkpoint: Path) -> None:
    """Refuse a checkpoint that is cut already: masks, costs and budgets are those of whole models."""
    config = read_config(checkpoint)
    stock = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
    if shape_of_config(config) != shape_of_config({key: config[key] for key in stock}):
        raise InputError(
            f"{checkpoint}: pruned already (heads_per_layer, ff_per_layer or hidden_width in its config); "
            "expected a whole model"
        )


def require_weights(checkpoint: Path) -> None:
    """Refuse a folder without safetensors weights."""
    if not (checkpoint / WEIGHTS).exists():
        raise InputError(f"{checkpoint}: no {WEIGHTS}; only safetensors weights are read")


def require_span_head(checkpoint: Path) -> None:
    """Refuse a checkpoint whose weights are not there, not whole, or lack the span head.

    A missing head would be initialised at random.
    """
    from safetensors import SafetensorError, safe_open

    require_weights(checkpoint)
    try:
        with safe_open(checkpoint / WEIGHTS, "numpy") as file:
            names = set(file.keys())
    except SafetensorError as error:
        raise InputError(
            f"{checkpoint / WEIGHTS}: not a safetensors file, or cut short ({error})"
        ) from None
    if "qa_outputs.weight" not in names:
        raise InputError(f"{checkpoint}: no span head (qa_outputs); expected a question-answering model")


def load_model(checkpoint: Path, attention: str = "eager", dropout: float | None = None) -> nn.Module:
    """Load a question-answering checkpoint in float32; an encoder's missing span head is initialised.

    Weights come from safetensors only; none that the config asks for may be missing. `dropout` replaces the
    checkpoint's own probabilities.
    """
    import torch
    from transformers import AutoModelForQuestionAnswering
    from transformers.utils import logging

    import qaprune  # noqa: F401  registers the pruned classes

    read_config(checkpoint)
    require_weights(checkpoint)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    changes = (
        {}
        if dropout is None
        else {
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        }
    )
    try:
        model, found = AutoModelForQuestionAnswering.from_pretrained(
            checkpoint,
            attn_implementation=attention,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **changes,
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(
            f"{checkpoint}: cannot be loaded as a question-answering model: {reason}"
        ) from error
    _check_loaded(checkpoint, model, found)
    return model


def _check_loaded(checkpoint: Path, model: nn.Module, found: dict[str, Any]) -> None:
    """Refuse weights that are not those of the config: missing ones would be random, others ignored."""
    pruned = str(model.config.model_type).startswith("pruned_")
    missing = [name for name in found["missing_keys"] if pruned or not name.startswith("qa_outputs.")]
    if missing:
        raise InputError(f"{checkpoint}: config.json and weights disagree: no {sorted(missing)[0]}")
    # A stock encoder brings what it was pretrained with, such as a pooler.
    if pruned and found["unexpected_keys"]:
        name = sorted(found["unexpected_keys"])[0]
        raise InputError(f"{checkpoint}: config.json and weights disagree: {name} has no place")


def model_shape(model: nn.Module) -> EncoderShape:
    """The shape of a loaded model."""
    return shape_of_config(model.config.to_dict())
