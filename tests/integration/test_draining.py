"""A worker that an operator has drained, on a real Redis: it takes nothing, and nothing is lost."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from distilq import keys
from distilq.claims import Claims
from distilq.errors import WorkerNotFound
from distilq.jobs import JobRequest, JobStatus, Outcome, Priority
from distilq.store import JobStore
from distilq.testing import FAKE_WORKER
from tests.integration.test_suspects import make_suspect

MODEL = "bundled"
ASKED = JobRequest(inputs="a")


def beat(claims: Claims, worker_id: str = "w1") -> None:
    now = datetime.now(timezone.utc)
    told = {"id": worker_id, "model": MODEL, "seen_at": now}
    claims.beat(FAKE_WORKER.model_copy(update=told))


@pytest.fixture
def other(redis_client: Any) -> Claims:
    other = Claims(redis_client, MODEL, "w2")
    beat(other, "w2")
    return other


@pytest.fixture(autouse=True)
def _alive(claims: Claims) -> None:
    beat(claims)


def test_it_takes_nothing_until_it_is_resumed_and_others_do(
    store: JobStore, claims: Claims, other: Claims
) -> None:
    jobs = [store.submit(ASKED) for _ in range(3)]
    assert store.drain_worker("w1").draining
    assert (claims.take(8), claims.draining) == ([], True)
    assert [claim.id for claim in other.take(1)] == [jobs[0].id]
    assert not store.resume_worker("w1").draining
    assert [claim.id for claim in claims.take(8)] == [job.id for job in jobs[1:]]
    assert not claims.draining


def test_it_ends_what_it_holds(store: JobStore, claims: Claims) -> None:
    job = store.submit(ASKED)
    [claim] = claims.take(1)
    store.drain_worker("w1")
    assert claims.take(8, held=1) == []
    assert claims.renew({claim: (1, 0)}) == {}
    claims.finish([(claim, Outcome(result=[[]]))], {})
    assert store.get(job.id).status is JobStatus.SUCCEEDED


def test_a_claim_whose_answer_was_lost_is_answered_again(store: JobStore, claims: Claims) -> None:
    store.submit(ASKED)
    held = claims.take(1)
    store.drain_worker("w1")
    claims._calls -= 1
    assert [claim.key for claim in claims.take(1)] == [claim.key for claim in held]
    assert claims.take(8, held=1) == []


@pytest.mark.parametrize("priority", [Priority.INTERACTIVE, Priority.BULK])
def test_the_token_that_woke_it_goes_on_to_another(
    store: JobStore, claims: Claims, priority: Priority
) -> None:
    store.submit(ASKED.replaced(priority=priority))
    token = keys.wake(MODEL, interactive=priority is Priority.INTERACTIVE)
    assert store.redis.rpop(token) == b"1"
    store.drain_worker("w1")
    assert claims.take(8) == []
    assert store.redis.llen(token) == 1


def test_where_nothing_waits_or_all_is_paused_it_wakes_nobody(
    store: JobStore, claims: Claims
) -> None:
    store.drain_worker("w1")
    assert claims.take(8) == []
    store.submit(ASKED)
    store.pause(Priority.NORMAL)
    store.redis.delete(keys.wake(MODEL))
    assert claims.take(8) == []
    assert store.redis.exists(keys.wake(MODEL), keys.wake(MODEL, interactive=True)) == 0


def test_it_leaves_a_job_that_must_run_alone_to_another(
    store: JobStore, claims: Claims, other: Claims
) -> None:
    suspect = make_suspect(store, claims)
    assert claims.take(8, held=1) == []
    assert store.redis.get(keys.quarantine(MODEL)) == b"w1"
    assert store.redis.rpop(keys.wake(MODEL)) == b"1"
    store.drain_worker("w1")
    assert (claims.take(8), claims.asked_to_empty) == ([], False)
    assert store.redis.llen(keys.wake(MODEL)) == 1
    assert [claim.id for claim in other.take(8)] == [suspect]


def test_it_is_alive_and_no_longer_counts_as_one_that_takes_jobs(
    store: JobStore, claims: Claims, other: Claims
) -> None:
    store.drain_worker("w1")
    assert {worker.id: worker.draining for worker in store.workers()} == {"w1": True, "w2": False}
    assert store.queue().workers == 1


def test_the_mark_lives_as_long_as_its_worker(store: JobStore, claims: Claims) -> None:
    store.drain_worker("w1")
    store.redis.expire(keys.draining("w1"), 60)
    beat(claims)
    assert store.redis.ttl(keys.draining("w1")) > 60
    claims.leave()
    assert store.redis.keys("*w1*") == []


def test_one_that_is_not_alive_is_not_drained(store: JobStore) -> None:
    for act in (store.drain_worker, store.resume_worker):
        with pytest.raises(WorkerNotFound):
            act("w3")
    assert store.redis.exists(keys.draining("w3")) == 0
