"""Server-sent events (WHATWG HTML, 9.2): a job that is followed, written as it goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

from flask import Response, request

from distilq.errors import DistilqError, NotFinishedInTime
from distilq.events import Ended, Event, Place

from .context import store
from .direct import Direct, Shown
from .waiting import no_use_in_waiting, slot

#: Seconds after which silence is broken, so that no proxy takes the connection for dead.
HEARTBEAT_S = 15.0
HEARTBEAT = ": ping\n\n"

Failed = Callable[[DistilqError], str]


def message(event: str, data: str, event_id: str | None = None) -> str:
    """One event; `data` is of one line, and of ASCII: some clients end lines at U+2028 too."""
    head = f"event: {event}\n" if event else ""
    named = f"id: {event_id}\n" if event_id else ""
    return f"{head}{named}data: {data}\n\n"


def problem_message(error: DistilqError) -> str:
    return message("error", json.dumps(error.problem()), "end")


def event_stream(
    job_id: str,
    after: Place | None,
    shown: Shown,
    failed: Failed = problem_message,
    *,
    cancel: bool = False,
) -> Response:
    """The job from behind `after` on, as `shown` writes its events, and `failed` what ends them.

    With `cancel` the job ends when the client leaves, or the server stops. Raises what
    `Jobs.follow` does, and TooManyWaiting.
    """
    jobs = store()
    with ExitStack() as held:
        held.enter_context(slot())
        direct = Direct(request.environ, shown)
        found = jobs.follow(job_id, after, no_use_in_waiting(), direct.tell)
        if cancel:
            found = _canceled_unless_ended(found, lambda: jobs.cancel(job_id))
        response = Response(
            _written(found, shown, failed, direct), content_type="text/event-stream"
        )
        response.call_on_close(held.pop_all().close)  # a HEAD never begins the body
    response.headers["X-Job-Id"] = job_id
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response


def _written(
    found: Iterator[list[Event]], shown: Shown, failed: Failed, direct: Direct
) -> Iterator[str]:
    silent_since = time.monotonic()
    try:
        for events in found:
            direct.settle()
            now = time.monotonic()
            if text := "".join(shown(events)):
                silent_since = now
                yield text
                direct.begin()
            elif now - max(silent_since, direct.written_at) >= HEARTBEAT_S:
                silent_since = now
                yield HEARTBEAT
    except DistilqError as error:  # forgotten meanwhile, say: too late for a status
        yield failed(error)


def _canceled_unless_ended(
    found: Iterator[list[Event]], cancel: Callable[[], object]
) -> Iterator[list[Event]]:
    ended = False
    try:
        for events in found:
            ended = any(isinstance(event, Ended) for event in events)
            yield events
        if not ended:
            raise NotFinishedInTime("the server stops, and has canceled it")
    finally:
        if not ended:
            with suppress(DistilqError):
                cancel()
