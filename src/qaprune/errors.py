"""Errors that a user can act on. The CLI prints them as one line and exits with their code."""


class InputError(Exception):
    """Bad input: the message names the file, record or key and what was expected there."""

    exit_code = 1


class NotComparable(InputError):
    """Figures that were not measured alike, asked for side by side."""

    exit_code = 4
