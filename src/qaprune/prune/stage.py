"""The stage `prune`: scores and a budget become masks, masks become smaller models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qaprune.budget import SPEEDUP, Budget, parse_budget
from qaprune.errors import InputError
from qaprune.evaluate.holdout import Holdout
from qaprune.gate.stage import TRAINED_WEIGHTS, load_scores
from qaprune.models.checkpoint import read_variant, save_checkpoint, write_variant
from qaprune.models.encoder import WEIGHTS, EncoderShape, load_model, model_shape
from qaprune.prune.mask import OWN_MASK, Mask, load_mask, save_mask
from qaprune.prune.select import costs_of, multiples, select
from qaprune.prune.slice import slice_model
from qaprune.stage import read_stage
from qaprune.train.compute import start

if TYPE_CHECKING:
    from torch import nn


def load_variant(folder: Path, teacher: Path, attention: str) -> nn.Module:
    """The model of a row: its checkpoint, or where only a mask stayed the teacher cut by it."""
    if (folder / WEIGHTS).exists() or not (folder / "variant.json").exists():
        return load_model(folder, attention)
    variant = read_variant(folder)
    if variant["variant"] != "pruned" or variant.get("own_weights"):
        return load_model(folder, attention)  # which says what is missing
    point = folder.parents[1] if variant["draw"] else folder
    mask = load_mask(point / "masks" / f"{variant['draw']}.safetensors")
    return slice_model(load_model(teacher, attention), mask)


def load_trained_weights(teacher: nn.Module, gate: Path | None) -> None:
    """Replace the teacher's weights by those that the criterion trained, where it did."""
    if gate is not None and (gate / TRAINED_WEIGHTS).exists():
        from safetensors.torch import load_model as load_weights

        load_weights(teacher, gate / TRAINED_WEIGHTS)


def _shares(mask: Mask, shape: EncoderShape) -> str:
    """What a mask keeps, as a budget of shares would be called."""
    heads, ff = mask.widths()
    parts = [("h", sum(heads), sum(shape.heads)), ("f", sum(ff), sum(shape.ff))]
    if mask.hidden is not None:
        parts.append(("d", np.count_nonzero(mask.hidden), shape.hidden))
    return "-".join(f"{letter}{100 * kept / full:.4g}" for letter, kept, full in parts)


def prune(
    spec: dict[str, Any], inputs: dict[str, Path], out: Path, log: Callable[[str], None]
) -> dict[str, Any]:
    """Slice the teacher for every draw of an operating point.

    Draw 0 is the checkpoint of the stage's own folder, the one that recovery continues from; of further
    draws `draws/` holds the facts. Masks of all draws stay under `masks/`, and `load_variant` cuts a model
    anew from them. With `--mask` that file is used instead of scores, whatever criterion and budget the
    spec has: the checkpoint is `own_mask`'s, at the shares that the mask keeps.
    """
    compute = start(spec["compute"], spec["run"]["seed"])
    teacher = load_model(inputs["teacher"], compute.attention)
    if "mask" not in inputs:
        load_trained_weights(teacher, inputs.get("gate"))
    shape = model_shape(teacher)
    criterion, budget = spec["criterion"], parse_budget(spec["budget"])
    if not inputs.keys() & {"mask", "gate"}:
        raise InputError("expected --gate with scores or --mask with a mask file")
    if "mask" in inputs:
        masks = [load_mask(inputs["mask"])]
        masks[0].check(shape, str(inputs["mask"]))
        criterion, budget = OWN_MASK, Budget(_shares(masks[0], shape))
        gate: dict[str, Any] = {}
    else:
        costs = costs_of(budget, shape, spec["length"], inputs["teacher"], inputs.get("latency"))
        scores = load_scores(inputs["gate"] / "scores.safetensors")
        masks = [
            select(scores, draw, budget, shape, criterion, costs, multiples(spec))
            for draw in range(len(scores.heads))
        ]
        gate = read_stage(inputs["gate"])["result"]
    holdout = Holdout(
        inputs["features"] / "holdout.safetensors",
        inputs["holdout"],
        spec["task"],
        spec["max_answer_tokens"],
    )
    (out / "masks").mkdir()
    (out / "draws").mkdir()
    found = []
    for draw, mask in enumerate(masks):
        metadata = {"criterion": criterion, "budget": budget.name, "draw": str(draw)}
        save_mask(out / "masks" / f"{draw}.safetensors", mask, metadata)
        smaller = slice_model(teacher, mask)
        asked = {"speedup_asked": budget.limit} if budget.kind == SPEEDUP else {}
        if budget.timed and "mask" not in inputs:
            asked["speedup_predicted"] = round(costs.full / costs.of(*mask.widths()), 4)
        if "mask" not in inputs and (inputs["gate"] / TRAINED_WEIGHTS).exists():
            asked["own_weights"] = True  # no mask can cut them from the teacher again
        variant = asked | {
            "variant": "pruned",
            "criterion": criterion,
            "budget": budget.name,
            "draw": draw,
            **holdout.fit(smaller, compute),
            "gate_seconds": gate.get("gate_seconds"),
            "gate_passes": gate.get("gate_passes"),
            "gate_tokens": gate.get("gate_tokens"),
            "train_tokens": gate.get("gate_tokens", 0),
        }
        if draw:
            (out / "draws" / str(draw)).mkdir()
            write_variant(out / "draws" / str(draw), variant)
        else:
            save_checkpoint(smaller, out, inputs["teacher"], holdout.windows, variant)
        found.append(variant["holdout_f1"])
    widths = " ".join(f"{h}/{f}" for h, f in zip(*masks[0].widths(), strict=True))
    if masks[0].hidden is not None:
        widths += f", {np.count_nonzero(masks[0].hidden)} of {shape.hidden} hidden dimensions"
    return {
        "summary": f"heads/units by layer {widths}; hold-out F1 {', '.join(f'{f1:.1f}' for f1 in found)}",
        "holdout_f1": found,
    }
