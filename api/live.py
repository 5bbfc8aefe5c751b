"""What all who watch a process are told: made once a second at most, whatever their number."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from flask import current_app

from distilq.errors import StoreUnavailable
from distilq.stats import Snapshot
from distilq.store import Jobs

from .sse import message

log = logging.getLogger("distilq.api")

#: Seconds for which what was made is good enough, and from one look of a viewer to the next.
FRESH_S = 1.0

#: Seconds after which viewers are told again what has not changed.
QUIET_S = 5.0

T = TypeVar("T")


class Shared(Generic[T]):
    """Something that costs: made by who asks first, while others who ask wait for it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[float, T] | None = None

    def __call__(self) -> T:
        with self._lock:
            if self._made is None or time.monotonic() - self._made[0] >= FRESH_S:
                made = self._make()
                self._made = time.monotonic(), made
            return self._made[1]


@dataclass(frozen=True)
class Frame:
    """An event for admins and for others, and what it says apart from the time."""

    says: str
    for_admins: str
    for_others: str


class Live:
    """The last hour and the present of one store. Redis' absence is shared as well."""

    def __init__(self, store: Jobs) -> None:
        self._store = store
        self._away = False
        self._stats = Shared(self._make_stats)
        self._frame = Shared(self._make_frame)

    def stats(self) -> str:
        """The last hour as JSON. Raises StoreUnavailable."""
        found = self._stats()
        if isinstance(found, StoreUnavailable):
            raise StoreUnavailable(found.detail)
        return found

    def watch(self, give_up: Callable[[], bool], *, as_admin: bool) -> Iterator[str]:
        """Events, as long as there is use in them; the last hour first. Raises StoreUnavailable."""
        return self._watch(message("history", self.stats()), give_up, as_admin=as_admin)

    def _watch(self, first: str, give_up: Callable[[], bool], *, as_admin: bool) -> Iterator[str]:
        yield first
        said, told_at = "", 0.0
        while not give_up():
            frame, now = self._frame(), time.monotonic()
            if frame.says != said or now - told_at >= QUIET_S:
                said, told_at = frame.says, now
                yield frame.for_admins if as_admin else frame.for_others
            time.sleep(FRESH_S)

    def _make_stats(self) -> str | StoreUnavailable:
        try:
            return self._store.stats().model_dump_json(ensure_ascii=True)
        except StoreUnavailable as error:
            return error

    def _make_frame(self) -> Frame:
        try:
            frame = _frame(self._store.snapshot())
        except StoreUnavailable as error:
            if not self._away:  # once per outage
                log.warning("viewers wait for Redis: %s", error.detail)
            self._away = True
            text = message("problem", json.dumps(StoreUnavailable().problem()))
            return Frame(text, text, text)
        self._away = False
        return frame


def live() -> Live:
    return cast(Live, current_app.extensions["distilq.live"])


def _frame(snapshot: Snapshot) -> Frame:
    others = snapshot.model_copy(update={"dead": None})
    return Frame(
        snapshot.model_dump_json(exclude={"workers": {"__all__": {"seen_at"}}}),
        *(message("snapshot", s.model_dump_json(ensure_ascii=True)) for s in (snapshot, others)),
    )
