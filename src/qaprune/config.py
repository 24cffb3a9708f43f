"""Configs: merge overlays over the default, expand sources, check against the schema. No torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from qaprune.errors import InputError

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
DEFAULT = ROOT / "config" / "embedded.yaml"

REPLACED_WHOLE = ("models", "datasets", "criteria", "budgets")
"""Keys whose value an overlay replaces, so that toy settings never leak into another grid."""

Config = dict[str, Any]


class _Loader(yaml.CSafeLoader):
    """YAML that refuses a key given twice, reads 1e-4 as a number (YAML 1.1 wants 1.0e-4), and takes only
    true and false for truth values (`compile: [off]` is a word).
    """


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"{node.start_mark.name}:{node.start_mark.line + 1}: key {key!r} stands twice")
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
for _letter in "oOyYnN":
    _Loader.yaml_implicit_resolvers[_letter] = [
        (tag, pattern)
        for tag, pattern in _Loader.yaml_implicit_resolvers.get(_letter, [])
        if tag != "tag:yaml.org,2002:bool"
    ]


def read_yaml(path: Path) -> Config:
    """One YAML file holding a mapping."""
    try:
        with path.open(encoding="utf-8") as file:
            value = yaml.load(file, Loader=_Loader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such config file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; expected a YAML file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that is none
        raise InputError(f"{path}{_place(error)}: invalid YAML ({_problem(error)})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a mapping of config keys")
    return value


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(error: Exception) -> str:
    """What YAML says of itself, in one line."""
    return " ".join(str(getattr(error, "problem", None) or error).split())


def merge(base: Config, overlay: Mapping[str, Any]) -> Config:
    """`overlay` over `base`: mappings merge, all else is replaced, and so are `REPLACED_WHOLE`."""
    merged = deepcopy(base)
    for key, value in overlay.items():
        if key in REPLACED_WHOLE or not isinstance(value, Mapping) or not isinstance(merged.get(key), dict):
            merged[key] = deepcopy(value)
        else:
            merged[key] = merge_nested(merged[key], value)
    return merged


def merge_nested(base: Config, overlay: Mapping[str, Any]) -> Config:
    """The merge below the top level."""
    merged = dict(base)
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = merge_nested(merged[key], value)
        else:
            merged[key] = deepcopy(value)
    return merged


def load_config(overlays: Iterable[Path], overrides: Mapping[str, Any] | None = None) -> Config:
    """The default config with overlays and overrides over it, checked. The default may be named too."""
    config = read_yaml(DEFAULT)
    for path in overlays:
        if Path(path).resolve() != DEFAULT.resolve():
            config = merge(config, read_yaml(Path(path)))
    if overrides:
        config = merge(config, _typed(overrides))
    check(config)
    return _expand(config)


def _typed(value: Any) -> Any:
    """Values from a command line arrive as strings: read them as YAML, but for a folder's name."""
    if isinstance(value, Mapping):
        return {key: _root(item) if key == "data_root" else _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"--config: {value!r}: invalid YAML ({_problem(error)})") from None


def _root(value: Any) -> str | None:
    return None if value is None else str(value)


def check(config: Config) -> None:
    """Refuse unknown keys, wrong types and impossible values: the key's path and what was expected."""
    _check_finite(config, "")
    error = _first_error(config, schema())
    if error is None:
        return
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(known))
        prefix = f"{path}." if path else ""
        raise InputError(f"config: {prefix}{unknown[0]}: unknown key; expected one of {', '.join(known)}")
    raise InputError(f"config: {path or '(top level)'}: {_worded(error)}")


@cache
def schema() -> dict[str, Any]:
    """The schema that configs are checked against."""
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def misfit(value: Any, rules: Mapping[str, Any]) -> str | None:
    """What a part of the schema has against a value, as `expected X, got Y`; None if nothing."""
    error = _first_error(value, rules)
    return None if error is None else _worded(error)


def _first_error(value: Any, rules: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import extend

    # JSON Schema takes 1e3 for an integer, Python for a float that no slice or count accepts.
    whole = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    validator = extend(Draft202012Validator, type_checker=whole)
    return best_match(
        validator(rules).iter_errors(value), key=lambda e: (-len(e.absolute_path), e.validator == "oneOf")
    )


def _check_finite(value: Any, path: str) -> None:
    """YAML has .nan and .inf, which pass every comparison of the schema or none; keys must be text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputError(f"config: {path or '(top level)'}: expected a name as key, got {key!r}")
            _check_finite(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_finite(item, f"{path}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"config: {path}: expected a finite number, got {value}")


def _worded(error: Any) -> str:
    expected = error.validator_value
    if error.validator == "required":
        return f"missing key {next(key for key in expected if key not in error.instance)!r}"
    wording = {
        "type": lambda: f"expected {expected if isinstance(expected, str) else ' or '.join(expected)}",
        "enum": lambda: f"expected one of {', '.join(map(str, expected))}",
        "minimum": lambda: f"expected at least {expected}",
        "maximum": lambda: f"expected at most {expected}",
        "exclusiveMinimum": lambda: f"expected a number above {expected}",
        "exclusiveMaximum": lambda: f"expected a number below {expected}",
        "minItems": lambda: f"expected at least {expected} item(s)",
        "minProperties": lambda: "expected at least one entry",
        "uniqueItems": lambda: "expected each value once",
        "pattern": lambda: f"expected a name that matches {expected}",
        "oneOf": lambda: (
            "expected exactly one kind of source: {path: ...}, {hub: ..., revision: ...} or {scratch: ...}"
        ),
    }
    worded = wording.get(error.validator, lambda: error.message)()
    got = repr(error.instance)
    return f"{worded}, got {got if len(got) <= 60 else got[:57] + '...'}"


_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def _expand(config: Config) -> Config:
    """Resolve `data_root`, and with it the paths of all sources: environment variables first."""
    config = _unshared(config)
    root = config.get("data_root")
    root = Path(_variables(root, "data_root")).expanduser() if root else None
    for key, source in sources(config):
        _resolve(source, root, key)
    config["data_root"] = str(root) if root else None
    return config


def _unshared(value: Any) -> Any:
    """A copy in which nothing is shared: what YAML has an alias of would be resolved twice."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def sources(config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every source of data and models in a config, with its key."""
    for name, model in config["models"].items():
        yield f"models.{name}.source", model["source"]
        for dataset, source in model.get("teachers", {}).items():
            yield f"models.{name}.teachers.{dataset}", source
    for name, dataset in config["datasets"].items():
        for split in ("train", "dev"):
            yield f"datasets.{name}.{split}", dataset[split]


def _resolve(source: dict[str, Any], root: Path | None, key: str) -> None:
    local = source.pop("local", None)
    if local is not None and root is not None:
        source.clear()
        source["path"] = local
    if "path" not in source:
        return
    path = Path(_variables(source["path"], f"{key}.path")).expanduser()
    if root is not None and not path.is_absolute():
        path = root / path
    try:
        missing = not path.exists()
    except OSError as error:
        raise InputError(f"config: {key}.path: {str(path)[:60]}...: {error.strerror}") from None
    if missing:
        raise InputError(f"config: {key}.path: {path}: no such file or folder")
    source["path"] = str(path)


def _variables(text: str, key: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in os.environ:
            raise InputError(f"config: {key}: environment variable {name} is not set")
        return os.environ[name]

    return _VARIABLE.sub(value, text)
