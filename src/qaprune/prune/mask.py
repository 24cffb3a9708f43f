"""Masks: which heads, feed-forward units and hidden dimensions stay, and at what strength."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from qaprune.errors import InputError
from qaprune.models.encoder import EncoderShape

OWN_MASK = "own_mask"
"""Named as the criterion of what a mask of one's own cut."""


@dataclass(frozen=True)
class Mask:
    """Gate values: `heads[i]` float32 [heads of layer i], `ff[i]` float32 [units of layer i], `hidden`
    float32 [hidden width], where None leaves all dimensions open.

    0 removes; any other value is folded into the survivor's output weights when the model is sliced (a
    hidden dimension's into its LayerNorms). Gates that were learnt lie in (0, 1], values tuned after the
    choice (Fisher) may leave it.
    """

    heads: tuple[np.ndarray, ...]
    ff: tuple[np.ndarray, ...]
    hidden: np.ndarray | None = None

    def widths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Surviving heads and units of each layer."""
        heads = tuple(int(np.count_nonzero(layer)) for layer in self.heads)
        return heads, tuple(int(np.count_nonzero(layer)) for layer in self.ff)

    def check(self, shape: EncoderShape, name: str = "mask") -> None:
        """Refuse a mask that does not fit the encoder or has values that are no numbers."""
        for kind, layers, widths in (("heads", self.heads, shape.heads), ("ff", self.ff, shape.ff)):
            got = tuple(layer.size for layer in layers)
            if got != tuple(widths):
                raise InputError(f"{name}: {kind}: expected widths {tuple(widths)}, got {got}")
            if not all(np.isfinite(layer).all() for layer in layers):
                raise InputError(f"{name}: {kind}: expected finite values")
        if self.hidden is not None:
            if self.hidden.shape != (shape.hidden,):
                got = list(self.hidden.shape)
                raise InputError(f"{name}: hidden: expected {shape.hidden} dimensions, got shape {got}")
            if not np.isfinite(self.hidden).all():
                raise InputError(f"{name}: hidden: expected finite values")
            if not self.hidden.any():
                raise InputError(f"{name}: hidden: expected one open dimension at least")


def full_mask(shape: EncoderShape) -> Mask:
    """The mask that removes nothing."""
    return Mask(
        tuple(np.ones(width, np.float32) for width in shape.heads),
        tuple(np.ones(width, np.float32) for width in shape.ff),
    )


def nearest(count: int, share: float) -> int:
    """`share` per cent of `count`, rounded to the nearest, at least one."""
    return max(1, int(np.floor(share / 100 * count + 0.5)))


def keep_highest(
    scores: tuple[np.ndarray, ...], share: float, values: tuple[np.ndarray, ...] | None = None
) -> tuple[np.ndarray, ...]:
    """Keep the `share` per cent of gates with the highest scores over the whole model.

    The count is rounded to the nearest, at least one. Of equal scores layers keep one in turn, the earlier
    gates of each: L0 ends with many at one bound, and no layer is to be filled with those. `values` are the
    survivors' strengths (1 where not given); one that fell to zero keeps a sliver, so that it counts as
    kept and its weights can recover.
    """
    from scipy.stats import rankdata

    layers = [np.asarray(layer, np.float64) for layer in scores]
    flat = np.concatenate(layers)
    turns = np.concatenate([rankdata(-layer, "ordinal") - rankdata(-layer, "min") for layer in layers])
    chosen = np.lexsort((turns, -flat))[: nearest(flat.size, share)]
    strength = np.ones(flat.size) if values is None else np.concatenate(values).astype(np.float64)
    strength = np.where(np.abs(strength) < 1e-3, 1e-3, strength)
    mask = np.zeros(flat.size, np.float32)
    mask[chosen] = strength[chosen]
    return tuple(np.split(mask, np.cumsum([layer.size for layer in scores])[:-1]))


def save_mask(path: Path, mask: Mask, metadata: dict[str, str]) -> None:
    """Write a mask file: `layer.<i>.heads`, `layer.<i>.ff`, perhaps `hidden`, and where it came from."""
    tensors = {f"layer.{i}.heads": np.ascontiguousarray(layer) for i, layer in enumerate(mask.heads)}
    tensors |= {f"layer.{i}.ff": np.ascontiguousarray(layer) for i, layer in enumerate(mask.ff)}
    if mask.hidden is not None:
        tensors["hidden"] = np.ascontiguousarray(mask.hidden)
    save_file(tensors, path, metadata=metadata)


def load_mask(path: Path) -> Mask:
    """Read a mask file; one clear line if it is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            hidden = file.get_tensor("hidden").astype(np.float32) if "hidden" in names else None
            names.discard("hidden")
            layers = len(names) // 2
            expected = {f"layer.{i}.{kind}" for i in range(layers) for kind in ("heads", "ff")}
            if not layers or names != expected:
                raise InputError(
                    f"{path}: expected tensors layer.<i>.heads and layer.<i>.ff for each layer"
                )
            heads, ff = (
                tuple(file.get_tensor(f"layer.{i}.{kind}").astype(np.float32) for i in range(layers))
                for kind in ("heads", "ff")
            )
            return Mask(heads, ff, hidden)
    except FileNotFoundError:
        raise InputError(f"{path}: no such mask file") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors mask file ({error})") from None
