"""How an operating point is chosen: one rule for the page's headline and for `qaprune recommend`.

Of the candidates within a limit on the hold-out the fastest. The variant that loses the least there stands
for its operating point: all of them are of the same size, and their times differ by noise alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

ROUNDING = 1e-9
"""What two sums of the same figures may differ by; tables keep ten digits."""


class Candidate(Protocol):
    """One variant of an operating point, over its seeds."""

    @property
    def point(self) -> tuple[object, object]:
        """Criterion and budget."""

    @property
    def name(self) -> str: ...

    @property
    def drop(self) -> float:
        """Mean F1 lost on the hold-out, in points."""

    @property
    def speedup(self) -> float:
        """Mean over the seeds."""


Chosen = TypeVar("Chosen", bound=Candidate)


def fastest_first(candidates: Iterable[Chosen]) -> list[Chosen]:
    """The candidate that stands for each point, the fastest point first."""
    best: dict[tuple[object, object], Chosen] = {}
    for each in candidates:
        if each.point not in best or each.drop < best[each.point].drop:
            best[each.point] = each
    return sorted(best.values(), key=lambda each: (-each.speedup, each.drop, each.name))
