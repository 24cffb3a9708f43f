"""Errors that a user can act on. The CLI prints them as one line and exits with their code."""


class InputError(Exception):
    """Bad input: the message names the file, record or key and what was expected there."""

    exit_code = 1


MEMORY_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "_STATUS_ALLOC_FAILED",
)
"""How a CPU says it, which depends on the system, and CUDA's libraries, which allocate for themselves."""


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out, of this machine or of its GPU."""
    names = {kind.__name__ for kind in type(error).__mro__}  # torch is not imported for its class
    if names & {"OutOfMemoryError", "MemoryError"}:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY_WORDS)


def gpu_failure(error: BaseException) -> str | None:
    """What CUDA says of a failure, in one clause; None for other errors, memory that ran out among them.

    Errors that a kernel's own assertion raised are faults of the code and keep their traceback.
    """
    text = " ".join(str(error).split())
    if out_of_memory(error) or "CUDA error" not in text or "device-side assert" in text:
        return None
    return text[:200]


class NotComparable(InputError):
    """Figures that were not measured alike, asked for side by side."""

    exit_code = 4
