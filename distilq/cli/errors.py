"""What a command says when it cannot do what it was asked: one line, no traceback."""

from __future__ import annotations


class CannotRun(Exception):
    """The message is for the person at the terminal: what is wrong and what would help."""
