"""Checkpoints of a training that may be killed: safetensors and JSON, whole or not there.

They lie in a hidden folder beside the stage's output, `.NAME.resume/`, and go when the stage is done. One
is written under a temporary name, flushed to disk and renamed before the last one is removed; so whatever
happens, there is a whole one.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from qaprune import stage
from qaprune.errors import InputError

SECONDS = "QAPRUNE_CHECKPOINT_SECONDS"
"""Environment variable: least time between two checkpoints. It changes no result, so no config has it."""
DEFAULT_SECONDS = 120.0
WRITING = ".writing-"
"""How the folder of a checkpoint that is being written is called, and the number of the process."""
PATIENCE = 20
"""Writing may take one part in this many of the time."""


@dataclass
class State:
    """Where a training is: `tensors` by name, and `facts`, which JSON can hold."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training in one folder.

    `identity` says what the training is (spec, inputs, versions): a checkpoint of another one is not gone
    on from, however it came there.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.folder = folder
        self._identity = json.loads(json.dumps(identity, sort_keys=True))
        self._pause = float(os.environ.get(SECONDS, DEFAULT_SECONDS))
        self._last, self._cost = time.monotonic(), 0.0
        self.written = False
        """Whether this process wrote or read one."""

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self._last >= max(self._pause, PATIENCE * self._cost)

    def load(self) -> State | None:
        """The last whole checkpoint of this very training, or None. One that cannot be read is none."""
        read: set[Path] = set()
        # Looked for again when all are read: a process that outlived its command replaces one by the next.
        while paths := sorted(set(self.folder.glob("step-*")) - read, reverse=True):
            path = paths[0]
            read.add(path)
            try:
                facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
                if facts.pop("identity") == self._identity:
                    state = State(load_file(path / "state.safetensors"), facts)
                    self.written = True
                    return state
            except (OSError, ValueError, KeyError, SafetensorError):
                continue
        return None

    def save(self, step: int, state: State) -> None:
        """Write one. A disk that is full ends the run in one line; the last checkpoint stays as it was."""
        began = time.monotonic()
        final, scratch = self.folder / f"step-{step:09d}", self.folder / f"{WRITING}{os.getpid()}"
        try:
            self._clear_unfinished()
            scratch.mkdir(parents=True)
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
            save_file(tensors, scratch / "state.safetensors")
            facts = json.dumps(state.facts | {"identity": self._identity})
            (scratch / "state.json").write_text(facts, encoding="utf-8")
            for path in scratch.iterdir():
                _flush(path)
            shutil.rmtree(final, ignore_errors=True)
            scratch.rename(final)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(scratch, ignore_errors=True)
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"{self.folder}: no checkpoint of step {step} could be written ({reason}); "
                "run the same command again to go on from the one before"
            ) from None
        for path in self.folder.glob("step-*"):  # another process's are as good
            if path != final:
                shutil.rmtree(path, ignore_errors=True)
        self._last, self.written = time.monotonic(), True
        self._cost = self._last - began

    def _clear_unfinished(self) -> None:
        """Remove what processes left that were killed while they wrote. One that outlived the command which
        started it may be writing still: the same training, so nothing is lost when both go on."""
        for path in self.folder.glob(f"{WRITING}*"):
            owner = int(path.name.removeprefix(WRITING))
            if owner == os.getpid() or not _alive(owner):
                shutil.rmtree(path, ignore_errors=True)


def of_stage(out: Path, spec: dict[str, Any], inputs: dict[str, Path], name: str = "train") -> Checkpoints:
    """The checkpoints of a stage's training called `name`. `out` is the folder that the stage was handed.

    Bound to the spec, to what was read and to what computes: bits differ between versions and threads.
    """
    identity = {
        "spec": spec,
        "inputs": stage.digests(inputs),
        "packages": stage.package_versions(),
        "compute": stage.COMPUTE,
    }
    return Checkpoints(stage.resume_folder(out) / name, identity)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def _flush(path: Path) -> None:
    """To the disk: a name that appears before its content would be a checkpoint that is not there."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
