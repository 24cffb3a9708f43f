"""What a check of `qaprune doctor` is: a question about this host that is answered in one clause.

A check that fails answers "no" with its own reason and keeps no other from being made.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from qaprune.profile.environment import SYSTEM_CPU
from qaprune.profile.foreign import PROC
from qaprune.profile.nvml import Gpu
from qaprune.profile.outcome import NotMeasured, Unavailable
from qaprune.profile.rapl import POWERCAP

YES, NO, WARN = "yes", "no", "warn"
WIDTH = 80
NAME_WIDTH = 17
TEXT_AT = 2 + NAME_WIDTH + 2 + len(WARN) + 2
"""Columns before the text: indent, name, mark."""
LONGEST = 220
"""Characters of a foreign error message that are shown."""


class Finding(NamedTuple):
    """One answer; without a `name` it bears that of its check."""

    mark: str
    text: str
    name: str = ""


@dataclass
class Host:
    """Where the checks look; tests give other places. `device` is the torch device that would be timed.

    `torch` and `gpu` are what could be opened, or why not; `no_cuda` says why torch has no GPU.
    """

    torch: ModuleType | NotMeasured
    device: str = "cpu"
    gpu: Gpu | NotMeasured = field(default_factory=lambda: NotMeasured("no GPU"))
    no_cuda: str = ""
    own_pid: int = field(default_factory=os.getpid)
    folder: Path = Path()
    proc: Path = PROC
    system_cpu: Path = SYSTEM_CPU
    powercap: Path = POWERCAP
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def need_torch(self) -> Any:
        """The torch module. Raises `Unavailable` where it cannot be imported."""
        if isinstance(self.torch, NotMeasured):
            raise Unavailable(self.torch.reason)
        return self.torch

    def need_gpu(self) -> Gpu:
        """NVML's view of the device. Raises `Unavailable` where there is none."""
        if isinstance(self.gpu, NotMeasured):
            raise Unavailable(self.gpu.reason)
        return self.gpu


@dataclass(frozen=True, slots=True)
class Check:
    """One question: `probe` answers with a finding, with several, or by raising the reason."""

    section: str
    name: str
    probe: Callable[[Host], Finding | list[Finding]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A finding with its place, as `--json` gives it."""

    section: str
    name: str
    mark: str
    text: str


def make_check(check: Check, host: Host) -> list[Answer]:
    """Ask; whatever goes wrong inside becomes the answer."""
    try:
        found = check.probe(host)
    except Unavailable as error:
        found = Finding(NO, one_line(error))
    except (Exception, SystemExit) as error:
        found = Finding(NO, f"the check failed: {type(error).__name__}: {one_line(error)}")
    findings = [found] if isinstance(found, Finding) else found
    return [Answer(check.section, name or check.name, mark, text) for mark, text, name in findings]


def one_line(error: object) -> str:
    """The message of an error on one line, cut where it gets long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def name_cell(name: str) -> str:
    """The beginning of an answer's line, printed before the answer is known."""
    return f"  {name:<{NAME_WIDTH}}"


def rest_of_line(mark: str, text: str) -> str:
    """What follows the name: the mark and the text, wrapped at `WIDTH` columns."""
    lines = textwrap.wrap(text, WIDTH - TEXT_AT, break_on_hyphens=False) or [""]
    return f"  {mark:<{len(WARN)}}  " + ("\n" + " " * TEXT_AT).join(lines)


def totals(answers: list[Answer]) -> str:
    """`14 yes, 6 no, 1 warning`."""
    counts = {mark: sum(answer.mark == mark for answer in answers) for mark in (YES, NO, WARN)}
    plural = "" if counts[WARN] == 1 else "s"
    return f"{counts[YES]} yes, {counts[NO]} no, {counts[WARN]} warning{plural}"
