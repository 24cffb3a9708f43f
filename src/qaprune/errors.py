"""Errors that a user can act on. The CLI prints them as one line and exits with their code."""


class InputError(Exception):
    """Bad input: the message names the file, record or key and what was expected there."""

    exit_code = 1
