"""A job store in memory: the same life cycle as `JobStore`, without Redis and without a worker.

Tests play the worker themselves: `start`, `finish`, `fail`, `stop`, `expire`. Time is a clock that
tests may turn; only `wait` waits for real.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from typing_extensions import Self

from distilq import keys, record, timeline
from distilq.access import ApiKey
from distilq.cluster import JobPage, QueueLevel, QueueState, WorkerState
from distilq.deaths import POISONED, DeadSummary, Death
from distilq.deliveries import Attempt, Deliveries
from distilq.errors import (
    Canceled,
    DistilqError,
    IdempotencyKeyReused,
    InvalidParameters,
    JobGone,
    JobNotFinished,
    JobNotFound,
    NoWebhook,
    OwnerFull,
    Poisoned,
    QueueFull,
    StartedTooLate,
    StoreUnavailable,
)
from distilq.events import AtOnce, Came, Ended, Event, Place, Stands, Token
from distilq.jobs import (
    Job,
    JobRequest,
    JobStatus,
    Outcome,
    Priority,
    Progress,
    QueuePlace,
    Urls,
    Usage,
    new_id,
)
from distilq.jobs import Sequence as Text
from distilq.listing import one_of
from distilq.once import Once
from distilq.owner import EVERYBODY, Owner
from distilq.rates import WINDOW_S, Quota
from distilq.stats import Sample, Snapshot, Stats, points_of, stats_of, times_of
from distilq.store import GIVE_UP_S, Observed, never
from distilq.testing_dead import Graves, MemoryDead
from distilq.timeline import Timeline
from distilq.webhooks import schedule

#: A worker as its heartbeat would describe it.
FAKE_WORKER = WorkerState(
    id="worker-1",
    host="localhost",
    pid=1,
    model="fake",
    source="memory",
    revision=None,
    precision="float32",
    device="cpu",
    started_at=datetime(2024, 1, 1, tzinfo=timezone.utc),
    seen_at=datetime(2024, 1, 1, tzinfo=timezone.utc),
    rows=0,
    max_rows=8,
    waiting=0,
    kv_tokens=0,
    kv_capacity=1024,
    steps=0,
    row_steps=0,
    rows_per_step=0.0,
    generated_tokens=0,
    prefill_tokens=0,
)


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime(2024, 1, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class _Record:
    """One job, and the request that made it."""

    job: Job
    request: JobRequest
    owner: str = ""
    tokens: list[Token] = field(default_factory=list)
    deleted_at: datetime | None = None
    deliveries: Deliveries = field(default_factory=Deliveries)

    @property
    def gone_at(self) -> datetime | None:
        return self.deleted_at or self.job.expires_at


@dataclass
class _Made:
    """What was submitted with an idempotency key."""

    fingerprint: str
    ids: list[str]
    known_until: datetime


class MemoryStore:
    """`store.Jobs` in a dictionary."""

    def __init__(
        self,
        *,
        model: str = "fake",
        clock: Callable[[], datetime] | None = None,
        max_queued_jobs: int = 200_000,
        max_queued_tokens: int = 200_000_000,
    ) -> None:
        self.model = model
        self.clock = clock or (lambda: datetime.now(timezone.utc))
        self.max_queued_jobs = max_queued_jobs
        self.max_queued_tokens = max_queued_tokens
        self._down = threading.Event()
        #: Called with the id whenever somebody begins to wait: a place to play the worker.
        self.on_wait: Callable[[str], Any] = lambda job_id: None
        self.alive: list[WorkerState] = []
        #: What `sample` has kept.
        self.samples: list[Sample] = []
        self.owner = EVERYBODY
        #: Priorities that a worker would leave alone.
        self.paused: set[Priority] = set()
        self._records: dict[str, _Record] = {}
        self.graves = Graves()
        self._made: dict[tuple[str, str], _Made] = {}
        self._changed = threading.Condition(threading.RLock())

    @property
    def down(self) -> bool:
        """Set it to make every method fail as if Redis were away, of every owner's view."""
        return self._down.is_set()

    @down.setter
    def down(self, down: bool) -> None:
        (self._down.set if down else self._down.clear)()

    # What the API calls

    def submit(self, request: JobRequest, once: Once | None = None) -> Job:
        return self.get(self.submit_many([request], once)[0])

    def submit_many(self, requests: Sequence[JobRequest], once: Once | None = None) -> list[str]:
        self.ping()
        with self._changed:
            if once is not None and (earlier := self.recall(once)):
                return earlier
            self._admit(requests)
            ids = [self._write(request.resolved()) for request in requests]
            if once is not None:
                until = self.clock() + timedelta(seconds=keys.ONCE_S)
                self._made[self.owner.id, once.key] = _Made(once.fingerprint, ids, until)
            return ids

    def recall(self, once: Once) -> list[str] | None:
        self.ping()
        with self._changed:
            made = self._made.get((self.owner.id, once.key))
            if made is None or self.clock() >= made.known_until:
                return None
            if made.fingerprint != once.fingerprint:
                raise IdempotencyKeyReused("take a new key for a new request")
            once.replayed = True
            return made.ids

    def get(self, job_id: str) -> Job:
        self.ping()
        with self._changed:
            job = self._on_time(self._record(job_id))
            place = QueuePlace(priority=job.queue.priority, position=self._position(job))
            return job.model_copy(update={"queue": place})

    def get_many(self, job_ids: Sequence[str]) -> list[Job | str]:
        return [self._get_or_word(job_id) for job_id in job_ids]

    def statuses(self, job_ids: Sequence[str]) -> list[JobStatus | None]:
        return [job.status if isinstance(job, Job) else None for job in self.get_many(job_ids)]

    def forget(self, job_ids: Sequence[str]) -> None:
        for job_id, job in zip(job_ids, self.get_many(job_ids), strict=True):
            if isinstance(job, Job) and job.status.final:
                self.delete(job_id)

    def wait(self, job_id: str, timeout_s: float, give_up: Callable[[], bool] = never) -> Job:
        self.get(job_id)
        self.on_wait(job_id)
        ends = time.monotonic() + timeout_s
        with self._changed:
            while not self.get(job_id).status.final and not give_up():
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(min(left_s, GIVE_UP_S))
        return self.get(job_id)

    def follow(
        self,
        job_id: str,
        after: Place | None = None,
        give_up: Callable[[], bool] = never,
        at_once: AtOnce | None = None,
    ) -> Iterator[list[Event]]:
        return self._follow(self.get(job_id), after, give_up)

    def cancel(self, job_id: str) -> Job:
        status = self.get(job_id).status
        if status is JobStatus.QUEUED:
            self._end(job_id, JobStatus.CANCELED, error=Canceled().problem())
        elif status is JobStatus.RUNNING:
            self._change(job_id, status=JobStatus.CANCELING)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        status = self.get(job_id).status
        if not status.final:
            raise JobNotFinished(f"it is {status.value}", job_id=job_id, job_status=status.value)
        with self._changed:
            self._records[job_id].deleted_at = self.clock()

    def deliveries(self, job_id: str) -> Deliveries:
        self.get(job_id)
        return self._records[job_id].deliveries

    def redeliver(self, job_id: str) -> Deliveries:
        status = self.get(job_id).status
        record = self._records[job_id]
        if not status.final:
            raise JobNotFinished(f"job {job_id} is {status.value}")
        if record.deliveries.state is None:
            raise NoWebhook(f"there is none to be told that job {job_id} is {status.value}")
        due = {"state": "pending", "next_try_at": self.clock()}
        record.deliveries = record.deliveries.model_copy(update=due)
        return record.deliveries

    def timeline(self, job_id: str) -> Timeline:
        job, grave = self.get(job_id), self.graves.entries.get(job_id)
        deaths = [death.model_dump() for death in grave.history] if grave else []
        return timeline.of(job, "worker-1" if job.attempt else None, deaths)

    def request(self, job_id: str) -> dict[str, Any]:
        self.get(job_id)
        return record.shown(record.stored(self._records[job_id].request).encode())

    def page(self, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        self.ping()
        offset = self._offset(cursor)
        found = [self._get_or_word(job_id) for job_id in reversed(self._records)]
        jobs = [j for j in found if isinstance(j, Job) and status in (None, j.status)]
        rest = len(jobs) > offset + limit
        return JobPage(
            jobs=jobs[offset : offset + limit], next=str(offset + limit) if rest else None
        )

    def owned_by(self, owner: Owner) -> Self:
        other = copy.copy(self)  # the records are shared
        other.owner = owner
        return other

    def dead(self) -> MemoryDead:
        self.ping()
        return MemoryDead(
            self.graves, lambda request, owner: self.owned_by(Owner(owner, True)).submit(request)
        )

    def pause(self, priority: Priority) -> None:
        self.ping()
        self.paused.add(priority)

    def resume(self, priority: Priority) -> None:
        self.ping()
        self.paused.discard(priority)

    def purge(self, priority: Priority) -> int:
        self.ping()
        with self._changed:
            found = [r for job, r in self._queued() if job.queue.priority is priority]
            for record in found:  # not by `_end`: what waits too long would expire first
                self._close(record, JobStatus.CANCELED, error=Canceled().problem())
        return len(found)

    def queue(self) -> QueueState:
        self.ping()
        queued = self._queued()
        return QueueState(
            model=self.model,
            queued=len(queued),
            queued_tokens=sum(r.request.cost for _, r in queued),
            running=sum(r.job.status in ACTIVE for r in self._all()),
            priorities={priority: self._level(priority) for priority in keys.PRIORITIES},
            drain_jobs_per_s=0.0,
            paused=[p for p in Priority if p in self.paused],
            eta_s=None,
            workers=sum(not worker.draining for worker in self.alive),
        )

    def observed(self) -> Observed:
        self.ping()
        statuses = Counter(record.job.status.value for record in self._records.values())
        tokens = sum(record.job.usage.generated_tokens for record in self._records.values())
        totals = {"submitted": len(self._records), "generated_tokens": tokens}
        return Observed({**totals, **statuses}, [], len(self.graves.entries))

    def workers(self) -> list[WorkerState]:
        self.ping()
        return list(self.alive)

    def stats(self) -> Stats:
        return stats_of(self.samples, self._sample())

    def snapshot(self) -> Snapshot:
        points = points_of(self.samples[-2:])
        return Snapshot(
            queue=self.queue(),
            workers=self.workers(),
            point=points[-1] if points else None,
            dead=len(self.graves.entries),
        )

    def drain_worker(self, worker_id: str) -> WorkerState:
        return self._mark(worker_id, draining=True)

    def resume_worker(self, worker_id: str) -> WorkerState:
        return self._mark(worker_id, draining=False)

    def ping(self) -> None:
        if self.down:
            raise StoreUnavailable("the fake is down")

    # What a worker would do

    def sample(self) -> None:
        """What one process does in every step of the last hour."""
        self.samples.append(self._sample())

    def start(self, job_id: str) -> Job:
        """queued -> running."""
        attempt = self.get(job_id).attempt + 1
        return self._change(
            job_id, status=JobStatus.RUNNING, started_at=self.clock(), attempt=attempt
        )

    def emit(self, job_id: str, tokens: Sequence[Token]) -> None:
        """What a step has given a running job that streams."""
        with self._changed:
            self._records[job_id].tokens += tokens
            self._changed.notify_all()

    def finish(self, job_id: str, outcome: Outcome | None = None) -> Job:
        """-> succeeded, with `outcome` or with one short text per row."""
        outcome = outcome or self._echo(job_id)
        return self._end(job_id, JobStatus.SUCCEEDED, **dict(outcome))

    def fail(self, job_id: str, error: DistilqError) -> Job:
        """-> failed."""
        return self._end(job_id, JobStatus.FAILED, error=error.problem())

    def bury(self, job_id: str) -> Job:
        """running -> failed, as one under which too many workers have died."""
        record, attempt = self._records[job_id], self.get(job_id).attempt
        died_ms = round(self.clock().timestamp() * 1000)
        deaths = [
            Death(worker=f"worker-{n + 1}", started_ms=died_ms, lapsed_ms=died_ms)
            for n in range(attempt)
        ]
        self.graves.requests[job_id] = record.request, record.owner
        self.graves.entries[job_id] = DeadSummary(
            id=job_id,
            died_at=self.clock(),
            reason=POISONED,
            owner=record.owner,
            history=deaths,
            requeueable=True,
        )
        return self.fail(job_id, Poisoned())

    def stop(self, job_id: str) -> Job:
        """canceling -> canceled."""
        return self._end(job_id, JobStatus.CANCELED, error=Canceled().problem())

    def expire(self, job_id: str) -> Job:
        """queued -> expired."""
        return self._end(job_id, JobStatus.EXPIRED, error=StartedTooLate().problem())

    def deliver(self, job_id: str, status: int) -> None:
        """What a dispatcher notes, once the receiver has answered with this status."""
        known = self._records[job_id].deliveries
        attempt = Attempt(at=self.clock(), status=status, duration_ms=1)
        then = schedule.after(status, "", len(known.attempts) + 1)
        pending = then.state == "pending"
        self._records[job_id].deliveries = Deliveries(
            state=then.state,
            next_try_at=self.clock() + timedelta(seconds=then.pause_s) if pending else None,
            attempts=[*known.attempts, attempt],
        )

    # How it is kept

    def _sample(self) -> Sample:
        queue, totals = self.queue(), self.observed().totals
        return Sample(
            at=self.clock(),
            queued={name: level.jobs for name, level in queue.priorities.items()},
            oldest_age_s={name: level.oldest_age_s for name, level in queue.priorities.items()},
            running=queue.running,
            workers=queue.workers,
            rows=sum(worker.rows for worker in self.alive),
            succeeded=totals.get("succeeded", 0),
            failed=totals.get("failed", 0),
            tokens=totals["generated_tokens"],
            times=times_of([]),
        )

    def _follow(
        self, job: Job, after: Place | None, give_up: Callable[[], bool]
    ) -> Iterator[list[Event]]:
        superseded = job.stream and after is not None and after.fence != job.attempt
        seen = after.number if after and job.stream and not superseded else 0
        yield [Stands(job, superseded)]
        self.on_wait(job.id)
        while not give_up():
            known = job
            with self._changed:
                if not self._has_news(known, seen):
                    self._changed.wait(GIVE_UP_S)
                job, tokens = self.get(job.id), self._records[job.id].tokens[seen:]
            moved = job.status is not known.status and not job.status.final
            events: list[Event] = [Stands(job)] if moved else []
            for token in tokens:
                seen += 1
                events.append(Came(Place(job.attempt, seen), token))
            yield [*events, Ended(job)] if job.status.final else events
            if job.status.final:
                return

    def _has_news(self, known: Job, seen: int) -> bool:
        record = self._records[known.id]
        return len(record.tokens) > seen or record.job.status is not known.status

    def _admit(self, requests: Sequence[JobRequest]) -> None:
        queued = self._queued()
        tokens = sum(r.request.cost for _, r in queued) + sum(r.cost for r in requests)
        jobs = len(queued) + len(requests)
        self._admit_owner(len(requests), sum(r.cost for r in requests))
        if jobs > self.max_queued_jobs or tokens > self.max_queued_tokens:
            raise QueueFull(
                f"{len(queued)} jobs are queued, at most {self.max_queued_jobs}", retry_after_s=1
            )

    def _admit_owner(self, jobs: int, tokens: int) -> None:
        mine = [r for r in self._all() if r.owner == self.owner.id and not r.job.status.final]
        queued = [r for r in mine if r.job.status is JobStatus.QUEUED]
        for held, more, cap in (
            (len(queued), jobs, self.owner.max_queued_jobs),
            (sum(r.request.cost for r in queued), tokens, self.owner.max_queued_tokens),
            (len(mine), jobs, self.owner.max_in_flight),
        ):
            if cap and held + more > cap:
                raise OwnerFull(
                    f"{held}; at most {cap} may be", limit=cap, current=held, retry_after_s=1
                )

    def _write(self, request: JobRequest) -> str:
        job_id = new_id()
        path = f"/v1/jobs/{job_id}"
        job = Job(
            id=job_id,
            status=JobStatus.QUEUED,
            model=self.model,
            created_at=self.clock(),
            queue=QueuePlace(priority=request.priority),
            progress=Progress(
                tokens_max=request.rows * request.parameters.new_tokens_at_most,
                sequences=request.rows,
            ),
            parameters=request.parameters,
            metadata=request.metadata,
            stream=request.stream,
            urls=Urls(
                self=path, result=f"{path}/result", events=f"{path}/events", cancel=f"{path}/cancel"
            ),
        )
        self._records[job_id] = _Record(job, request, self.owner.id)
        return job_id

    def _record(self, job_id: str) -> _Record:
        record = self._records.get(job_id)
        if record is None or not (self.owner.sees_all or record.owner == self.owner.id):
            raise JobNotFound(f"no job has the id {job_id}")
        gone_at = record.gone_at
        if gone_at is None or self.clock() < gone_at:
            return record
        if self.clock() >= gone_at + timedelta(seconds=keys.TOMBSTONE_S):
            raise JobNotFound(f"no job has the id {job_id}")
        raise JobGone(f"the text of job {job_id} is gone", expired_at=gone_at.isoformat())

    def _on_time(self, record: _Record) -> Job:
        """The job, expired if it should have been started by now."""
        within_s, job = record.request.start_within_s, record.job
        if within_s is None or job.status is not JobStatus.QUEUED:
            return job
        if self.clock() > job.created_at + timedelta(seconds=within_s):
            self._close(record, JobStatus.EXPIRED, error=StartedTooLate().problem())
        return record.job

    def _get_or_word(self, job_id: str) -> Job | str:
        try:
            return self.get(job_id)
        except JobNotFound:
            return "unknown"
        except JobGone:
            return "gone"

    def _change(self, job_id: str, **changes: Any) -> Job:
        with self._changed:
            job = self.get(job_id)
            self._records[job_id].job = job.model_copy(update=changes)
            self._changed.notify_all()
        return self.get(job_id)

    def _end(self, job_id: str, status: JobStatus, **changes: Any) -> Job:
        with self._changed:
            if self.get(job_id).status.final:
                raise RuntimeError("a final state never changes")
            self._close(self._records[job_id], status, **changes)
        return self.get(job_id)

    def _close(self, record: _Record, status: JobStatus, **changes: Any) -> None:
        now = self.clock()
        ttl = timedelta(seconds=record.request.result_ttl_s)
        times = {"completed_at": now, "expires_at": now + ttl}
        record.job = record.job.model_copy(update={"status": status, **times, **changes})
        webhook = record.request.webhook
        if webhook is not None and status.value in webhook.statuses:
            record.deliveries = Deliveries(state="pending", next_try_at=now)
        self._changed.notify_all()

    def _echo(self, job_id: str) -> Outcome:
        request = self._records[job_id].request
        seed = request.parameters.seed or 0
        sequences = request.parameters.num_return_sequences
        result = [
            [
                Text(
                    generated_text=f"{prompt} and on",
                    finish_reason="length",
                    generated_tokens=2,
                    seed=seed,
                )
            ]
            * sequences
            for prompt in request.prompts
        ]
        tokens = 2 * sequences * len(result)
        usage = Usage(prompt_tokens=len(result), generated_tokens=tokens)
        return Outcome(result=result, usage=usage)

    def _mark(self, worker_id: str, *, draining: bool) -> WorkerState:
        marked = one_of(self.workers(), worker_id).model_copy(update={"draining": draining})
        self.alive[:] = [marked if each.id == worker_id else each for each in self.alive]
        return marked

    def _all(self) -> list[_Record]:
        return list(self._records.values())

    def _queued(self) -> list[tuple[Job, _Record]]:
        """Queued jobs in the order in which a worker would take them."""
        found = [(r.job, r) for r in self._all() if r.job.status is JobStatus.QUEUED]
        return sorted(found, key=lambda pair: keys.PRIORITIES.index(pair[0].queue.priority.value))

    def _position(self, job: Job) -> int | None:
        ids = [queued.id for queued, _ in self._queued()]
        return ids.index(job.id) + 1 if job.id in ids else None

    def _level(self, priority: str) -> QueueLevel:
        here = [(job, r) for job, r in self._queued() if job.queue.priority.value == priority]
        ages = [(self.clock() - job.created_at).total_seconds() for job, _ in here]
        return QueueLevel(
            jobs=len(here),
            tokens=sum(r.request.cost for _, r in here),
            oldest_age_s=max(ages, default=None),
        )

    def _offset(self, cursor: str | None) -> int:
        if cursor is None:
            return 0
        if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 9:
            entry = {"parameter": "cursor", "code": "invalid", "detail": "is no cursor"}
            raise InvalidParameters(errors=[entry])
        return int(cursor)


ACTIVE = frozenset({JobStatus.RUNNING, JobStatus.CANCELING})


class MemoryRing:
    """`access.Ring` in a dictionary; what has been spent does not come back."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.spent: dict[str, int] = {}
        #: Set it to make every method fail as if Redis were away.
        self.down = False

    def create(self, key: ApiKey) -> str:
        token = f"dq_{key.id}_secret"
        self.keys[token] = key
        return token

    def verify(self, token: str) -> ApiKey | None:
        if self.down:
            raise StoreUnavailable("the fake is down")
        return self.keys.get(token)

    def find(self, key_id: str) -> ApiKey | None:
        if self.down:
            raise StoreUnavailable("the fake is down")
        return next((key for key in self.keys.values() if key.id == key_id), None)

    def spend(self, key: ApiKey, jobs: int) -> Quota | None:
        limit = key.limits.rate_per_minute
        if not limit:
            return None
        left = limit - self.spent.get(key.id, 0)
        if jobs > left:
            return Quota(False, limit, left, WINDOW_S, WINDOW_S)
        self.spent[key.id] = limit - left + jobs
        return Quota(True, limit, left - jobs, WINDOW_S)
