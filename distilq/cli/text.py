"""Texts in and out: prompts from the command line or a pipe, and what is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import typer

from distilq.cli.errors import CannotRun

#: What a terminal may take for a command to itself; a model may well write it.
CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(32), *range(127, 160))
    if chr(code) not in "\n\t"
}


def read_prompt(given: str | None) -> str:
    """The prompt; none, or `-`: standard input, without the line's end that `echo` writes.

    Raises:
        CannotRun: it is no text.
        UsageError: there is none, and standard input is a terminal.
    """
    if given not in (None, "-"):
        return str(given)
    if given is None and sys.stdin.isatty():
        raise typer.BadParameter("give a PROMPT, or pipe one in; - reads it from the terminal")
    return _decoded(sys.stdin.buffer.read()).removesuffix("\n").removesuffix("\r")


def read_lines() -> Iterator[str]:
    """The lines of standard input, without their ends, as they come."""
    for line in sys.stdin.buffer:
        yield _decoded(line).removesuffix("\n").removesuffix("\r")


def read_words(given: Iterable[str]) -> Iterator[str]:
    """What was given; in place of `-` what stands on standard input."""
    for word in given:
        if word == "-":
            for line in read_lines():
                yield from line.split()
        else:
            yield word


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CannotRun(f"standard input is not UTF-8: {error}") from None


def before(number: int, of: int) -> str:
    """What stands before text `number`, counted from 0: on a pipe an empty line between two."""
    if of == 1:
        return ""
    gap = "\n" if number else ""
    return f"{gap}── {number + 1} of {of} ──\n" if sys.stdout.isatty() else gap


def write(text: str) -> None:
    """Print it as it is, without control characters on a terminal; at once."""
    sys.stdout.write(text.translate(CONTROLS) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_texts(texts: Iterable[str]) -> None:
    all_of_them = list(texts)
    for number, text in enumerate(all_of_them):
        write(f"{before(number, len(all_of_them))}{text}\n")
