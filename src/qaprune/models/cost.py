"""What a model costs without running it: multiply-adds and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qaprune.models.encoder import EncoderShape

if TYPE_CHECKING:
    from torch import nn


def head_flops(shape: EncoderShape, length: int) -> int:
    """FLOPs (2 x multiply-adds) of one attention head on a window of `length` tokens.

    Query, key, value and output projections, then scores and their use: 8 n h d + 4 n^2 d.
    """
    return 8 * length * shape.hidden * shape.head_size + 4 * length * length * shape.head_size


def unit_flops(shape: EncoderShape, length: int) -> int:
    """FLOPs of one feed-forward unit on a window of `length` tokens: one row in, one column out."""
    return 4 * length * shape.hidden


def encoder_flops(shape: EncoderShape, length: int) -> int:
    """FLOPs of all matrix products of the encoder and the span head on one window.

    Left out, as is usual: embeddings, LayerNorm, softmax, activations, biases; and the head for answer
    types, which reads a single token.
    """
    layers = sum(shape.heads) * head_flops(shape, length) + sum(shape.ff) * unit_flops(shape, length)
    return layers + 4 * length * shape.hidden


def parameters(model: nn.Module) -> int:
    """Number of parameters, embeddings included."""
    return sum(weight.numel() for weight in model.parameters())


def parameters_of_config(config: dict[str, Any]) -> int:
    """The same of an unpruned model with a span head, by its `config.json` alone.

    The LayerNorm behind each part and behind the embeddings has two vectors; there is no pooler.
    """
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    rows = config["vocab_size"] + config["max_position_embeddings"] + config["type_vocab_size"]
    attention = 4 * hidden * (hidden + 1) + 2 * hidden
    ff = intermediate * (2 * hidden + 1) + hidden + 2 * hidden
    return (rows + 2) * hidden + config["num_hidden_layers"] * (attention + ff) + 2 * (hidden + 1)


def kept_shares(shape: EncoderShape, config: dict[str, Any]) -> dict[str, float]:
    """Per cent of the unpruned model's heads, feed-forward units and hidden width that are left."""
    layers = config["num_hidden_layers"]
    return {
        "heads_kept": round(100 * sum(shape.heads) / (layers * config["num_attention_heads"]), 3),
        "ff_kept": round(100 * sum(shape.ff) / (layers * config["intermediate_size"]), 3),
        "hidden_kept": round(100 * shape.hidden / config["hidden_size"], 3),
    }
