"""What a command says when it cannot do what it was asked: one line, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class CannotRun(Exception):
    """The message is for the person at the terminal: what is wrong and what would help."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    try:
        yield
    except CannotRun as error:
        _end(str(error))
    except ModuleNotFoundError as error:
        _end(f"{error.name} is missing: pip install 'distilq[all]'")


def _end(words: str) -> None:
    sys.stderr.write(f"distilq: {words}\n")
    sys.exit(1)
