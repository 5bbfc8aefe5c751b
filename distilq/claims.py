"""Claims: a worker's side of the job life cycle, from queue to lease to final state.

A claim is valid for as long as its fence is the record's: every later claim of the same job raises
it, so a worker that was thought dead cannot overwrite a newer result (fencing token: Kleppmann,
"How to do distributed locking", 2016).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from distilq import keys, queue, record
from distilq.cluster import WorkerState
from distilq.connection import RedisClient
from distilq.errors import Poisoned
from distilq.jobs import JobStatus, Outcome
from distilq.scripts import Scripts

#: Lapsed leases after which a job is taken to be what kills its workers.
MAX_DEATHS = 5

#: Seconds after its last heartbeat at which a worker's id is dropped from the list.
FORGET_WORKER_S = 3_600


@dataclass(frozen=True)
class Claim:
    """A job that this worker holds."""

    id: str
    fence: int
    rows: int
    queue: str
    message: bytes
    request: bytes

    @property
    def key(self) -> str:
        """A name that no other claim has, of the same job neither."""
        return f"{self.id}.{self.fence}"


class Claims:
    """What one worker does to the jobs of one model. Any method may raise redis.RedisError."""

    def __init__(self, redis: RedisClient, model: str, worker_id: str) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._model = model
        self._worker_id = worker_id
        self._queues = queue.queues(model)
        self._leases, self._counters = keys.leases(model), keys.counters(model)
        self._wake = keys.wake(model)

    def take(self, rows: int, queues: Collection[str] | None = None) -> list[Claim]:
        """Claim queued jobs until they come to at least `rows` rows, or the queues are empty.

        `queues` are the names of those to look at; all of the model's by default.
        """
        names = [name for name in self._queues.values() if queues is None or name in queues]
        claimed = self._scripts.claim(
            keys=[self._leases, self._counters, self._wake, keys.dead(self._model), *names],
            args=[self._worker_id, rows, keys.LEASE_S * 1000, keys.VERSION],
        )
        return [
            Claim(job_id.decode(), fence, int(rows), names[index], message, request)
            for index, message, job_id, fence, rows, request in claimed
        ]

    def finish(self, done: Sequence[tuple[Claim, Outcome]], served_by: Mapping[str, str]) -> None:
        """Write the outcomes of one step in one pipeline; `served_by` goes into each record.

        An outcome whose claim is no longer valid is dropped: another worker has the job, or had it.
        """
        stamp = [text for pair in served_by.items() for text in pair]
        pipe = self._redis.pipeline(transaction=False)
        for claim, outcome in done:
            self._scripts.finish(
                keys=[self._leases, keys.drain(self._model)],
                args=[
                    claim.id,
                    claim.fence,
                    _status(outcome).value,
                    outcome.usage.generated_tokens,
                    *record.outcome_fields(outcome),
                    *stamp,
                ],
                client=pipe,
            )
        pipe.execute()

    def renew(self, progress: Mapping[Claim, tuple[int, int]]) -> dict[str, str]:
        """Renew the leases of jobs with these (tokens, sequences) done.

        Returns:
            The jobs to stop, and why: "lost" (another claim is valid) or "canceling".
        """
        args: list[str | int] = [keys.LEASE_S * 1000]
        for claim, (tokens, sequences) in progress.items():
            args += [claim.id, claim.fence, tokens, sequences]
        stop = self._scripts.renew(keys=[self._leases], args=args)
        return {job_id.decode(): why.decode() for job_id, why in stop}

    def release(self, claims: Iterable[Claim]) -> None:
        """Hand jobs back to the front of their queues, in the order of the claims, unattempted.

        One that is being canceled ends canceled instead.
        """
        args = [x for c in reversed([*claims]) for x in (c.id, c.fence, c.queue, c.message)]
        self._scripts.release(keys=[self._leases, self._counters, self._wake], args=args)

    def sweep(self) -> int:
        """Queue again what dead workers held; the number of leases that had lapsed."""
        error = Poisoned(f"{MAX_DEATHS} workers died or froze while they ran it", deaths=MAX_DEATHS)
        names = [text for pair in self._queues.items() for text in pair]
        return int(
            self._scripts.sweep(
                keys=[self._leases, self._counters, self._wake],
                args=[MAX_DEATHS, json.dumps(error.problem()), queue.ENVELOPE, *names],
            )
        )

    def next_cancel(self, timeout_s: float) -> str | None:
        """The id of a running job to stop, as soon as there is one, or None after `timeout_s`."""
        found = self._redis.blpop([keys.cancels(self._worker_id)], timeout=timeout_s)
        return None if found is None else found[1].decode()

    def beat(self, state: WorkerState) -> None:
        """Say that this worker is alive, and how it fares."""
        self._scripts.beat(
            keys=[keys.worker(state.id), keys.WORKERS],
            args=[state.id, state.model_dump_json(), keys.HEARTBEAT_S, FORGET_WORKER_S * 1000],
        )

    def leave(self) -> None:
        """Take this worker off the list, at an orderly stop."""
        self._redis.zrem(keys.WORKERS, self._worker_id)
        self._redis.delete(keys.worker(self._worker_id), keys.cancels(self._worker_id))


def _status(outcome: Outcome) -> JobStatus:
    if outcome.error is None:
        return JobStatus.SUCCEEDED
    canceled = outcome.error["type"].endswith(":canceled")
    return JobStatus.CANCELED if canceled else JobStatus.FAILED
