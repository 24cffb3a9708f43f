"""What is wrong with a spec written by hand, asked once a stage has failed on it. No torch.

The specs of the DAG come from a checked config. A spec of one's own is not checked before the stage runs:
what its keys may hold hangs on the stage, and on settings of criteria from other packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    rules = schema()
    known = _named(rules, rules["$defs"]) | OWN
    for key, value in _pairs(spec):
        options = known.get(key, [])
        # Blocks of a spec hold other keys than those of a config: each is a pair of its own.
        if isinstance(value, Mapping) and any("properties" in option for option in options):
            continue
        found = [misfit(value, option | {"$defs": rules["$defs"]}) for option in options]
        if found and all(found):
            yield f"{key!r}: {found[0]}"


def _pairs(block: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(block, Mapping):
        yield from block.items()
    for item in _items(block):
        yield from _pairs(item)


def _named(rules: Any, defs: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Every property of the schema by its name, wherever it stands; references to blocks resolved."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in _items(rules):
        for name, options in _named(item, defs).items():
            found.setdefault(name, []).extend(options)
    if isinstance(rules, Mapping) and isinstance(rules.get("properties"), Mapping):
        for name, option in rules["properties"].items():
            reference = option.get("$ref", "").rpartition("/")[2]
            found.setdefault(name, []).append(defs.get(reference, option))
    return found


def _items(block: Any) -> Iterable[Any]:
    if isinstance(block, Mapping):
        return block.values()
    return block if isinstance(block, list) else ()
