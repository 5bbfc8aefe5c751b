"""Waiting for a job inside a request, without taking every thread of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import request

from distilq.errors import TooManyWaiting, Unavailable
from distilq.jobs import Job

from . import context
from .context import store, waiting_slots
from .hangup import client_is_gone
from .prefer import seconds_to_wait


@contextmanager
def slot() -> Iterator[None]:
    """Hold one of the threads that may wait; the others stay free for requests that do not.

    Raises:
        TooManyWaiting: all of them wait already.
    """
    slots = waiting_slots()
    if not slots.acquire(blocking=False):
        raise TooManyWaiting("ask again without waiting, or later", retry_after_s=1)
    try:
        yield
    finally:
        slots.release()


def wait_until_final(job_id: str, limit_s: float) -> Job:
    """The job once it is final, or there is no use in waiting on.

    That is when `limit_s` have passed, the client has hung up, or the server stops.
    """
    return store().wait(job_id, limit_s, no_use_in_waiting())


def no_use_in_waiting() -> Callable[[], bool]:
    """What tells whether the client has hung up or the server stops, also after the view."""
    environ, stopping = request.environ, context.stopping()
    return lambda: stopping() or client_is_gone(environ)


def wait_as_preferred(job: Job) -> tuple[Job, int | None]:
    """The job after the wait that the client prefers, and the seconds of it; None if it got none.

    A wait is a wish: where it cannot be granted, the job as it stands is a good answer.
    """
    wait_s = seconds_to_wait()
    if wait_s is None:
        return job, None
    try:
        with slot():
            return wait_until_final(job.id, wait_s), wait_s
    except Unavailable:
        return job, None
