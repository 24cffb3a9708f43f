"""A user's own files, as the README's overlay names them: two files in SQuAD's layout and a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

PEOPLE = ("Anna", "Otto", "Mara", "Kell", "Ida", "Rolf")
THINGS = ("mill", "boat", "house", "horse", "field")


def articles(count: int, first: int = 0, unanswerable: bool = True) -> list[dict]:
    """Articles of three paragraphs; each is asked who sold a thing and, if wanted, what it does not say."""
    found = []
    for article in range(first, first + count):
        paragraphs = []
        for number in range(3):
            seller = PEOPLE[(article + number) % len(PEOPLE)]
            buyer = PEOPLE[(article + number + 1) % len(PEOPLE)]
            thing = THINGS[(article + 2 * number) % len(THINGS)]
            context = f"{seller} sold the {thing} to {buyer}. The {thing} was old and red."
            where = f"{article}-{number}"
            answer = {"text": seller, "answer_start": 0}
            asked = [{"id": f"{where}-a", "question": f"Who sold the {thing}?", "answers": [answer]}]
            if unanswerable:
                none = {"question": f"Who painted the {thing}?", "answers": [], "is_impossible": True}
                asked = [asked[0] | {"is_impossible": False}, {"id": f"{where}-n", **none}]
            paragraphs.append({"context": context, "qas": asked})
        found.append({"title": f"Article {article}", "paragraphs": paragraphs})
    return found


def write_squad(path: Path, data: list[dict]) -> None:
    path.write_text(json.dumps({"version": "mine", "data": data}))


def write_checkpoint(folder: Path, architecture: str = "bert", positions: int = 258) -> None:
    """A tiny question-answering model with a tokenizer of its own, as `save_pretrained` writes them."""
    import torch
    from transformers import BertForQuestionAnswering, RobertaForQuestionAnswering

    from qaprune.data.scratch import build_encoder

    texts = [paragraph["context"] for article in articles(6) for paragraph in article["paragraphs"]]
    build_encoder(architecture, texts * 3, folder, 0, 300, 2, 32, 4, 48, positions)
    kind = BertForQuestionAnswering if architecture == "bert" else RobertaForQuestionAnswering
    torch.manual_seed(0)
    model = kind.from_pretrained(folder)
    model.save_pretrained(folder)


def write_own_files(folder: Path) -> None:
    """my-train.json, my-dev.json and my-model/."""
    write_squad(folder / "my-train.json", articles(12))
    write_squad(folder / "my-dev.json", articles(3, first=20))
    write_checkpoint(folder / "my-model")
