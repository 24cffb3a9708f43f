"""Progress of long stages: a tqdm bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

PLAIN_SECONDS = 60
"""Least time between two plain lines."""


class _Plain:
    def __init__(self, total: int, label: str, done: int):
        self.total, self.label, self.done = total, label, done
        self.first, self.began = done, time.monotonic()
        self.last = self.began

    def update(self) -> None:
        self.done += 1

    def report(self, text: str) -> None:
        if time.monotonic() - self.last >= PLAIN_SECONDS and self.done + 1 < self.total:
            self.last = time.monotonic()
            done = self.done + 1
            left = (self.last - self.began) / (done - self.first) * (self.total - done)
            print(
                f"  {self.label}: step {done}/{self.total}, {text}, {left / 60:.0f} min left",
                file=sys.stderr,
                flush=True,
            )


class _Bar:
    def __init__(self, total: int, label: str, done: int):
        from tqdm import tqdm

        self.bar = tqdm(total=total, initial=done, desc=label, unit="step", leave=False, dynamic_ncols=True)

    def update(self) -> None:
        self.bar.update()

    def report(self, text: str) -> None:
        self.bar.set_postfix_str(text, refresh=False)


class _Quiet:
    def update(self) -> None:
        pass

    def report(self, text: str) -> None:
        pass


@contextmanager
def progress(
    total: int, label: str, done: int = 0, quiet: bool = False
) -> Iterator[_Bar | _Plain | _Quiet]:
    """`update()` after each step, `report(text)` for what stands beside the count.

    `done` steps were made by an earlier process; `quiet` shows nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield _Quiet() if quiet else _Plain(total, label, done)
        return
    bar = _Bar(total, label, done)
    try:
        yield bar
    finally:
        bar.bar.close()
