"""What every view needs of its application: the store, the settings, the request's id."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from threading import BoundedSemaphore
from typing import TypeVar, cast

from flask import Flask, current_app, g, request

from distilq.archive import Library
from distilq.errors import StorageUnavailable
from distilq.owner import NOBODY, Owner
from distilq.settings import Settings
from distilq.store import Jobs

#: Large requests that a process works on at once, see turns.py.
LARGE_AT_ONCE = 2

T = TypeVar("T")

VISIBLE_ASCII = re.compile(r"[!-~]{1,128}")


def install(app: Flask, settings: Settings, store: Jobs, library: Library | None) -> None:
    app.extensions["distilq.archive"] = library
    app.extensions["distilq.settings"] = settings
    app.extensions["distilq.store"] = store
    app.extensions["distilq.stopping"] = lambda: False  # a server that knows puts its own here
    # A quarter of the threads never waits, so that the API answers however many long polls it has.
    app.extensions["distilq.large_turns"] = BoundedSemaphore(LARGE_AT_ONCE)
    app.extensions["distilq.slots"] = BoundedSemaphore(waiting_threads(settings))


def waiting_threads(settings: Settings) -> int:
    """How many requests of a process may wait at once."""
    return max(1, settings.api_threads * 3 // 4)


def store() -> Jobs:
    """The store as the owner of the request's key sees it; nobody's, until a key was shown."""
    return cast(Jobs, current_app.extensions["distilq.store"]).owned_by(owner())


def library() -> Library:
    """Files and batches as that owner sees them.

    Raises:
        StorageUnavailable: this application was made without.
    """
    found: Library | None = current_app.extensions["distilq.archive"]
    if found is None:
        raise StorageUnavailable("there is none here")
    return found.owned_by(owner())


def owner() -> Owner:
    """Whose request this is; nobody's, until a key was shown."""
    found: Owner = g.get("owner", NOBODY)
    return found


def kept(items: Iterator[T]) -> Iterator[T]:
    """The same, each made on behalf of this request's owner, also when the request is over.

    Each in a context of its own: a server may ask for them from one thread or from several.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # of a werkzeug proxy
    return _kept(app, owner(), items)


def _kept(app: Flask, asks: Owner, items: Iterator[T]) -> Iterator[T]:
    while True:
        with app.app_context():
            g.owner = asks
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


def settings() -> Settings:
    return cast(Settings, current_app.extensions["distilq.settings"])


def waiting_slots() -> BoundedSemaphore:
    return cast(BoundedSemaphore, current_app.extensions["distilq.slots"])


def large_turns() -> BoundedSemaphore:
    return cast(BoundedSemaphore, current_app.extensions["distilq.large_turns"])


def stopping() -> Callable[[], bool]:
    """What tells whether the server is to stop, so that nobody should be kept waiting."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # of a werkzeug proxy
    return lambda: cast(bool, app.extensions["distilq.stopping"]())


def request_id() -> str:
    """The client's X-Request-Id where it is usable, else a new one."""
    found: str | None = g.get("request_id")
    if found is None:
        given = request.headers.get("X-Request-Id", "")
        # No secret: what the kernel draws would cost a system call, and the GIL for its time.
        drawn = f"{random.getrandbits(128):032x}"  # nosec B311
        found = g.request_id = given if VISIBLE_ASCII.fullmatch(given) else drawn
    return found
