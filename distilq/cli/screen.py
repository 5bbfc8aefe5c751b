"""Texts as their tokens come, one text after the other."""

from __future__ import annotations

from collections.abc import Sequence

from distilq.cli.errors import note
from distilq.cli.text import before, write, write_texts
from distilq.client import StatusEvent, TokenEvent


class Screen:
    """Shows the first text as it grows; when it has ended the next, as far as that has come."""

    def __init__(self, prompt: str, texts: int) -> None:
        self._prompt = prompt
        self._count = texts
        self._shown = [""] * texts
        self._at = -1
        self._restart()
        self._next()

    def status(self, event: StatusEvent) -> None:
        if event.restarted:
            note("a worker died; the job begins again")
            self._restart()

    def token(self, event: TokenEvent) -> None:
        self._told[event.sequence] += event.text
        self._ended[event.sequence] = event.finish_reason is not None
        self._show()

    def done(self, texts: Sequence[str]) -> None:
        """The texts as they are in the end: as shown, if not a worker died that could do other."""
        if list(texts) != self._shown:
            note("after the restart the texts have come out otherwise; as they are:")
            write("\n")
            write_texts(texts)

    def _restart(self) -> None:
        """What was shown stays, and is not shown again: the same seed gives the same text."""
        self._told = [self._prompt] * self._count
        self._ended = [False] * self._count

    def _next(self) -> None:
        self._at += 1
        if self._at < self._count:
            write(before(self._at, self._count))
            self._show()

    def _show(self) -> None:
        if self._at == self._count:
            return
        told, shown = self._told[self._at], self._shown[self._at]
        if told.startswith(shown):
            write(told[len(shown) :])
            self._shown[self._at] = told
            if self._ended[self._at]:
                write("\n")
                self._next()
