"""A bar for a map on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

from rich import progress as rich
from rich.console import Console

#: Gives, while it is shown, what moves it on by one.
Bar: TypeAlias = AbstractContextManager[Callable[[], None]]


def bar(source: object, *, shown: bool) -> Bar:
    """A bar on standard error as long as `source`, if it has a length; or none."""
    if not shown:
        return nullcontext(_nothing)
    return _shown(len(source) if hasattr(source, "__len__") else None)


def _nothing() -> None:
    pass


@contextmanager
def _shown(total: int | None) -> Iterator[Callable[[], None]]:
    columns = (
        rich.TextColumn("{task.completed}" if total is None else "{task.completed}/{task.total}"),
        rich.BarColumn(),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task("", total=total)
        yield lambda: display.advance(task)
