"""qaprune: structured pruning and distillation of question-answering models, measured.

Importing the package makes `AutoModelForQuestionAnswering.from_pretrained` load pruned checkpoints. The
registration waits until transformers itself is imported, so that commands that need no model start at once.
"""

from importlib import import_module

import wrapt

__version__ = "0.1.0"
__all__ = ["load"]


@wrapt.when_imported("transformers")
def _register_pruned_models(_module: object) -> None:
    import_module("qaprune.models.pruned")  # registers itself, and may be the very import that is under way


def __getattr__(name: str) -> object:
    """`qaprune.load` without the cost of importing it for every command."""
    if name == "load":
        return import_module("qaprune.serve.answer").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
