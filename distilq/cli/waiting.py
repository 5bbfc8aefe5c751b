"""One line on a terminal that says where a job stands, for as long as there is nothing else."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from typing_extensions import Self

from distilq.client import StatusEvent


class Waiting:
    """On standard error; nothing at all where that is a pipe."""

    def __init__(self) -> None:
        self._status = Console(stderr=True).status("submitted")

    def __enter__(self) -> Self:
        if self._status.console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def tell(self, event: StatusEvent) -> None:
        self._status.update(_words(event))

    def stop(self) -> None:
        self._status.stop()


def _words(event: StatusEvent) -> str:
    words = [event.status.value]
    if event.position is not None:
        words.append(f"position {event.position}")
    if event.eta_s is not None:
        words.append(f"starts in about {event.eta_s:.0f} s")
    return ", ".join(words)
