"""Where data sets and encoders come from: a local path, the hub, or made from scratch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qaprune.data.examples import Example
from qaprune.data.squad2 import read_squad2, squad2_from_rows
from qaprune.errors import InputError

HUB_TIMEOUT_S = 10
"""The hub has this long for an answer."""


@contextlib.contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Word the hub's many failures as one line."""
    # One try is enough to say that there is no network; the default is minutes of retries.
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(HUB_TIMEOUT_S))
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(HUB_TIMEOUT_S))
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = type(error).__name__
        raise InputError(
            f"hub source {name!r}: cannot be fetched ({reason}); check the name and the network, "
            "or give a local path instead"
        ) from error


def pinned(source: dict[str, Any]) -> dict[str, Any]:
    """The source of a data set with the commit that its branch or tag of the hub stands for now.

    So both splits are of one state of the repository, and `stage.json` can name it.
    """
    if "hub" not in source:
        return source
    with hub_errors(source["hub"]):
        from huggingface_hub import HfApi

        found = HfApi().repo_info(
            source["hub"], revision=source.get("revision"), repo_type="dataset", timeout=HUB_TIMEOUT_S
        )
    return source | {"revision": found.sha}


def hub_rows(source: dict[str, Any], split: str) -> Any:
    """Rows of a hub data set's split, streamed."""
    with hub_errors(source["hub"]):
        from datasets import load_dataset

        return load_dataset(source["hub"], split=split, revision=source.get("revision"), streaming=True)


def read_squad2_source(source: dict[str, Any], split: str) -> Iterator[Example]:
    """Yield the questions of SQuAD 2.0 from a file or from the hub."""
    if "hub" in source:
        with hub_errors(source["hub"]):
            yield from squad2_from_rows(hub_rows(source, split), source["hub"])
    else:
        yield from read_squad2(_existing(source["path"]))


def _existing(path: str) -> Path:
    if not Path(path).exists():
        raise InputError(f"{path}: no such file")
    return Path(path)


def fetch_encoder(source: dict[str, Any]) -> Path:
    """The local folder of a checkpoint: the path, or a snapshot from the hub, named by its commit."""
    if "path" in source:
        folder = Path(source["path"])
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected a Hugging Face checkpoint")
        return folder
    with hub_errors(source["hub"]):
        from huggingface_hub import snapshot_download

        patterns = [
            "config.json",
            "*.safetensors",
            "tokenizer*",
            "vocab*",
            "merges.txt",
            "special_tokens_map.json",
        ]
        return Path(
            snapshot_download(source["hub"], revision=source.get("revision"), allow_patterns=patterns)
        )
