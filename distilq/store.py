"""JobStore: the job life cycle in Redis, as clients see it. The record is the single truth.

Every transition is one Lua call (`lua/`), so that a process may die between any two lines here.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from itertools import islice
from threading import Event
from typing import Any, Protocol

from typing_extensions import Self

from distilq import keys, listing, queue, record
from distilq.cluster import JobPage, QueueState, WorkerState
from distilq.connection import RedisClient, reaches_redis
from distilq.errors import (
    JobGone,
    JobNotFinished,
    JobNotFound,
    OwnerFull,
    QueueFull,
    StoreUnavailable,
)
from distilq.jobs import Job, JobRequest, JobStatus, Priority, QueuePlace, new_id
from distilq.owner import EVERYBODY, Owner
from distilq.scripts import Scripts
from distilq.settings import Settings
from distilq.waiting import Waiters

#: Records written per Lua call, so that no call holds Redis for more than a few milliseconds.
STAGED_PER_CALL = 200

#: Seconds between two questions whether to give up waiting.
GIVE_UP_S = 1.0

#: The error of each cap, and what there are too many of.
CAPS = {
    "jobs": (QueueFull, "jobs are queued"),
    "tokens": (QueueFull, "tokens are queued"),
    "own_jobs": (OwnerFull, "of your jobs are queued"),
    "own_tokens": (OwnerFull, "tokens of your jobs are queued"),
    "own_in_flight": (OwnerFull, "of your jobs are queued or running"),
}


def never() -> bool:
    return False


class Jobs(Protocol):
    """What the API needs of a store; `JobStore` and `testing.MemoryStore` both have it."""

    def owned_by(self, owner: Owner) -> Self:
        """The store as this owner sees it: others' ids are unknown, what it submits is its own."""

    def submit(self, request: JobRequest) -> Job:
        """Write the record and queue the message, together; the job as it then stands.

        Raises:
            QueueFull: a cap on queued jobs or tokens is reached; `retry_after_s` among its members.
            OwnerFull: the owner's own cap on them, or on its jobs in flight, is reached.
            StoreFull: Redis is at maxmemory.
            StoreUnavailable: Redis cannot be reached (every method here may raise it).
        """

    def submit_many(self, requests: Sequence[JobRequest]) -> list[str]:
        """All of them or none; ids in the requests' order. Raises what `submit` does."""

    def get(self, job_id: str) -> Job:
        """Raises JobNotFound or JobGone (with `expired_at`)."""

    def get_many(self, job_ids: Sequence[str]) -> list[Job | str]:
        """In the order of the ids: the job, or the string "unknown" or "gone"."""

    def wait(self, job_id: str, timeout_s: float, give_up: Callable[[], bool] = never) -> Job:
        """The job once it is final, or as it stands after `timeout_s` or once `give_up()` is true.

        `give_up` is asked every GIVE_UP_S. Raises what `get` does.
        """

    def cancel(self, job_id: str) -> Job:
        """Cancel it: a queued job is canceled at once, a running one becomes `canceling`.

        A job that is already final is returned as it is. Raises what `get` does.
        """

    def delete(self, job_id: str) -> None:
        """Forget a final job's text. Raises what `get` does, and JobNotFinished."""

    def page(self, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        """Newest first. Raises InvalidParameters on a cursor that is none."""

    def queue(self) -> QueueState: ...

    def workers(self) -> list[WorkerState]:
        """The workers alive now, oldest first."""

    def pause(self, priority: Priority) -> None:
        """Let no worker take jobs of this priority, until `resume`."""

    def resume(self, priority: Priority) -> None: ...

    def purge(self, priority: Priority) -> int:
        """Cancel all queued jobs of this priority; how many there were."""

    def ping(self) -> None:
        """Raises StoreUnavailable."""


def _wait(woken: Event, deadline: float, give_up: Callable[[], bool]) -> None:
    while (left_s := deadline - time.monotonic()) > 0 and not give_up():
        if woken.wait(min(left_s, GIVE_UP_S)):
            return


class JobStore:
    """The `Jobs` of one model's queue, over Redis."""

    def __init__(self, redis: RedisClient, settings: Settings) -> None:
        self.redis = redis
        self.settings = settings
        self.model = settings.model
        self.owner = EVERYBODY
        self._scripts = Scripts(redis)
        self._waiters = Waiters(redis)
        self._slug = keys.slug(self.model)
        self._queues = queue.queues(self.model)

    def owned_by(self, owner: Owner) -> Self:
        other = copy.copy(self)  # the scripts, the waiters and the client are shared
        other.owner = owner
        return other

    @reaches_redis
    def submit(self, request: JobRequest) -> Job:
        job_id, request = new_id(), request.resolved()
        name = self._queues[request.priority.value]
        answer = self._scripts.submit(
            args=[
                *(self._slug, job_id, request.priority.value, self.owner.id, request.cost),
                *(queue.message(job_id, name), record.within_ms(request)),
                *self._caps(),
                *record.new_fields(request, self.model, self.owner.id),
            ]
        )
        self._admitted(answer)
        return self.get(job_id)

    @reaches_redis
    def submit_many(self, requests: Sequence[JobRequest]) -> list[str]:
        batch = [(new_id(), request.resolved()) for request in requests]
        staging = keys.staging(new_id())
        parts = iter(batch)
        staged = 0
        while part := list(islice(parts, STAGED_PER_CALL)):
            self._stage(staging, staged, part)
            staged += len(part)
        cost = sum(request.cost for _, request in batch)
        answer = self._scripts.commit(
            keys=[staging],
            args=[self._slug, self.owner.id, cost, len(batch), queue.ENVELOPE, *self._caps()],
        )
        self._admitted(answer)
        return [job_id for job_id, _ in batch]

    def _stage(self, staging: str, staged: int, part: list[tuple[str, JobRequest]]) -> None:
        args: list[str | int] = [keys.STAGING_S, staged]
        for job_id, request in part:
            fields = record.new_fields(request, self.model, self.owner.id)
            args += [job_id, request.priority.value, request.cost, record.within_ms(request)]
            args += [len(fields), *fields]
        self._scripts.stage(keys=[staging], args=args)

    def _caps(self) -> list[int]:
        owner = self.owner
        return [
            *(self.settings.max_queued_jobs, self.settings.max_queued_tokens),
            *(owner.max_queued_jobs, owner.max_queued_tokens, owner.max_in_flight),
        ]

    def _admitted(self, answer: list[Any]) -> None:
        if answer[0] == 1:
            return
        if answer[0] < 0:
            raise StoreUnavailable("the batch took too long to write; nothing of it was queued")
        _, cap, there_are, at_most, jobs = answer
        eta = listing.eta_s(self.redis, self.model, jobs)
        error, words = CAPS[cap.decode()]
        raise error(
            f"{there_are} {words}; at most {at_most} may be",
            limit=at_most,
            current=there_are,
            retry_after_s=max(1, min(60, round((eta or 100) / 100))),
        )

    @reaches_redis
    def get(self, job_id: str) -> Job:
        found = self._read([job_id])[0]
        if found == "unknown":
            raise JobNotFound(f"no job has the id {job_id}")
        if isinstance(found, str):
            expired = self.redis.zscore(keys.EXPIRY, job_id)
            raise JobGone(
                f"the text of job {job_id} is gone",
                expired_at=None if expired is None else record.iso(expired),
            )
        return found

    @reaches_redis
    def get_many(self, job_ids: Sequence[str]) -> list[Job | str]:
        return self._read(job_ids)

    def _read(self, job_ids: Sequence[str]) -> list[Job | str]:
        pipe = self.redis.pipeline(transaction=False)
        pipe.hgetall(keys.counters(self.model))
        pipe.mget(listing.drain_keys(self.model))
        for job_id in job_ids:
            pipe.hgetall(keys.job(job_id))
            pipe.zscore(keys.EXPIRY, job_id)
            pipe.hget(keys.OWNERS, job_id)
        counters, drained, *found = pipe.execute()
        rate = listing.drained_per_s(drained)

        def place(row: record.Hash) -> QueuePlace:
            return listing.place(row, counters, rate)

        facts = zip(job_ids, found[::3], found[1::3], found[2::3], strict=True)
        return [self._to_job(place, *each) for each in facts]

    def _to_job(
        self,
        place: Callable[[record.Hash], QueuePlace],
        job_id: str,
        row: record.Hash,
        gone: float | None,
        owner: bytes | None,
    ) -> Job | str:
        if not self._sees(row.get(b"owner", owner or b"")):
            return "unknown"
        if not row or row[b"status"] == b"staged":
            return "unknown" if gone is None else "gone"
        if record.missed_its_start(row) and self._scripts.expire(args=[job_id]):
            return self._read([job_id])[0]
        has_place = row[b"status"] == b"queued" and row[b"slug"].decode() == self._slug
        return record.to_job(job_id, row, place(row) if has_place else None)

    def _sees(self, owner: bytes) -> bool:
        return self.owner.sees_all or owner.decode() == self.owner.id

    @reaches_redis
    def wait(self, job_id: str, timeout_s: float, give_up: Callable[[], bool] = never) -> Job:
        deadline = time.monotonic() + timeout_s
        job = self.get(job_id)
        if job.status.final:
            return job
        with self._waiters.listen(job_id) as (channel, woken):
            while not job.status.final and time.monotonic() < deadline and not give_up():
                woken.clear()
                # Final before it could be watched: then no message comes, and none is needed.
                status = self._scripts.watch(keys=[keys.job(job_id)], args=[channel])
                if status and not JobStatus(status.decode()).final:
                    _wait(woken, deadline, give_up)
                job = self.get(job_id)
        return job

    @reaches_redis
    def cancel(self, job_id: str) -> Job:
        if not self.get(job_id).status.final:
            self._scripts.cancel(args=[job_id])
        return self.get(job_id)

    @reaches_redis
    def delete(self, job_id: str) -> None:
        status = self.get(job_id).status
        if not status.final:
            raise JobNotFinished(f"job {job_id} is {status.value}; cancel it first")
        self._scripts.delete(args=[job_id])

    @reaches_redis
    def page(self, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        of = None if self.owner.sees_all else self.owner.id
        jobs: list[Job] = []
        following = cursor
        while True:
            missing = limit - len(jobs)
            job_ids, following = listing.page(self.redis, of, status, missing, following)
            found = dict(zip(job_ids, self._read(job_ids), strict=True))
            jobs += [job for job in found.values() if isinstance(job, Job)]
            listing.drop_gone(self.redis, of, [i for i, job in found.items() if job == "gone"])
            if len(jobs) == limit or following is None:
                return JobPage(jobs=jobs, next=following)

    @reaches_redis
    def queue(self) -> QueueState:
        return listing.queue_state(self.redis, self.model, len(self.workers()))

    @reaches_redis
    def workers(self) -> list[WorkerState]:
        return listing.workers(self.redis, self.model)

    @reaches_redis
    def pause(self, priority: Priority) -> None:
        self._scripts.pause(args=[self._slug, priority.value])

    @reaches_redis
    def resume(self, priority: Priority) -> None:
        self._scripts.resume(args=[self._slug, priority.value])

    @reaches_redis
    def purge(self, priority: Priority) -> int:
        canceled, more = 0, 1
        while more:
            some, more = self._scripts.purge(args=[self._slug, priority.value])
            canceled += some
        return canceled

    def close(self) -> None:
        """End the thread that waits on behalf of `wait`. The Redis client stays the caller's."""
        self._waiters.close()

    @reaches_redis
    def ping(self) -> None:
        self.redis.ping()
