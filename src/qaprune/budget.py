"""Budgets: how much of a model an operating point keeps, written as a short name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qaprune.errors import InputError

_NAME = re.compile(r"h(\d+(?:\.\d+)?)-f(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Budget:
    """Per cent of attention heads and of feed-forward units kept over the whole model."""

    name: str
    heads: float
    ff: float


def parse_budget(name: str) -> Budget:
    """`h50-f40` -> 50 % of the heads and 40 % of the feed-forward units kept."""
    match = _NAME.fullmatch(str(name))
    if not match:
        raise InputError(f"budgets: {name!r}: expected per cents kept like 'h50-f40'")
    heads, ff = (float(share) for share in match.groups())
    for share, kind in ((heads, "heads"), (ff, "feed-forward units")):
        if not 0 < share <= 100:
            raise InputError(
                f"budgets: {name!r}: per cent of {kind} kept must be above 0 and at most 100, got {share:g}"
            )
    return Budget(name, heads, ff)
