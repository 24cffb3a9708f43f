"""Budgets: how much of a model an operating point keeps, written as a short name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qaprune.errors import InputError

SHARES, PARAMS, FLOPS, SPEEDUP, LATENCY = "shares", "params", "flops", "speedup", "latency"
NAME_PATTERN = r"h[0-9.]+-f[0-9.]+(?:-d[0-9.]+)?|(?:params|flops|x|ms)[0-9.]+"
"""What a budget's name looks like in a folder's name."""
_SHARES = re.compile(r"h(\d+(?:\.\d+)?)-f(\d+(?:\.\d+)?)(?:-d(\d+(?:\.\d+)?))?")
_LIMIT = re.compile(r"(params|flops|x|ms)(\d+(?:\.\d+)?)")
_KINDS = {"params": PARAMS, "flops": FLOPS, "x": SPEEDUP, "ms": LATENCY}


@dataclass(frozen=True)
class Budget:
    """What may stay.

    `kind` shares: `heads` and `ff` per cent of attention heads and of feed-forward units over the whole
    model, and where `hidden` is given that per cent of the hidden width. Other kinds have a `limit`
    instead: per cent of all parameters (`params`), per cent of the FLOPs of a window (`flops`), a speedup
    over the unpruned model (`speedup`), milliseconds a batch (`latency`).
    """

    name: str
    heads: float | None = None
    ff: float | None = None
    kind: str = SHARES
    limit: float | None = None
    hidden: float | None = None

    @property
    def timed(self) -> bool:
        """Whether it takes a latency table to meet it."""
        return self.kind in (SPEEDUP, LATENCY)


def parse_budget(name: str) -> Budget:
    """`h50-f40`: 50 % of the heads and 40 % of the units; `h50-f40-d75`: and 75 % of the hidden width;
    `params60`, `flops50`: per cent kept; `x2.0`:
    twice as fast; `ms8`: 8 milliseconds a batch."""
    if match := _SHARES.fullmatch(str(name)):
        shares = [None if share is None else float(share) for share in match.groups()]
        for share, kind in zip(shares, ("heads", "feed-forward units", "the hidden width"), strict=True):
            if share is not None:
                _check_share(name, share, f"per cent of {kind} kept")
        return Budget(name, shares[0], shares[1], hidden=shares[2])
    match = _LIMIT.fullmatch(str(name))
    if not match:
        raise InputError(
            f"budgets: {name!r}: expected per cents kept like 'h50-f40', 'h50-f40-d75', 'params60' or "
            "'flops50', a speedup like 'x2.0', or milliseconds like 'ms8'"
        )
    kind, limit = _KINDS[match[1]], float(match[2])
    if kind in (PARAMS, FLOPS):
        _check_share(name, limit, f"per cent of {kind} kept")
    elif kind == SPEEDUP and limit < 1:
        raise InputError(f"budgets: {name!r}: a speedup must be at least 1, got {limit:g}")
    elif limit <= 0:
        raise InputError(f"budgets: {name!r}: milliseconds must be above 0, got {limit:g}")
    return Budget(name, kind=kind, limit=limit)


def _check_share(name: str, share: float, what: str) -> None:
    if not 0 < share <= 100:
        raise InputError(f"budgets: {name!r}: {what} must be above 0 and at most 100, got {share:g}")
