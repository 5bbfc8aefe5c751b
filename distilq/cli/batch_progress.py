"""How far `distilq batch` is: a bar with rate and remaining time, on a terminal."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from io import UnsupportedOperation
from types import TracebackType
from typing import BinaryIO

from rich import progress as rich
from rich.console import Console
from rich.text import Text
from typing_extensions import Self


class Rate(rich.ProgressColumn):
    """Lines per second."""

    def render(self, task: rich.Task) -> Text:
        return Text(f"{task.speed:.1f} lines/s" if task.speed else "")


class Progress:
    """On standard error; nothing at all where that is a pipe."""

    def __init__(self, file: BinaryIO, done: int) -> None:
        console = Console(stderr=True)
        self._shown = console.is_terminal
        total = _lines_in(file) if self._shown else None
        self._bar = rich.Progress(
            rich.TextColumn(
                "{task.completed}" if total is None else "{task.completed}/{task.total}"
            ),
            rich.BarColumn(),
            Rate(),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("", total=total, completed=done)

    def __enter__(self) -> Self:
        if self._shown:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._shown:
            self._bar.stop()

    def advance(self) -> None:
        if self._shown:
            self._bar.advance(self._task)


def _lines_in(file: BinaryIO) -> int | None:
    """As many as it has, blank ones left out; None of a pipe, which is read only once."""
    with suppress(OSError, UnsupportedOperation):
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            count = sum(1 for line in file if line.strip())
            file.seek(0)
            return count
    return None
