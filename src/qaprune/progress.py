"""Progress of long stages: a tqdm bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

PLAIN_SECONDS = 60
"""Least time between two plain lines."""


class _Plain:
    def __init__(self, total: int, label: str):
        self.total, self.label, self.done = total, label, 0
        self.last = time.monotonic()
        self.text = ""

    def update(self) -> None:
        self.done += 1

    def report(self, text: str) -> None:
        if time.monotonic() - self.last >= PLAIN_SECONDS and self.done + 1 < self.total:
            self.last = time.monotonic()
            print(f"  {self.label}: step {self.done + 1}/{self.total}, {text}", file=sys.stderr, flush=True)


class _Bar:
    def __init__(self, total: int, label: str):
        from tqdm import tqdm

        self.bar = tqdm(total=total, desc=label, unit="step", leave=False, dynamic_ncols=True)

    def update(self) -> None:
        self.bar.update()

    def report(self, text: str) -> None:
        self.bar.set_postfix_str(text, refresh=False)


@contextmanager
def progress(total: int, label: str) -> Iterator[_Bar | _Plain]:
    """`update()` after each step, `report(text)` for what stands beside the count."""
    if not sys.stderr.isatty():
        yield _Plain(total, label)
        return
    bar = _Bar(total, label)
    try:
        yield bar
    finally:
        bar.bar.close()
