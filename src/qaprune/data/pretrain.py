"""Masked-language-model pretraining of an embedded encoder.

A from-scratch encoder that starts with question answering sits for minutes at guessing by answer type: two
labels a window are too thin a signal to learn that words in question and passage belong together. Masked
words give some twenty labels a window, and one pretrained encoder serves all data sets.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qaprune.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

SEPARATOR = "\t"
WARM_UP = 0.1
DECAY = 0.5
KEEP_VISIBLE = 0.1
WEIGHT_DECAY = 0.01


def pretrain(
    encoder: Path,
    texts: Iterable[str],
    out: Path,
    seed: int,
    steps: int,
    batch_tokens: int = 1000,
    learning_rate: float = 1.5e-3,
    mask_share: float = 0.3,
    bf16: bool = True,
) -> dict[str, float]:
    """Train the encoder folder on masked whole words of the texts; write it to `out`.

    A tab in a text splits it into the two sides of a pair (questions, passage). The rate rises over the
    first tenth of the steps and falls to nothing over the last half. Returns the mean masked-token loss of
    the last tenth and the number of tokens read.
    """
    if steps < 1:
        raise InputError(f"pretrain steps: expected at least 1, got {steps}")
    if not 0 < mask_share < 1:
        raise InputError(f"pretrain mask_share: expected a share between 0 and 1, got {mask_share}")
    import torch
    from torch.nn import functional
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder)
    rows = _encode(tokenizer, texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForMaskedLM.from_pretrained(encoder, attn_implementation="eager")
    model.eval()  # no dropout: every text is seen about once
    body = model.base_model
    head = model.cls if hasattr(model, "cls") else model.lm_head
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(seed)
    losses, tokens = [], 0
    for step, batch in zip(range(steps), _batches(rows, batch_tokens, random.Random(seed)), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(
                1.0, (step + 1) / (WARM_UP * steps), (steps - step) / (DECAY * steps)
            )
        ids, segments, words = _pad(batch, tokenizer.pad_token_id)
        masked = _choose(words, mask_share, generator)
        if not masked.any():
            continue
        hidden = masked & (torch.rand(ids.shape, generator=generator) >= KEEP_VISIBLE)
        inputs = {
            "input_ids": ids.masked_fill(hidden, tokenizer.mask_token_id),
            "attention_mask": (ids != tokenizer.pad_token_id).long(),
        }
        if "token_type_ids" in tokenizer.model_input_names:
            inputs["token_type_ids"] = segments
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = head(body(**inputs).last_hidden_state[masked])
        loss = functional.cross_entropy(logits.float(), ids[masked])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += int(inputs["attention_mask"].sum())
        losses.append(loss.item())
    body.save_pretrained(out)
    tokenizer.save_pretrained(out)
    tail = losses[-max(1, len(losses) // 10) :]
    return {"loss": sum(tail) / len(tail), "tokens": tokens}


Row = tuple[list[int], list[int], list[int]]
"""Token ids, segment (0 or 1) and word number of every token; word -1 for special tokens."""


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> list[Row]:
    pairs = [text.partition(SEPARATOR) for text in texts if text.strip()]
    if not pairs:
        raise InputError("pretrain texts: expected at least one text, got none")
    rows = []
    for left, _, right in pairs:
        encoded = tokenizer(left, right or None, truncation="longest_first")
        sides = [side or 0 for side in encoded.sequence_ids()]
        words = [
            -1 if word is None else 2 * word + side
            for word, side in zip(encoded.word_ids(), sides, strict=True)
        ]
        rows.append((encoded["input_ids"], encoded.get("token_type_ids", sides), words))
    return rows


def _batches(rows: list[Row], batch_tokens: int, rng: random.Random) -> Iterator[list[Row]]:
    """Endless batches of about `batch_tokens` tokens, padding included, in a new order each pass."""
    while True:
        order = rng.sample(range(len(rows)), len(rows))
        batch: list[Row] = []
        longest = 0
        for index in order:
            longest = max(longest, len(rows[index][0]))
            if batch and longest * (len(batch) + 1) > batch_tokens:
                yield batch
                batch, longest = [], len(rows[index][0])
            batch.append(rows[index])
        yield batch


def _pad(batch: list[Row], pad_id: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    import torch

    width = max(len(row[0]) for row in batch)
    columns = zip(*batch, strict=True)
    return tuple(
        torch.tensor([values + [fill] * (width - len(values)) for values in column])
        for column, fill in zip(columns, (pad_id, 0, -1), strict=True)
    )


def _choose(words: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Choose pieces to mask, one by one: the rest of a split name then points at its other mention."""
    import torch

    return (torch.rand(words.shape, generator=generator) < share) & (words >= 0)
