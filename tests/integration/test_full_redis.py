"""A Redis at maxmemory: nothing new gets in, and all that is there ends as it should."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from distilq import keys
from distilq.claims import Claims
from distilq.errors import GenerationFailed, StoreFull
from distilq.jobs import JobRequest, JobStatus, Outcome, Webhook
from distilq.store import JobStore
from distilq.sweeper import Sweeper
from distilq.testing import FAKE_WORKER
from distilq.webhooks.outbox import Outbox
from distilq.webhooks.schedule import Next
from distilq.webhooks.sending import Answer

FAILED = Outcome(error=GenerationFailed().problem())


@pytest.fixture
def fill(redis_client: Any) -> Iterator[Callable[[], None]]:
    """Call it, and Redis is full."""
    yield lambda: redis_client.config_set("maxmemory", 1)
    redis_client.config_set("maxmemory", 0)


def ask(**fields: Any) -> JobRequest:
    return JobRequest(**{"inputs": "a", **fields})


def test_nothing_new_is_accepted_one_by_one_or_in_a_batch(
    store: JobStore, fill: Callable[[], None]
) -> None:
    fill()
    with pytest.raises(StoreFull):
        store.submit(ask())
    with pytest.raises(StoreFull):
        store.submit_many([ask(), ask()])
    assert store.queue().queued == 0


def test_queued_jobs_are_claimed_renewed_and_finished(
    store: JobStore, claims: Claims, fill: Callable[[], None]
) -> None:
    job = store.submit(ask())
    fill()
    [claim] = claims.take(8)
    assert claims.renew({claim: (1, 0)}) == {}
    claims.finish([(claim, FAILED)], {"precision": "float32"})
    assert store.get(job.id).status is JobStatus.FAILED


def test_jobs_are_canceled_handed_back_expired_and_deleted(
    store: JobStore, claims: Claims, redis_client: Any, fill: Callable[[], None]
) -> None:
    running, handed_back, queued, late = (store.submit(ask()) for _ in range(4))
    redis_client.hset(keys.job(late.id), mapping={"start_within_ms": 1, "created": 1000})
    first, second = claims.take(2)
    fill()
    assert store.cancel(running.id).status is JobStatus.CANCELING
    assert claims.next_cancel(1) == running.id
    claims.finish([(first, FAILED)], {})
    claims.release([second])
    assert store.get(handed_back.id).status is JobStatus.QUEUED
    assert store.cancel(queued.id).status is JobStatus.CANCELED
    assert store.get(late.id).status is JobStatus.EXPIRED
    store.delete(queued.id)


def test_the_jobs_of_a_dead_worker_are_queued_again(
    store: JobStore, claims: Claims, sweeper: Sweeper, redis_client: Any, fill: Callable[[], None]
) -> None:
    job = store.submit(ask())
    claims.take(8)
    redis_client.zadd(keys.leases("bundled"), {job.id: 1})
    fill()
    assert sweeper.sweep() == 1
    assert store.get(job.id).status is JobStatus.QUEUED


def test_a_worker_still_beats_and_a_client_still_waits(
    store: JobStore, claims: Claims, fill: Callable[[], None]
) -> None:
    job = store.submit(ask())
    fill()
    now = datetime.now(timezone.utc)
    claims.beat(FAKE_WORKER.model_copy(update={"model": "bundled", "seen_at": now}))
    assert len(store.workers()) == 1
    assert store.wait(job.id, 0.2).status is JobStatus.QUEUED


def test_the_ends_of_jobs_are_still_told(
    store: JobStore, claims: Claims, redis_client: Any, fill: Callable[[], None]
) -> None:
    job = store.submit(ask(webhook=Webhook(url="https://hooks.example.com/")))
    [claim] = claims.take(8)
    fill()
    claims.finish([(claim, FAILED)], {})
    outbox = Outbox(redis_client)
    [entry] = outbox.take(8, 8, {})
    outbox.end(entry, Answer(at_ms=0, duration_ms=1, status=204), Next("delivered"))
    assert store.deliveries(job.id).state == "delivered"
    with pytest.raises(StoreFull):
        store.redeliver(job.id)
