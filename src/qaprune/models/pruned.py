"""Dense question-answering models with a width of its own in each layer, and a hidden width.

transformers 5 dropped `prune_heads`; these subclasses of the stock models build every layer at the width
that `config.json` states, so a pruned checkpoint is an ordinary Hugging Face checkpoint. With
`answer_types` they have a second head, on the first token (Alberti, Lee and Collins 2019). A closed
sub-layer loses its matrix products, its output bias and LayerNorm stay: that is what its gates at zero
compute.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    BertForQuestionAnswering,
    RobertaForQuestionAnswering,
)
from transformers.modeling_outputs import QuestionAnsweringModelOutput
from transformers.utils import can_return_tuple

from qaprune.models.pruned_config import PrunedBertConfig, PrunedRobertaConfig


@dataclass
class AnswerOutput(QuestionAnsweringModelOutput):
    """What a model with answer types puts out; `answer_type_logits` [batch, types] of the first token."""

    answer_type_logits: torch.Tensor | None = None


class NoHeads(nn.Module):
    """Stands where a layer has no attention head left: nothing to compute, nothing to return."""

    def forward(self, hidden_states: torch.Tensor, *_args: object, **_kwargs: object):
        return hidden_states, None


class BiasOnly(nn.Module):
    """What is left of an output projection whose every input is closed: its bias, at every position."""

    def __init__(self, width: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.bias.expand(*hidden_states.shape[:-1], -1)


def resize_embeddings(embeddings: nn.Module, hidden: int) -> None:
    """Give the embeddings `hidden` dimensions (fresh weights)."""
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        table = getattr(embeddings, name)
        narrow = nn.Embedding(table.num_embeddings, hidden, padding_idx=table.padding_idx)
        setattr(embeddings, name, narrow)
    embeddings.LayerNorm = nn.LayerNorm(hidden, eps=embeddings.LayerNorm.eps)


def resize_layer(layer: nn.Module, hidden: int, heads: int, ff: int) -> None:
    """Give one encoder layer `hidden` dimensions, `heads` attention heads and `ff` feed-forward units
    (fresh weights)."""
    attention = layer.attention
    narrower = hidden != attention.output.dense.out_features
    if narrower:
        for output in (attention.output, layer.output):
            output.LayerNorm = nn.LayerNorm(hidden, eps=output.LayerNorm.eps)
    if heads == 0:
        attention.self = NoHeads()
        attention.output.dense = BiasOnly(hidden)
    elif narrower or heads != attention.self.num_attention_heads:
        width = heads * attention.self.attention_head_size
        attention.self.num_attention_heads = heads
        attention.self.all_head_size = width
        for name in ("query", "key", "value"):
            setattr(attention.self, name, nn.Linear(hidden, width))
        attention.output.dense = nn.Linear(width, hidden)
    if ff == 0:
        layer.intermediate = nn.Identity()
        layer.output.dense = BiasOnly(hidden)
    elif narrower or ff != layer.intermediate.dense.out_features:
        layer.intermediate.dense = nn.Linear(hidden, ff)
        layer.output.dense = nn.Linear(ff, hidden)


class _PrunedLayers:
    """Builds the stock model, then gives its layers the widths of the config."""

    def __init__(self, config: PrunedBertConfig | PrunedRobertaConfig):
        super().__init__(config)
        base = getattr(self, self.base_model_prefix)
        if config.hidden_width != config.hidden_size:
            resize_embeddings(base.embeddings, config.hidden_width)
            self.qa_outputs = nn.Linear(config.hidden_width, self.qa_outputs.out_features)
        layers = base.encoder.layer
        widths = zip(layers, config.heads_per_layer, config.ff_per_layer, strict=True)
        for layer, heads, ff in widths:
            resize_layer(layer, config.hidden_width, heads, ff)
        if config.answer_types:
            self.answer_type_outputs = nn.Linear(config.hidden_width, config.answer_types)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        **kwargs: object,
    ) -> QuestionAnsweringModelOutput:
        """As the stock model; one with answer types puts those out too, and computes no loss."""
        inputs = {
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "inputs_embeds": inputs_embeds,
        }
        if not self.config.answer_types:
            positions = {"start_positions": start_positions, "end_positions": end_positions}
            return super().forward(input_ids, **inputs, **positions, **kwargs)
        base = getattr(self, self.base_model_prefix)
        outputs = base(input_ids, return_dict=True, **inputs, **kwargs)
        start, end = self.qa_outputs(outputs[0]).split(1, dim=-1)
        return AnswerOutput(
            start_logits=start.squeeze(-1).contiguous(),
            end_logits=end.squeeze(-1).contiguous(),
            answer_type_logits=self.answer_type_outputs(outputs[0][:, 0]),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class PrunedBertForQuestionAnswering(_PrunedLayers, BertForQuestionAnswering):
    """BERT with a span head and widths of its own."""

    config_class = PrunedBertConfig


class PrunedRobertaForQuestionAnswering(_PrunedLayers, RobertaForQuestionAnswering):
    """RoBERTa with a span head and widths of its own."""

    config_class = PrunedRobertaConfig


for _config, _model in (
    (PrunedBertConfig, PrunedBertForQuestionAnswering),
    (PrunedRobertaConfig, PrunedRobertaForQuestionAnswering),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForQuestionAnswering.register(_config, _model, exist_ok=True)
