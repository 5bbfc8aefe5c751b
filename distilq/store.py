"""JobStore: the job life cycle in Redis, as clients see it. The record is the single truth.

Every transition is one Lua call (`lua/`), so that a process may die between any two lines here.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import Self

from distilq import deliveries, keys, listing, queue, record, timeline
from distilq.ahead import Ahead
from distilq.cluster import JobPage, QueueState, WorkerState
from distilq.connection import RedisClient, reaches_redis
from distilq.dead import DeadList
from distilq.deaths import Dead
from distilq.deliveries import Deliveries
from distilq.errors import (
    JobGone,
    JobNotFinished,
    JobNotFound,
    NoWebhook,
    OwnerFull,
    QueueFull,
    StoreUnavailable,
)
from distilq.events import AtOnce, Event, Place
from distilq.following import Following, follow_end
from distilq.histograms import Histogram
from distilq.histograms import read as histograms_of
from distilq.jobs import Job, JobRequest, JobStatus, Priority, QueuePlace, new_id
from distilq.once import IN_FLIGHT, Once, batch_ids
from distilq.owner import EVERYBODY, Owner
from distilq.readers import Readers
from distilq.samples import Samples
from distilq.scripts import Scripts, call_many
from distilq.settings import Settings
from distilq.stats import Snapshot, Stats, points_of, stats_of
from distilq.timeline import Timeline
from distilq.together import Together
from distilq.waiting import Waiters

if TYPE_CHECKING:
    from distilq.spans import Traces

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


@dataclass(frozen=True)
class Observed:
    """Counts since the first start, of all models, and the histograms of this one."""

    #: Jobs submitted, and ended by status; generated_tokens.
    totals: dict[str, int]
    histograms: list[Histogram]
    #: Entries of the dead list now.
    dead: int


def never() -> bool:
    return False


class Jobs(Protocol):
    """What the API needs of a store; `JobStore` and `testing.MemoryStore` both have it."""

    def owned_by(self, owner: Owner) -> Self:
        """The store as this owner sees it: others' ids are unknown, what it submits is its own."""

    def submit(self, request: JobRequest, once: Once | None = None) -> Job:
        """Write the record and queue the message, together; the job as it then stands.

        With `once`, the job that an earlier call has made, if there was one: see `Once.replayed`.

        Raises:
            IdempotencyKeyReused: there was one, of another request.
            JobGone: there was one, and its job's text has expired.
            QueueFull: a cap on queued jobs or tokens is reached; `retry_after_s` among its members.
            OwnerFull: the owner's own cap on them, or on its jobs in flight, is reached.
            StoreFull: Redis is at maxmemory.
            StoreUnavailable: Redis cannot be reached (every method here may raise it).
        """

    def submit_many(self, requests: Sequence[JobRequest], once: Once | None = None) -> list[str]:
        """All of them or none; ids in the requests' order.

        Raises what `submit` does, except JobGone, and IdempotencyInFlight.
        """

    def recall(self, once: Once) -> list[str] | None:
        """The ids of what an earlier call has submitted with this key; None if there was none.

        Raises IdempotencyKeyReused and IdempotencyInFlight.
        """

    def get(self, job_id: str) -> Job:
        """Raises JobNotFound or JobGone (with `expired_at`)."""

    def get_many(self, job_ids: Sequence[str]) -> list[Job | str]:
        """In the order of the ids: the job, or the string "unknown" or "gone"."""

    def statuses(self, job_ids: Sequence[str]) -> list[JobStatus | None]:
        """In the order of the ids; None where `get_many` has a word. Costs less than that."""

    def forget(self, job_ids: Sequence[str]) -> None:
        """Forget the texts of those that are final; what `delete` raises is no error here."""

    def wait(self, job_id: str, timeout_s: float, give_up: Callable[[], bool] = never) -> Job:
        """The job once it is final, or as it stands after `timeout_s` or once `give_up()` is true.

        `give_up` is asked every GIVE_UP_S. Raises what `get` does.
        """

    def follow(
        self,
        job_id: str,
        after: Place | None = None,
        give_up: Callable[[], bool] = never,
        at_once: AtOnce | None = None,
    ) -> Iterator[list[Event]]:
        """The job from where it stands to its end, as it happens; tokens only if it streams.

        Tokens come from the first on, or from behind the one at `after`. Every list is what has
        come since the one before; it is empty after TICK_S without news, when `give_up` is asked.
        While somebody waits for the next list, tokens may be offered to `at_once` instead, by
        another thread; it must not wait for anything, and what it takes is in no list.
        Raises what `get` does, at once; later, when the job is forgotten meanwhile, as it goes.
        """

    def cancel(self, job_id: str) -> Job:
        """Cancel it: a queued job is canceled at once, a running one becomes `canceling`.

        A job that is already final is returned as it is. Raises what `get` does.
        """

    def delete(self, job_id: str) -> None:
        """Forget a final job's text. Raises what `get` does, and JobNotFinished."""

    def deliveries(self, job_id: str) -> Deliveries:
        """How telling its webhook goes. Raises what `get` does."""

    def redeliver(self, job_id: str) -> Deliveries:
        """Tell a final job's webhook again, whether it was told or not.

        Raises what `get` does, JobNotFinished, and NoWebhook: there is none to tell of its end.
        """

    def timeline(self, job_id: str) -> Timeline:
        """What has happened to it, as far as that is kept. Raises what `get` does."""

    def request(self, job_id: str) -> dict[str, Any]:
        """What was submitted, without its webhook. Raises what `get` does."""

    def page(self, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        """Newest first. Raises InvalidParameters on a cursor that is none."""

    def queue(self) -> QueueState: ...

    def workers(self) -> list[WorkerState]:
        """The workers alive now, oldest first."""

    def drain_worker(self, worker_id: str) -> WorkerState:
        """Let a worker end what it holds and take no more jobs, until `resume_worker`.

        Raises WorkerNotFound: it is not alive. Another that is started in its place takes jobs.
        """

    def resume_worker(self, worker_id: str) -> WorkerState:
        """Let a worker take jobs again, within a second. Raises WorkerNotFound."""

    def observed(self) -> Observed:
        """What has happened since the first start."""

    def dead(self) -> Dead:
        """The dead list; whose entries they are matters to nobody here."""

    def stats(self) -> Stats:
        """The last hour."""

    def snapshot(self) -> Snapshot:
        """How it stands now, all in one."""

    def pause(self, priority: Priority) -> None:
        """Let no worker take jobs of this priority, until `resume`."""

    def resume(self, priority: Priority) -> None: ...

    def purge(self, priority: Priority) -> int:
        """Cancel all queued jobs of this priority; how many there were."""

    def ping(self) -> None:
        """Raises StoreUnavailable."""


def _is_there(row: record.Hash) -> bool:
    return row.get(b"status", b"staged") != b"staged"


def _wait(woken: threading.Event, deadline: float, give_up: Callable[[], bool]) -> None:
    while (left_s := deadline - time.monotonic()) > 0 and not give_up():
        if woken.wait(min(left_s, GIVE_UP_S)):
            return


class JobStore:
    """The `Jobs` of one model's queue, over Redis."""

    def __init__(
        self, redis: RedisClient, settings: Settings, traces: Traces | None = None
    ) -> None:
        self.redis = redis
        self.settings = settings
        self._traces = traces
        self.model = settings.model
        self.owner = EVERYBODY
        self._scripts = Scripts(redis)
        self._submit_together = Together(redis, self._scripts.submit)
        self._waiters = Waiters(redis)
        self._readers = Readers(redis)
        self._samples = Samples(redis, self._scripts, self.model)
        self._slug = keys.slug(self.model)
        self._queues = queue.queues(self.model)

    def owned_by(self, owner: Owner) -> Self:
        if owner == self.owner:
            return self
        other = copy.copy(self)  # the scripts, the waiters and the client are shared
        other.owner = owner
        return other

    @reaches_redis
    def submit(self, request: JobRequest, once: Once | None = None) -> Job:
        with self._sending(1):
            return self._submit(request, once)

    def _submit(self, request: JobRequest, once: Once | None) -> Job:
        job_id, request = new_id(), request.resolved()
        name, cost = self._queues[request.priority.value], request.cost
        answer = self._submit_together(
            args=[
                *(self._slug, job_id, request.priority.value, self.owner.id, cost),
                *(queue.message(job_id, name), record.within_ms(request)),
                *self._caps(),
                *self._once(once, job_id),
                *record.common_fields(self.model, self.owner.id),
                *record.own_fields(request, cost),
            ]
        )
        if once is not None and answer[0] == 2:
            return self.get(once.ids(answer[1])[0])
        self._admitted(answer)
        if len(answer) == 1:  # sent twice: what has become of it since is in the record
            return self.get(job_id)
        _, now, counters, drained = answer
        place = listing.place_of_new(request.priority, self.owner.id, counters, drained)
        return record.new_job(job_id, request, self.model, now, place)

    @reaches_redis
    def submit_many(self, requests: Sequence[JobRequest], once: Once | None = None) -> list[str]:
        seed = new_id()
        if once is not None and (earlier := self._begun(once, seed)):
            return earlier
        with self._sending(len(requests)):
            return self._submit_all(requests, seed, once)

    def _submit_all(
        self, requests: Sequence[JobRequest], seed: str, once: Once | None
    ) -> list[str]:
        job_ids, staging, cost = batch_ids(seed, len(requests)), keys.staging(new_id()), 0
        with Ahead(self.redis, self._scripts.stage, [staging]) as stage:
            for start in range(0, len(requests), STAGED_PER_CALL):
                part = slice(start, start + STAGED_PER_CALL)
                args, part_cost = self._staged(start, job_ids[part], requests[part])
                cost += part_cost
                stage.call(args)
            stage.wait()
        args = [self._slug, self.owner.id, cost, len(job_ids), queue.ENVELOPE, *self._caps()]
        args += self._once(once, seed, len(job_ids))
        answer = self._scripts.commit(keys=[staging], args=args)
        if once is not None and answer[0] == 2:
            return once.ids(answer[1])
        self._admitted(answer)
        return job_ids

    def _sending(self, jobs: int) -> AbstractContextManager[None]:
        """Within it, where there are traces, new jobs are a part of its span."""
        if self._traces is None:
            return nullcontext()
        return self._traces.sending(self.model, jobs)

    @reaches_redis
    def recall(self, once: Once) -> list[str] | None:
        known = self.redis.get(self._name(once))
        return None if known is None else once.ids(known)

    def _begun(self, once: Once, seed: str) -> list[str] | None:
        """Note that a batch is being written; the ids of one that was, if there was one.

        A courtesy to those who come meanwhile: it is `commit.lua` that lets only one be queued.
        """
        name, entry = self._name(once), once.entry(seed, IN_FLIGHT)
        if self.redis.set(name, entry, nx=True, ex=keys.IN_FLIGHT_S):
            return None
        known = self.redis.get(name)  # this very entry, if the command was sent twice
        return None if known in (None, entry.encode()) else once.ids(known)

    def _once(self, once: Once | None, seed: str, count: int | None = None) -> tuple[str, str, int]:
        """What the scripts take of an idempotency key: its name, what to set there, and its TTL."""
        if once is None:
            return "", "", 0
        return self._name(once), once.entry(seed, count), keys.ONCE_S

    def _name(self, once: Once) -> str:
        return keys.once(self.model, self.owner.id, once.key)

    def _staged(
        self, before: int, job_ids: Sequence[str], requests: Sequence[JobRequest]
    ) -> tuple[list[str | int], int]:
        """What the script takes of a part of a batch, and its cost; `before`: jobs before it."""
        common = record.common_fields(self.model, self.owner.id)
        args: list[str | int] = [keys.STAGING_S, before, len(common), *common]
        in_all = 0
        for job_id, asked in zip(job_ids, requests, strict=True):
            request, cost = asked.resolved(), asked.cost
            in_all += cost
            fields = record.own_fields(request, cost)
            args += [job_id, request.priority.value, cost, record.within_ms(request)]
            args += [len(fields), *fields]
        return args, in_all

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
        for job_id in job_ids:
            pipe.execute_command("HMGET", keys.job(job_id), *record.READ)
        rows = [listing.present(record.READ, values) for values in pipe.execute()]
        missing = [i for i, row in zip(job_ids, rows, strict=True) if not _is_there(row)]
        tombs = self._tombs(missing) if missing else {}
        places = self._places(rows)
        return [
            self._to_job(i, row, place) if _is_there(row) else tombs[i]
            for i, row, place in zip(job_ids, rows, places, strict=True)
        ]

    def _to_job(self, job_id: str, row: record.Hash, place: QueuePlace | None) -> Job | str:
        if not self._sees(row.get(b"owner", b"")):
            return "unknown"
        if record.missed_its_start(row) and self._scripts.expire(args=[job_id]):
            return self._read([job_id])[0]
        return record.to_job(job_id, row, place)

    def _tombs(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Of ids without a record: "gone" if there was one that this owner sees, else "unknown"."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.zscore(keys.EXPIRY, job_id)
            pipe.hget(keys.OWNERS, job_id)
        found = pipe.execute()
        return {
            job_id: "unknown" if gone is None or not self._sees(owner or b"") else "gone"
            for job_id, gone, owner in zip(job_ids, found[::2], found[1::2], strict=True)
        }

    def _places(self, rows: Sequence[record.Hash]) -> list[QueuePlace | None]:
        """Where those that are queued here stand."""
        slug = self._slug.encode()
        queued = [row.get(b"status") == b"queued" and row[b"slug"] == slug for row in rows]
        owners = {
            row.get(b"owner", b"").decode() for row, is_ in zip(rows, queued, strict=True) if is_
        }
        if not owners:
            return [None] * len(rows)
        names = [name for owner in owners for name in listing.place_counters(owner)]
        pipe = self.redis.pipeline(transaction=False)
        pipe.hmget(keys.counters(self.model), names)
        pipe.mget(listing.drain_keys(self.model))
        counters, drained = pipe.execute()
        found = listing.present([name.encode() for name in names], counters)
        rate = listing.drained_per_s(drained)
        return [
            listing.place(row, found, rate) if is_ else None
            for row, is_ in zip(rows, queued, strict=True)
        ]

    def _sees(self, owner: bytes) -> bool:
        return self.owner.sees_all or owner.decode() == self.owner.id

    @reaches_redis
    def statuses(self, job_ids: Sequence[str]) -> list[JobStatus | None]:
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hmget(keys.job(job_id), "status", "owner")
        found = pipe.execute()
        there = [
            status not in (None, b"staged") and self._sees(owner or b"") for status, owner in found
        ]
        return [
            JobStatus(status.decode()) if is_ else None
            for (status, _), is_ in zip(found, there, strict=True)
        ]

    @reaches_redis
    def forget(self, job_ids: Sequence[str]) -> None:
        seen = [
            job_id
            for job_id, status in zip(job_ids, self.statuses(job_ids), strict=True)
            if status is not None
        ]
        call_many(self.redis, self._scripts.delete, [[job_id] for job_id in seen])

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
    def follow(
        self,
        job_id: str,
        after: Place | None = None,
        give_up: Callable[[], bool] = never,
        at_once: AtOnce | None = None,
    ) -> Iterator[list[Event]]:
        job = self.get(job_id)
        if not job.stream:
            return follow_end(job, lambda for_s: self.wait(job_id, for_s, give_up), give_up)
        following = Following(self.redis, self._readers, job, after, lambda: self.get(job_id))
        return following.events(give_up, at_once)

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
    def deliveries(self, job_id: str) -> Deliveries:
        self.get(job_id)
        return deliveries.read(self.redis, job_id)

    @reaches_redis
    def redeliver(self, job_id: str) -> Deliveries:
        status = self.get(job_id).status
        if not status.final:
            raise JobNotFinished(f"job {job_id} is {status.value}")
        if not self._scripts.redeliver(args=[job_id]):
            raise NoWebhook(f"there is none to be told that job {job_id} is {status.value}")
        return deliveries.read(self.redis, job_id)

    @reaches_redis
    def timeline(self, job_id: str) -> Timeline:
        job = self.get(job_id)
        worker, deaths = self.redis.hmget(keys.job(job_id), "worker", "history")
        return timeline.of(job, worker and worker.decode(), json.loads(b"[%b]" % (deaths or b"")))

    @reaches_redis
    def request(self, job_id: str) -> dict[str, Any]:
        raw = None
        while raw is None:  # forgotten in between: then `get` says so
            self.get(job_id)
            raw = self.redis.hget(keys.job(job_id), "request")
        return record.shown(raw)

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
        return listing.queue_state(self.redis, self.model, self.workers())

    @reaches_redis
    def workers(self) -> list[WorkerState]:
        return listing.workers(self.redis, self.model)

    @reaches_redis
    def drain_worker(self, worker_id: str) -> WorkerState:
        self._worker(worker_id)
        self.redis.set(keys.draining(worker_id), 1, ex=keys.FORGET_WORKER_S)
        return self._worker(worker_id)

    @reaches_redis
    def resume_worker(self, worker_id: str) -> WorkerState:
        self._worker(worker_id)
        self.redis.delete(keys.draining(worker_id))
        return self._worker(worker_id)

    def _worker(self, worker_id: str) -> WorkerState:
        return listing.one_of(self.workers(), worker_id)

    @reaches_redis
    def observed(self) -> Observed:
        pipe = self.redis.pipeline(transaction=False)
        pipe.hgetall(keys.TOTALS)
        pipe.hgetall(keys.histograms(self.model))
        pipe.zcard(keys.dead(self.model))
        totals, histograms, dead = pipe.execute()
        return Observed(
            {name.decode(): int(count) for name, count in totals.items()},
            histograms_of(histograms),
            dead,
        )

    def dead(self) -> Dead:
        return DeadList(self)

    @reaches_redis
    def stats(self) -> Stats:
        return stats_of(self._samples.last_hour(), self._samples.take())

    @reaches_redis
    def snapshot(self) -> Snapshot:
        workers = self.workers()
        points = points_of(self._samples.newest(2))
        return Snapshot(
            queue=listing.queue_state(self.redis, self.model, workers),
            workers=workers,
            point=points[-1] if points else None,
            dead=self.redis.zcard(keys.dead(self.model)),
        )

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
        """End the threads behind `wait` and `follow`. The Redis client stays the caller's."""
        self._waiters.close()
        self._readers.close()

    @reaches_redis
    def ping(self) -> None:
        self.redis.ping()
