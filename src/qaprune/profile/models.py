"""The timed models: every variant in every number format, attention backend and compile mode."""

from __future__ import annotations

import gc
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qaprune.errors import InputError, gpu_failure, out_of_memory
from qaprune.profile.outcome import NotMeasured
from qaprune.profile.settings import INT8, RUNTIMES, Setting

if TYPE_CHECKING:
    import torch
    from torch import nn

Loader = Callable[[], "nn.Module"]
"""Builds one variant, in float32."""
Forward = Callable[..., Any]
"""A model's forward pass: takes a batch's tensors by name."""
Result = TypeVar("Result")


class CannotRun(Exception):
    """A variant does not run at a setting; carries the reason in one clause."""


class Fleet:
    """All variants of a run, resident on the device; modes and backends share one copy of the weights.

    `loaders`: one a variant, called when it is first needed. Compiled passes hang on one batch and length:
    call `next_cell` before another.
    """

    def __init__(self, loaders: Mapping[str, Loader], device: str, dtypes: list[str]):
        self._loaders = loaders
        self._device = device
        self._dtypes = dtypes
        self._loaded: dict[str, nn.Module] = {}
        self._models: dict[tuple[str, str, str], nn.Module] = {}
        self._compiled: dict[tuple[str, Setting], Forward] = {}
        self._runtimes: dict[tuple[str, str], Forward] = {}

    @property
    def names(self) -> list[str]:
        """Keys of the variants."""
        return list(self._loaders)

    def next_cell(self) -> None:
        """Forget what was compiled for the last batch and length."""
        if self._compiled:
            import torch

            self._compiled.clear()
            torch.compiler.reset()

    def free_memory(self) -> None:
        """Hand back what a pass that did not fit had reserved: call it when its exception is gone, whose
        traceback holds the pass's tensors."""
        if self._device.startswith("cuda"):
            import torch

            gc.collect()
            torch.cuda.empty_cache()

    def load(self, settings: list[Setting]) -> None:
        """Bring all variants onto the device, so that what is tried fits beside the others or not at all.

        What cannot be loaded is left for `try_out`, which says why.
        """
        for key in self._loaders:
            for setting in settings:
                if setting.backend not in RUNTIMES:
                    with suppress(Exception):
                        self.model(key, setting)

    def still_computes(self) -> bool:
        """Whether the device answers: not each error of CUDA breaks it, a capture that fails does not."""
        import torch

        try:
            torch.cuda.synchronize(self._device)
            return torch.ones(1, device=self._device).sum().item() == 1
        except Exception:
            return False

    def reason_of(self, error: Exception) -> str:
        """Why a variant does not run at a setting, in one clause. A broken device is no such reason."""
        text = " ".join(str(error).split())
        if out_of_memory(error):
            return "does not fit: out of memory"
        if (failure := gpu_failure(error)) and not self.still_computes():
            raise InputError(f"profile: the GPU failed: {failure}") from error
        if isinstance(error, ImportError):
            text = text.rpartition(": ")[2]
        compiling = type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
        what = "torch.compile failed" if compiling else "cannot run"
        return f"{what}: {text[:160] or type(error).__name__}"

    def unless_it_fails(self, work: Callable[[], Result]) -> Result | NotMeasured:
        """What `work` gives, or why the device could not do it. Errors that are not the device's go on."""
        try:
            return work()
        except InputError:
            raise
        except Exception as error:
            if not out_of_memory(error) and gpu_failure(error) is None:
                raise
            reason = self.reason_of(error)
        self.free_memory()
        return NotMeasured(reason)

    def model(self, key: str, setting: Setting) -> nn.Module:
        """The variant's module in the setting's number format and with its attention backend.

        A backend outside torch is made from the one of this kind that was there first.
        """
        at = (key, setting.dtype, setting.backend)
        if setting.backend in RUNTIMES:
            setting = setting._replace(
                backend=next((there[2] for there in self._models if there[:2] == at[:2]), "sdpa")
            )
            at = (key, setting.dtype, setting.backend)
        if at not in self._models:
            same_weights = [
                model for (name, dtype, _), model in self._models.items() if (name, dtype) == at[:2]
            ]
            if same_weights:
                self._models[at] = with_backend(same_weights[0], setting.backend)
            else:
                self._models[at] = self._converted(key, setting)
        return self._models[at]

    def forward(self, key: str, setting: Setting) -> Forward:
        """The variant's pass at a setting; raises `CannotRun` where its backend is none for it."""
        if setting.backend in RUNTIMES:
            return self._runtime(key, setting)
        model = self.model(key, setting)
        if setting.compile == "off":
            return model
        if (key, setting) not in self._compiled:
            self._compiled[key, setting] = compiled(model, setting.compile)
        return self._compiled[key, setting]

    def _runtime(self, key: str, setting: Setting) -> Forward:
        from qaprune.profile.runtimes import OnnxPass, why_not

        if reason := why_not(setting, self._device):
            raise CannotRun(reason)
        at = (key, setting.backend)
        if at not in self._runtimes:
            self._runtimes[at] = OnnxPass(self.model(key, setting), setting.backend == INT8)
        return self._runtimes[at]

    def _converted(self, key: str, setting: Setting) -> nn.Module:
        import torch

        model = self._loaded.pop(key, None) or self._loaders[key]()
        if len(self._dtypes) > 1:
            self._loaded[key] = model
            model = deepcopy(model)
        model = model.eval().to(self._device, getattr(torch, setting.dtype))
        if model.config._attn_implementation != setting.backend:
            model.set_attn_implementation(setting.backend)
        return model


def with_backend(model: nn.Module, backend: str) -> nn.Module:
    """A second module on the same weights that attends by another implementation."""
    memo = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = deepcopy(model, memo)
    twin.set_attn_implementation(backend)
    return twin


def compiled(model: nn.Module, mode: str) -> Forward:
    """`torch.compile` of one module for one shape.

    Each gets a code object of its own: torch keeps what it compiled by code object and tries one entry
    after the other, so that models of one class would be looked up in each other's entries, at a cost that
    grows with their number.
    """
    import torch

    def forward(**inputs: Any) -> Any:
        return model(**inputs)

    own = types.FunctionType(
        forward.__code__.replace(), forward.__globals__, forward.__name__, None, forward.__closure__
    )
    return torch.compile(own, mode=None if mode == "default" else mode, dynamic=False)


def trained_loaders(variants: Mapping[str, Path], backend: str) -> dict[str, Loader]:
    """Loaders of checkpoints, and of masks that cut the teacher's."""
    from qaprune.prune.stage import load_variant

    return {
        key: partial(load_variant, Path(path), Path(variants.get("teacher", path)), backend)
        for key, path in variants.items()
    }


@dataclass(frozen=True)
class Untrained:
    """Models with initial weights: a teacher of the encoder's shape, and its cuts by a criterion.

    Time does not hang on what the weights are. The criterion must need no model. `vocabulary`: how many
    tokens the timed windows use, where structure tokens make them more than the encoder has. `round_to`:
    multiples of heads, units and hidden dimensions that layers are kept at.
    """

    encoder: Path
    criterion: str
    budgets: tuple[str, ...]
    seed: int
    backend: str
    length: int
    vocabulary: int | None = None
    round_to: tuple[int, ...] = (1, 1, 1)

    def loaders(self, device: str) -> dict[str, Loader]:
        """The teacher and its cuts, built on the device from one set of weights."""
        kept: dict[str, nn.Module] = {}

        def teacher() -> nn.Module:
            if not kept:
                kept["teacher"] = self._teacher(device)
            return kept["teacher"]

        def cut(budget: str) -> nn.Module:
            from qaprune.prune.slice import slice_model

            return slice_model(teacher(), self._mask(teacher(), budget))

        # The teacher is copied, since a converted one would be cut in another number format.
        return {"teacher": lambda: deepcopy(teacher())} | {
            f"{self.criterion}-{budget}/pruned": partial(cut, budget) for budget in self.budgets
        }

    def identity(self, key: str) -> dict[str, Any]:
        """What a row of the table says about a variant's making."""
        if key == "teacher":
            return {"criterion": None, "budget": None, "draw": None, "variant": "teacher"}
        budget = key.removeprefix(f"{self.criterion}-").removesuffix("/pruned")
        return {"criterion": self.criterion, "budget": budget, "draw": 0, "variant": "pruned"}

    def _teacher(self, device: str) -> nn.Module:
        import torch
        from transformers import AutoConfig, AutoModelForQuestionAnswering

        from qaprune.data.nq import ANSWER_TYPES
        from qaprune.models.encoder import read_config
        from qaprune.models.rebuild import with_answer_types

        read_config(self.encoder)
        torch.manual_seed(self.seed)
        config = AutoConfig.from_pretrained(self.encoder, local_files_only=True)
        with torch.device(device):
            model = AutoModelForQuestionAnswering.from_config(
                config, dtype=torch.float32, attn_implementation=self.backend
            )
        if self.vocabulary is None:
            return model
        return with_answer_types(model.to("cpu"), len(ANSWER_TYPES), self.vocabulary, self.seed).to(device)

    def _mask(self, model: nn.Module, budget: str) -> Any:
        from qaprune.budget import parse_budget
        from qaprune.gate.registry import GateTask, load_criterion
        from qaprune.models.encoder import model_shape
        from qaprune.prune.select import costs_of, select

        shape, asked = model_shape(model), parse_budget(budget)
        # Of random masks one is enough: time does not hang on which gates stay.
        task = GateTask(shape, {"draws": 1}, self.seed, hidden=asked.hidden is not None)
        scores = load_criterion(self.criterion).score(task)
        costs = costs_of(asked, shape, self.length, None, None)
        return select(scores, 0, asked, shape, self.criterion, costs, self.round_to)


def try_out(
    fleet: Fleet, key: str, setting: Setting, inputs: list[dict[str, torch.Tensor]]
) -> torch.Tensor:
    """Run every batch once: load, convert, compile; the logits [2, tokens] of the first one's real tokens.

    Raises `CannotRun` where the variant does not fit, the backend is not there, or it does not compile.
    """
    import torch

    from qaprune.models.encoder import longest_input

    try:
        forward = fleet.forward(key, setting)
        most = longest_input(fleet.model(key, setting).config.to_dict())
        if setting.length > most:  # on a GPU a place past the table would end the process, not the pass
            raise CannotRun(f"the model has positions for {most} tokens alone")
        for batch in reversed(inputs):
            output = forward(**batch)
            real = batch["attention_mask"].bool()
            logits = torch.stack([output.start_logits[real], output.end_logits[real]]).float().cpu()
    except (InputError, CannotRun):
        raise
    except Exception as error:
        raise CannotRun(fleet.reason_of(error)) from error
    if not logits.isfinite().all():
        raise CannotRun("its logits are not finite numbers")
    return logits
