"""Jobs that workers have died under obey operators, and lose nothing, on a real Redis."""

from __future__ import annotations

from typing import Any

from distilq import keys
from distilq.claims import Claims
from distilq.dead import DeadList
from distilq.jobs import JobRequest, JobStatus, Priority
from distilq.store import JobStore
from distilq.sweeper import Sweeper


def make_suspect(store: JobStore, claims: Claims, priority: Priority = Priority.NORMAL) -> str:
    job = store.submit(JobRequest(inputs="a", priority=priority))
    for _ in range(2):
        assert [claim.id for claim in claims.take(1)] == [job.id]
        store.redis.zadd(keys.leases("bundled"), {job.id: 1})
        store.redis.delete(keys.sweeper("bundled"))
        Sweeper(store.redis, "bundled").sweep()
    return job.id


def test_one_of_a_paused_priority_is_not_claimed_and_does_not_keep_others_waiting(
    store: JobStore, claims: Claims
) -> None:
    suspect = make_suspect(store, claims, Priority.BULK)
    store.pause(Priority.BULK)
    other = store.submit(JobRequest(inputs="a"))
    assert [claim.id for claim in claims.take(8)] == [other.id]
    store.resume(Priority.BULK)
    assert [claim.id for claim in claims.take(8)] == [suspect]


def test_one_of_a_queue_that_a_worker_does_not_consume_waits_for_another(
    store: JobStore, claims: Claims
) -> None:
    suspect = make_suspect(store, claims, Priority.BULK)
    assert claims.take(8, [keys.queue("bundled", "normal")]) == []
    assert [claim.id for claim in claims.take(8)] == [suspect]


def test_a_purge_cancels_those_of_its_priority_alone(store: JobStore, claims: Claims) -> None:
    suspect = make_suspect(store, claims, Priority.BULK)
    assert store.purge(Priority.NORMAL) == 0
    assert store.purge(Priority.BULK) == 1
    assert store.get(suspect).status is JobStatus.CANCELED
    assert store.queue().queued == 0
    assert claims.take(8) == []


def test_one_of_a_newer_version_waits_for_a_newer_worker(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    suspect = make_suspect(store, claims)
    redis_client.hset(keys.job(suspect), "v", keys.VERSION + 1)
    assert claims.take(8) == []
    redis_client.hset(keys.job(suspect), "v", keys.VERSION)
    assert [claim.id for claim in claims.take(8)] == [suspect]


def test_an_unreadable_message_among_them_is_parked(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    suspect = make_suspect(store, claims)
    redis_client.rpush(keys.suspects("bundled"), b"\xff{", "[]")
    assert [claim.id for claim in claims.take(8)] == [suspect]
    assert [entry.reason for entry in DeadList(store).entries()] == ["unreadable", "unreadable"]


def test_a_batch_that_takes_too_long_lapses_before_its_first_record_does(
    store: JobStore, redis_client: Any
) -> None:
    requests = [JobRequest(inputs="a").resolved() for _ in range(2)]
    staging = keys.staging("b" * 32)
    for number, request in enumerate(requests):
        args, _ = store._staged(number, [str(number) * 32], [request])
        store._scripts.stage(keys=[staging], args=args)
        if number == 0:
            redis_client.expire(staging, 5)
    assert 0 < redis_client.ttl(staging) <= 5
