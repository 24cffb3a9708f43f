"""Configs of pruned checkpoints: the stock config plus the widths that survived in each layer."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.roberta.configuration_roberta import RobertaConfig


class PrunedWidths:
    """What both pruned configs share: their defaults and the checks of their widths."""

    def validate_widths(self) -> None:
        """Refuse widths that no slicing of `num_hidden_layers` layers could have produced."""
        if self.hidden_width is not None and not 0 < self.hidden_width <= self.hidden_size:
            raise ValueError(
                f"config.json: hidden_width: expected between 1 and {self.hidden_size}, got "
                f"{self.hidden_width}"
            )
        for key, most in (("heads_per_layer", None), ("ff_per_layer", None)):
            widths = getattr(self, key)
            if widths is None:
                continue
            if len(widths) != self.num_hidden_layers:
                raise ValueError(
                    f"config.json: {key}: expected {self.num_hidden_layers} widths, one a layer, "
                    f"got {len(widths)}"
                )
            most = self.num_attention_heads if key == "heads_per_layer" else self.intermediate_size
            if not all(0 <= width <= most for width in widths):
                raise ValueError(f"config.json: {key}: expected widths between 0 and {most}, got {widths}")

    def validate_answer_types(self) -> None:
        """Answer types are counted; none or one would leave nothing to choose."""
        if self.answer_types == 1 or self.answer_types < 0:
            raise ValueError(
                f"config.json: answer_types: expected 0 or more than 1, got {self.answer_types}"
            )

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.heads_per_layer is None:
            self.heads_per_layer = [self.num_attention_heads] * self.num_hidden_layers
        if self.ff_per_layer is None:
            self.ff_per_layer = [self.intermediate_size] * self.num_hidden_layers
        if self.hidden_width is None:
            self.hidden_width = self.hidden_size


@strict
class PrunedBertConfig(PrunedWidths, BertConfig):
    """BERT whose layers differ in their number of heads and of feed-forward units.

    `hidden_width` is the width of the residual stream. `hidden_size`, `num_attention_heads` and
    `intermediate_size` keep the unpruned model's counts: a head is as wide as it was. `answer_types` is how
    many the model tells apart (Natural Questions: null, yes, no, short, long), 0 for spans alone; an
    unpruned model that does is of this type too. `no_answer_threshold` is the null-score margin above which
    the answer is "none", chosen on the train hold-out in windows as `qa_windows` says (length, stride and
    longest answer, in tokens); `long_answer_threshold` the same for long answers.
    """

    model_type = "pruned_bert"

    heads_per_layer: list[int] | None = None
    ff_per_layer: list[int] | None = None
    hidden_width: int | None = None
    answer_types: int = 0
    no_answer_threshold: float | int = 0.0
    long_answer_threshold: float | int = 0.0
    qa_windows: dict[str, int] | None = None


@strict
class PrunedRobertaConfig(PrunedWidths, RobertaConfig):
    """RoBERTa whose layers differ in width; fields as in `PrunedBertConfig`."""

    model_type = "pruned_roberta"

    heads_per_layer: list[int] | None = None
    ff_per_layer: list[int] | None = None
    hidden_width: int | None = None
    answer_types: int = 0
    no_answer_threshold: float | int = 0.0
    long_answer_threshold: float | int = 0.0
    qa_windows: dict[str, int] | None = None
