"""Building a pruned-class model after another one: of other widths, or with another head."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_KINDS = {"bert": "Bert", "roberta": "Roberta"}
EMBEDDING_STD = 0.02


def empty_like(model: nn.Module, **fields: Any) -> nn.Module:
    """A model of the pruned class with `model`'s config but for these fields of it.

    On the meta device: every weight is to be put in place, none needs an initial value.
    """
    from qaprune.models import pruned, pruned_config

    kind = _KINDS[model.base_model_prefix]
    stock = model.config.to_dict()
    for key in ("model_type", "architectures", "auto_map"):
        stock.pop(key, None)
    config = getattr(pruned_config, f"Pruned{kind}Config")(**stock | fields)
    config._attn_implementation = model.config._attn_implementation
    with torch.device("meta"):
        return getattr(pruned, f"Pruned{kind}ForQuestionAnswering")(config)


def put_in_place(empty: nn.Module, weights: dict[str, torch.Tensor], model: nn.Module) -> nn.Module:
    """Give an empty model these weights, and what is in no state dict (position ids) from `model`."""
    empty.load_state_dict(weights, assign=True)
    buffers = dict(model.named_buffers())
    for name, buffer in empty.named_buffers():
        if buffer.is_meta:
            owner = empty.get_submodule(name.rpartition(".")[0])
            owner.register_buffer(name.rpartition(".")[2], buffers[name].clone(), persistent=False)
    return empty.train(model.training)


def with_answer_types(model: nn.Module, types: int, vocabulary: int, seed: int) -> nn.Module:
    """The model with a head for `types` answer types and at least `vocabulary` word embeddings.

    A model that has the head is only given the rows. New ones start at the mean of the others, a little
    apart; the head starts as a fresh span head does. Both are drawn by seed.
    """
    generator = torch.Generator().manual_seed(seed)
    if getattr(model.config, "answer_types", 0) != types:
        empty = empty_like(model, answer_types=types)
        width = empty.answer_type_outputs.in_features
        head = torch.empty(types, width).normal_(0.0, model.config.initializer_range, generator=generator)
        weights = model.state_dict() | {
            "answer_type_outputs.weight": head.to(model.dtype),
            "answer_type_outputs.bias": torch.zeros(types, dtype=model.dtype),
        }
        model = put_in_place(empty, weights, model)
    embeddings = model.get_input_embeddings()
    more = vocabulary - embeddings.num_embeddings
    if more > 0:
        rows = embeddings.weight.detach()
        new = rows.mean(0) + EMBEDDING_STD * torch.randn(more, rows.shape[1], generator=generator)
        embeddings.weight = nn.Parameter(torch.cat([rows, new]))
        embeddings.num_embeddings = model.config.vocab_size = vocabulary
    return model
