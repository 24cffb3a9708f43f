"""Structure tokens: what a reader of a page sees of its layout (Alberti, Lee and Collins 2019).

Each top-level part of a Natural Questions document is led by one, `[Paragraph=3]` for the third paragraph;
so a model knows tables and lists, and the place of a part in its page. BERT-joint takes unused rows of
BERT's vocabulary for them; here they are added to the tokenizer, so that RoBERTa reads the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KINDS = ("Paragraph", "Table", "List")
PLACES = 32
"""Parts of a kind that are told apart; those behind share the last token. Own choice (BERT-joint: 50)."""


def structure_token(kind: str, place: int) -> str:
    """The token that leads the part which is number `place` (from 1) of its kind."""
    return f"[{kind}={min(place, PLACES)}]"


STRUCTURE_TOKENS = tuple(structure_token(kind, place) for kind in KINDS for place in range(1, PLACES + 1))


def add_structure_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Add to a tokenizer, in place, those of the tokens that it does not have; returns it.

    They take the white space before them along: a byte-level tokenizer would make a piece of it.
    """
    from tokenizers import AddedToken

    tokenizer.add_special_tokens(
        [AddedToken(token, lstrip=True, special=True, normalized=False) for token in STRUCTURE_TOKENS]
    )
    return tokenizer


def structure_ids(tokenizer: Tokenizer) -> list[int]:
    """Their ids, in the order of `STRUCTURE_TOKENS`; empty for a tokenizer without them."""
    ids = [tokenizer.token_to_id(token) for token in STRUCTURE_TOKENS]
    return [] if None in ids else ids
