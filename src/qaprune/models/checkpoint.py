"""Writing a checkpoint: weights, tokenizer, the threshold in its config, and what it cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qaprune.data.stages import copy_tokenizer
from qaprune.jsonfile import read_json

if TYPE_CHECKING:
    from torch import nn


def save_checkpoint(
    model: nn.Module,
    out: Path,
    tokenizer: Path,
    windows: dict[str, int],
    variant: dict[str, Any],
) -> None:
    """Save as a Hugging Face folder; `variant.json` beside it holds the row's facts so far.

    Its thresholds and the windows (length, stride, max_answer_tokens) go into `config.json`: who answers
    with the checkpoint reads contexts as they were read when the threshold was chosen.
    """
    model.config.no_answer_threshold = variant["threshold"]
    if "long_threshold" in variant:
        model.config.long_answer_threshold = variant["long_threshold"]
    model.config.qa_windows = windows
    model.to("cpu").save_pretrained(out)
    copy_tokenizer(tokenizer, out)
    write_variant(out, variant)
    (out / "README.md").write_text(_card(variant), encoding="utf-8")


def write_variant(out: Path, variant: dict[str, Any]) -> None:
    """The facts of a row so far, beside its checkpoint."""
    text = json.dumps(variant, indent=1, sort_keys=True) + "\n"
    (out / "variant.json").write_text(text, encoding="utf-8")


def _card(variant: dict[str, Any]) -> str:
    facts = "\n".join(f"- {key}: {value}" for key, value in sorted(variant.items()) if value is not None)
    return f"""---
library_name: transformers
pipeline_tag: question-answering
---
# {variant["variant"]} ({variant.get("criterion") or "unpruned"} {variant.get("budget") or ""})

An extractive question-answering model made by qaprune. Load it with

```python
import qaprune
from transformers import AutoModelForQuestionAnswering

model = AutoModelForQuestionAnswering.from_pretrained("this folder")
```

The answer is "none" where the null score exceeds the best span's by more than `no_answer_threshold` of
`config.json`.

{facts}
"""


def read_variant(checkpoint: Path) -> dict[str, Any]:
    """The facts that a checkpoint's own stage, and those before it, wrote down."""
    return read_json(checkpoint / "variant.json")
