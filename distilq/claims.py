"""Claims: a worker's side of the job life cycle, from queue to lease to final state.

A claim is valid for as long as its fence is the record's: every later claim of the same job raises
it, so a worker that was thought dead cannot overwrite a newer result (fencing token: Kleppmann,
"How to do distributed locking", 2016).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from distilq import events, keys, queue, record
from distilq.cluster import WorkerState
from distilq.connection import RedisClient
from distilq.events import Token
from distilq.jobs import JobStatus, Outcome
from distilq.scripts import Scripts

#: More tokens than any worker has place for.
NO_LIMIT = 2**52

#: Outcomes written per Lua call, so that no call holds Redis for more than a few milliseconds.
FINISHED_PER_CALL = 128

#: What `lua/claim.lua` says beside the jobs.
EMPTY, DRAINING = 1, 2


class Claim(NamedTuple):
    """A job that this worker holds."""

    id: str
    fence: int
    rows: int
    #: Tokens charged for it at admission, see JobRequest.cost.
    cost: int
    priority: str
    #: Workers have died under it: it is to run beside no other.
    alone: bool
    request: bytes
    #: Milliseconds from its submission to this claim.
    waited_ms: int = 0
    #: Of the HTTP request, or the batch, that submitted it.
    request_id: str = ""
    #: The span in which it was submitted, if that is to be traced.
    traceparent: str = ""

    @property
    def key(self) -> str:
        """A name that no other claim has, of the same job neither."""
        return f"{self.id}.{self.fence}"


class Claims:
    """What one worker does to the jobs of one model. Any method may raise redis.RedisError."""

    def __init__(self, redis: RedisClient, model: str, worker_id: str) -> None:
        self.redis = redis
        self._scripts = Scripts(redis)
        self._worker_id = worker_id
        self._slug = keys.slug(model)
        self._histograms = keys.histograms(model)
        self._queues = queue.queues(model)
        self._calls = 0
        #: Set by `take`: a job waits for a worker of its own. This one should end what it holds.
        self.asked_to_empty = False
        #: Set by `take`: an operator has this worker end what it holds and claim nothing more.
        self.draining = False

    def take(
        self,
        rows: int,
        queues: Collection[str] | None = None,
        *,
        held: int = 0,
        tokens: int = NO_LIMIT,
        urgent_rows: int = 0,
    ) -> list[Claim]:
        """Claim queued jobs until they come to at least `rows` rows or `tokens` tokens.

        `queues` are the names of those to look at; all of the model's by default. `held` is the
        number of jobs held already: one that must run alone comes only if it is 0. `urgent_rows`
        are claimed of interactive jobs even where the other two leave no room. After an error the
        next call is the same one to Redis: what it has claimed already, it gives again.
        """
        looked_at = [p for p, name in self._queues.items() if queues is None or name in queues]
        args: list[str | int] = [
            *(self._slug, self._worker_id, self._calls, held, rows, tokens, urgent_rows),
            *(keys.LEASE_S * 1000, keys.VERSION),
            *looked_at,
        ]
        claimed, said = self._scripts.claim(args=args)
        self._calls += 1
        self.asked_to_empty, self.draining = said == EMPTY, said == DRAINING
        return [
            Claim(
                *(i.decode(), fence, int(rows), int(cost), level.decode(), bool(alone)),
                *(request, waited_ms, request_id.decode(), span.decode()),
            )
            for i, fence, rows, cost, level, alone, request, waited_ms, request_id, span in claimed
        ]

    def finish(self, done: Sequence[tuple[Claim, Outcome]], served_by: Mapping[str, str]) -> None:
        """Write the outcomes of one step; `served_by` goes into each record.

        An outcome whose claim is no longer valid is dropped: another worker has the job, or had it.
        """
        stamp = [text for pair in served_by.items() for text in pair]
        for start in range(0, len(done), FINISHED_PER_CALL):
            args: list[str | int | bytes] = [self._slug]
            for claim, outcome in done[start : start + FINISHED_PER_CALL]:
                fields = [*record.outcome_fields(outcome), *stamp]
                args += [claim.id, claim.fence, status_of(outcome).value]
                args += [outcome.usage.generated_tokens, len(fields), *fields]
            self._scripts.finish(args=args)

    def emit(self, entries: Sequence[tuple[Claim, int, Sequence[Token]]]) -> None:
        """Append tokens to the streams of their jobs; with each the number of its last one.

        What a claim that is no longer valid gives is dropped. Sent twice, it is there once.
        """
        args: list[str | int] = []
        for claim, number, tokens in entries:
            args += [claim.id, claim.fence, number, events.encoded(tokens)]
        self._scripts.emit(args=args)

    def renew(self, progress: Mapping[Claim, tuple[int, int]]) -> dict[str, str]:
        """Renew the leases of jobs with these (tokens, sequences) done.

        Returns:
            The jobs to stop, and why: "lost" (another claim is valid) or "canceling".
        """
        args: list[str | int] = [self._slug, keys.LEASE_S * 1000]
        for claim, (tokens, sequences) in progress.items():
            args += [claim.id, claim.fence, tokens, sequences]
        stop = self._scripts.renew(args=args)
        return {job_id.decode(): why.decode() for job_id, why in stop}

    def release(self, claims: Iterable[Claim]) -> None:
        """Hand jobs back to the front of their queues, in the order of the claims, unattempted.

        One that is being canceled ends canceled instead.
        """
        args = [x for claim in reversed([*claims]) for x in (claim.id, claim.fence)]
        self._scripts.release(args=[self._slug, queue.ENVELOPE, *args])

    def nudge(self) -> None:
        """Wake this worker's own wait for wake tokens."""
        self.redis.lpush(keys.nudge(self._worker_id), "1")
        self.redis.expire(keys.nudge(self._worker_id), keys.HEARTBEAT_S)

    def next_cancel(self, timeout_s: float) -> str | None:
        """The id of a running job to stop, as soon as there is one, or None after `timeout_s`."""
        found = self.redis.blpop([keys.cancels(self._worker_id)], timeout=timeout_s)
        return None if found is None else found[1].decode()

    def beat(self, state: WorkerState, observed: Mapping[str, int] | None = None) -> None:
        """Say that this worker is alive, how it fares, and what it has observed since.

        Sent twice, what was observed may count twice.
        """
        self._scripts.beat(
            keys=[
                *(keys.worker(state.id), keys.WORKERS, self._histograms),
                keys.draining(state.id),
            ],
            args=[
                *(state.id, state.model_dump_json(), keys.HEARTBEAT_S, keys.FORGET_WORKER_S),
                *(word for field in (observed or {}).items() for word in field),
            ],
        )

    def leave(self) -> None:
        """Take this worker off the list, at an orderly stop."""
        self.redis.zrem(keys.WORKERS, self._worker_id)
        mine = (keys.worker, keys.draining, keys.cancels, keys.claimed, keys.nudge)
        self.redis.delete(*(key(self._worker_id) for key in mine))


def status_of(outcome: Outcome) -> JobStatus:
    """How a job with this outcome has ended."""
    if outcome.error is None:
        return JobStatus.SUCCEEDED
    canceled = outcome.error["type"].endswith(":canceled")
    return JobStatus.CANCELED if canceled else JobStatus.FAILED
