"""JobStore: the job life cycle in Redis, as clients see it. The record is the single truth.

Every transition is one Lua call (`lua/`), so that a process may die between any two lines here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import islice
from threading import Event
from typing import ParamSpec, Protocol, TypeVar

from redis.exceptions import RedisError

from distilq import keys, listing, queue, record
from distilq.cluster import JobPage, QueueState, WorkerState
from distilq.connection import RedisClient
from distilq.errors import JobGone, JobNotFinished, JobNotFound, QueueFull, StoreUnavailable
from distilq.jobs import Job, JobRequest, JobStatus, QueuePlace, new_id
from distilq.scripts import Scripts
from distilq.settings import Settings
from distilq.waiting import Waiters

#: Records written per Lua call, so that no call holds Redis for more than a few milliseconds.
STAGED_PER_CALL = 200

#: Seconds between two questions whether to give up waiting.
GIVE_UP_S = 1.0

P = ParamSpec("P")
R = TypeVar("R")


def never() -> bool:
    return False


class Jobs(Protocol):
    """What the API needs of a store; `JobStore` and `testing.MemoryStore` both have it."""

    def submit(self, request: JobRequest) -> Job:
        """Write the record and queue the message, together; the job as it then stands.

        Raises:
            QueueFull: a cap on queued jobs or tokens is reached; `retry_after_s` among its members.
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

    def ping(self) -> None:
        """Raises StoreUnavailable."""


def _reaches_redis(method: Callable[P, R]) -> Callable[P, R]:
    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except RedisError as error:
            raise StoreUnavailable(f"Redis: {error}") from error

    return call


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
        self._scripts = Scripts(redis)
        self._waiters = Waiters(redis)
        self._counters = keys.counters(self.model)
        self._queues = queue.queues(self.model)

    @_reaches_redis
    def submit(self, request: JobRequest) -> Job:
        job_id, request = new_id(), request.resolved()
        name = self._queues[request.priority.value]
        answer = self._scripts.submit(
            keys=[keys.job(job_id), name, self._counters, keys.wake(self.model)],
            args=[
                job_id,
                queue.message(job_id, name),
                request.priority.value,
                request.cost,
                self.settings.max_queued_jobs,
                self.settings.max_queued_tokens,
                *record.new_fields(request, self.model),
            ],
        )
        self._admitted(answer)
        return self.get(job_id)

    @_reaches_redis
    def submit_many(self, requests: Sequence[JobRequest]) -> list[str]:
        batch = [(new_id(), request.resolved()) for request in requests]
        staging = keys.staging(new_id())
        parts = iter(batch)
        while part := list(islice(parts, STAGED_PER_CALL)):
            self._stage(staging, part)
        answer = self._scripts.commit(
            keys=[staging, self._counters, keys.wake(self.model)],
            args=[
                self.settings.max_queued_jobs,
                self.settings.max_queued_tokens,
                sum(request.cost for _, request in batch),
                len(batch),
                queue.ENVELOPE,
                *(text for pair in self._queues.items() for text in pair),
            ],
        )
        self._admitted(answer)
        return [job_id for job_id, _ in batch]

    def _stage(self, staging: str, part: list[tuple[str, JobRequest]]) -> None:
        args: list[str | int] = [keys.STAGING_S]
        for job_id, request in part:
            fields = record.new_fields(request, self.model)
            args += [job_id, request.priority.value, request.cost, len(fields), *fields]
        self._scripts.stage(keys=[staging], args=args)

    def _admitted(self, answer: list[int]) -> None:
        if answer[0] == 1:
            return
        if answer[0] < 0:
            raise StoreUnavailable("the batch took too long to write; nothing of it was queued")
        jobs, tokens = answer[1:]
        eta = listing.eta_s(self.redis, self.model, jobs)
        raise QueueFull(
            f"{jobs} jobs and {tokens} tokens are queued; at most"
            f" {self.settings.max_queued_jobs} and {self.settings.max_queued_tokens} may be",
            queued_jobs=jobs,
            queued_tokens=tokens,
            retry_after_s=max(1, min(60, round((eta or 100) / 100))),
        )

    @_reaches_redis
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

    @_reaches_redis
    def get_many(self, job_ids: Sequence[str]) -> list[Job | str]:
        return self._read(job_ids)

    def _read(self, job_ids: Sequence[str]) -> list[Job | str]:
        pipe = self.redis.pipeline(transaction=False)
        pipe.hgetall(self._counters)
        pipe.mget(listing.drain_keys(self.model))
        for job_id in job_ids:
            pipe.hgetall(keys.job(job_id))
            pipe.zscore(keys.EXPIRY, job_id)
        counters, drained, *found = pipe.execute()
        rate = listing.drained_per_s(drained)

        def place(row: record.Hash) -> QueuePlace:
            return listing.place(row, counters, rate)

        pairs = zip(job_ids, found[::2], found[1::2], strict=True)
        return [self._to_job(job_id, row, gone, place) for job_id, row, gone in pairs]

    def _to_job(
        self,
        job_id: str,
        row: record.Hash,
        gone: float | None,
        place: Callable[[record.Hash], QueuePlace],
    ) -> Job | str:
        if not row or row[b"status"] == b"staged":
            return "unknown" if gone is None else "gone"
        counted_in = keys.counters(row[b"model"].decode())
        if record.missed_its_start(row) and self._expire(job_id, counted_in):
            return self.get(job_id)
        has_place = row[b"status"] == b"queued" and counted_in == self._counters
        return record.to_job(job_id, row, place(row) if has_place else None)

    def _expire(self, job_id: str, counters: str) -> bool:
        return bool(self._scripts.expire(keys=[keys.job(job_id), counters], args=[job_id]))

    @_reaches_redis
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

    @_reaches_redis
    def cancel(self, job_id: str) -> Job:
        # Records are common to all models that share this Redis; it may be another one's job.
        model = self.redis.hget(keys.job(job_id), "model") or b""
        self._scripts.cancel(keys=[keys.job(job_id), keys.counters(model.decode())], args=[job_id])
        return self.get(job_id)

    @_reaches_redis
    def delete(self, job_id: str) -> None:
        status = self.get(job_id).status
        if not status.final:
            raise JobNotFinished(f"job {job_id} is {status.value}; cancel it first")
        self._scripts.delete(keys=[keys.job(job_id)], args=[job_id])

    @_reaches_redis
    def page(self, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        jobs: list[Job] = []
        following = cursor
        while True:
            missing = limit - len(jobs)
            job_ids, following = listing.page(self.redis, status, missing, following)
            found = dict(zip(job_ids, self._read(job_ids), strict=True))
            jobs += [job for job in found.values() if isinstance(job, Job)]
            listing.drop_gone(self.redis, [i for i, job in found.items() if job == "gone"])
            if len(jobs) == limit or following is None:
                return JobPage(jobs=jobs, next=following)

    @_reaches_redis
    def queue(self) -> QueueState:
        return listing.queue_state(self.redis, self.model, len(self.workers()))

    @_reaches_redis
    def workers(self) -> list[WorkerState]:
        return listing.workers(self.redis, self.model)

    def close(self) -> None:
        """End the thread that waits on behalf of `wait`. The Redis client stays the caller's."""
        self._waiters.close()

    @_reaches_redis
    def ping(self) -> None:
        self.redis.ping()
