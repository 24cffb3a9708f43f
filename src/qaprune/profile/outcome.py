"""What a measurement answers when there is nothing to report: a typed reason, never a zero."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """Nothing was measured, and the reason in one clause."""

    reason: str


class Unavailable(Exception):
    """Inside the profile package: carries the reason out of a driver call, to become a `NotMeasured`.

    `for_good`: asking again in the same run cannot help (the card lacks it, permission is missing).
    """

    def __init__(self, reason: str, for_good: bool = True):
        super().__init__(reason)
        self.for_good = for_good
