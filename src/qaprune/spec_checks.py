"""What is wrong with a spec written by hand, asked once a stage has failed on it. No torch.

The specs of the DAG come from a checked config. A spec of one's own is not checked before the stage runs:
what its keys may hold hangs on the stage, and on settings of criteria from other packages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from qaprune.config import misfit, schema

OWN: dict[str, list[dict[str, Any]]] = {
    "full_dev": [{"type": ["boolean", "array"]}],
    "backend": [{"type": ["string", "array"]}],
    "untrained": [{"type": ["object", "null"]}],
    "run": [{"type": "object"}],
    "source": [{"type": "object"}],
    "train": [{"type": "object"}],
    "dev": [{"type": "object"}],
    "training": [{"type": "object"}],
    "compute": [{"type": "object"}],
    "round_to": [{"type": ["object", "array"]}],
    "criterion": [{"type": "string"}],
    "budget": [{"type": ["string", "null"]}],
    "label": [{"type": "string"}],
    "seed": [{"type": "integer", "minimum": 0}],
}
"""Keys that specs have and configs do not, or with another meaning there."""


def misfits(spec: Mapping[str, Any]) -> Iterator[str]:
    """Each key whose value no key of that name in a config may have: `'lr': expected number, got 'x'`."""
    known = _known()
    for key, value in _pairs(spec):
        # Blocks of a spec hold other keys than those of a config: each is a pair of its own.
        if key not in known or (isinstance(value, Mapping) and known[key].takes_blocks):
            continue
        if wrong := known[key].misfit(value):
            yield f"{key!r}: {wrong}"


def _pairs(block: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(block, Mapping):
        yield from block.items()
    for item in block.values() if isinstance(block, Mapping) else block if isinstance(block, list) else ():
        yield from _pairs(item)


@dataclass(frozen=True)
class Key:
    """What a key may hold: the schemas of every place that has one of its name."""

    options: list[dict[str, Any]]
    defs: dict[str, Any]

    @property
    def takes_blocks(self) -> bool:
        return any("properties" in option for option in self.options)

    def misfit(self, value: Any) -> str | None:
        """What the first place has against the value, if no place takes it."""
        found = [misfit(value, {**option, "$defs": self.defs}) for option in self.options]
        return found[0] if all(found) else None


@cache
def _known() -> dict[str, Key]:
    whole = schema()
    defs = whole["$defs"]
    return {
        name: Key([_resolved(option, defs) for option in _unique(options)], defs)
        for name, options in (_named(whole) | OWN).items()
    }


def _resolved(option: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """What a reference stands for: a block behind one is a block too."""
    return defs[option["$ref"].rpartition("/")[2]] if "$ref" in option else option


def _unique(options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [option for number, option in enumerate(options) if option not in options[:number]]


def _named(block: Any) -> dict[str, list[dict[str, Any]]]:
    """Every property of the schema by its name, wherever it stands."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in block.values() if isinstance(block, Mapping) else block if isinstance(block, list) else ():
        for name, options in _named(item).items():
            found.setdefault(name, []).extend(options)
    if isinstance(block, Mapping) and isinstance(block.get("properties"), Mapping):
        for name, option in block["properties"].items():
            found.setdefault(name, []).append(option)
    return found
