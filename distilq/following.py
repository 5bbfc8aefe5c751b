"""A job from where it stands to its end, as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from redis.exceptions import RedisError

from distilq import keys
from distilq.connection import RedisClient
from distilq.errors import StoreUnavailable
from distilq.events import AtOnce, Came, Ended, Event, Place, Stands, decoded
from distilq.jobs import Job, JobStatus
from distilq.readers import Entry, Reader, Readers

#: Seconds without an event after which the one who follows hears that there is none.
TICK_S = 1.0
#: Seconds between two looks at a queued job's place, and at a running one that is silent: should
#: the entry that ends its stream be lost, its record says so too.
QUEUED_S, RUNNING_S = 2.0, 5.0

Look = Callable[[], Job]
GiveUp = Callable[[], bool]


def follow_end(job: Job, wait: Callable[[float], Job], give_up: GiveUp) -> Iterator[list[Event]]:
    """A job that does not stream: how it stands, and its end. `wait` waits for it so long."""
    yield [Stands(job)]
    while not job.status.final and not give_up():
        known, job = job, _unless_away(lambda: wait(TICK_S), job)
        yield [] if job == known or job.status.final else [Stands(job)]
    if job.status.final:
        yield [Ended(job)]


class Following:
    """One who follows a job that streams. Each item is what has come since the last, maybe nothing.

    Tokens that another attempt supersedes are left out, or, if they have been given already,
    followed by a `Stands` that says so.
    """

    def __init__(
        self, redis: RedisClient, readers: Readers, job: Job, after: Place | None, look: Look
    ) -> None:
        """From behind the token at `after` on, or from the first; raises redis.RedisError."""
        self._redis = redis
        self._readers = readers
        self._job = job
        self._look = look
        status, known = redis.hmget(keys.job(job.id), "status", "fence")
        fence = int(known or 0)
        if fence and status == b"queued":  # its next attempt is to come
            fence += 1
        self._superseded = after is not None and after.fence != fence
        #: The last token that was given; its number is 0 before the first of an attempt.
        self._last = after if after is not None and not self._superseded else Place(fence, 0)
        self._quiet_since = time.monotonic()

    def events(self, give_up: GiveUp, at_once: AtOnce | None = None) -> Iterator[list[Event]]:
        """With `at_once` see `Jobs.follow`."""
        yield [Stands(self._job, self._superseded)]
        offer = at_once and partial(self._offer, at_once)
        with self._readers.follow(keys.events(self._job.id), self._last, offer) as reader:
            ended = False
            while not ended and not give_up():
                events = self._next(reader)
                ended = any(isinstance(event, Ended) for event in events)
                yield events

    def _next(self, reader: Reader) -> list[Event]:
        events: list[Event] = []
        for entry_id, fields in reader.take(TICK_S):
            came = decoded(entry_id, fields)
            events += self._since_last(came) if came else self._ended(self._fresh())
        if events:
            self._quiet_since = time.monotonic()
            return events
        return self._after_silence(reader)

    def _offer(self, at_once: AtOnce, entries: list[Entry]) -> bool:
        """Give away tokens that need no look at the record; by the thread that reads them."""
        if self._job.status is not JobStatus.RUNNING:
            return False
        events: list[Event] = []
        for entry in entries:
            came = decoded(*entry)
            if not came or came[0].place.fence != self._last.fence:
                return False
            events += [each for each in came if each.place.number > self._last.number]
        if not at_once(events):
            return False
        self._last = came[-1].place
        self._quiet_since = time.monotonic()
        return True

    def _since_last(self, came: list[Came]) -> list[Event]:
        events: list[Event] = []
        fence = came[0].place.fence
        if fence != self._last.fence:
            shown = self._last.number > 0
            self._job, self._last = self._fresh(), Place(fence, 0)
            events.append(Stands(self._job, shown))
        elif self._job.status is JobStatus.QUEUED:
            self._job = self._fresh()
            events.append(Stands(self._job))
        events += [each for each in came if each.place.number > self._last.number]
        self._last = came[-1].place
        return events

    def _after_silence(self, reader: Reader) -> list[Event]:
        """How the job stands, if it is time to look and if that has changed."""
        queued = self._job.status is JobStatus.QUEUED
        if time.monotonic() - self._quiet_since < (QUEUED_S if queued else RUNNING_S):
            return []
        self._quiet_since = time.monotonic()
        before, self._job = self._job, self._fresh()
        if not self._job.status.final:
            return [] if self._job == before else [Stands(self._job)]
        # Whatever its worker wrote, it wrote before the job was final.
        rest = [decoded(*entry) for entry in self._redis.xrange(reader.key, min=f"({self._last}")]
        last = [event for came in rest if came for event in self._since_last(came)]
        return [*last, *self._ended(self._job)]

    def _ended(self, job: Job) -> list[Event]:
        return [Ended(job)] if job.status.final else []

    def _fresh(self) -> Job:
        return _unless_away(self._look, self._job)


def _unless_away(look: Look, known: Job) -> Job:
    """The job as it stands; as it was known while Redis does not answer."""
    try:
        return look()
    except (RedisError, StoreUnavailable):
        time.sleep(TICK_S)
        return known
