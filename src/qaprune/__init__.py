"""qaprune: structured pruning and distillation of question-answering models, measured.

Importing the package makes `AutoModelForQuestionAnswering.from_pretrained` load pruned checkpoints. The
registration waits until transformers itself is imported, so that commands that need no model start at once.
"""

import wrapt

__version__ = "0.1.0"


@wrapt.when_imported("transformers")
def _register_pruned_models(_module: object) -> None:
    from qaprune.models.pruned import register

    register()
