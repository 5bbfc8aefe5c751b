"""A batch leaves in Redis what its jobs submitted one by one would, with a few commands each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from redis.connection import Connection
from redis.exceptions import ConnectionError as Lost

from distilq import keys
from distilq.jobs import JobRequest, JobStatus
from distilq.owner import EVERYBODY, Owner
from distilq.store import STAGED_PER_CALL, JobStore

#: Over two parts of the commit script, and three of the staging script.
JOBS = 1_003

State = dict[str, Any]


def requests(count: int) -> list[JobRequest]:
    texts = [
        {
            "inputs": "a" * (1 + n % 5),
            "priority": keys.PRIORITIES[n % 3],
            "start_within_s": 60 if n % 7 == 0 else None,
            "parameters": {"seed": n},
        }
        for n in range(count)
    ]
    return [JobRequest.model_validate_json(json.dumps(text)) for text in texts]


def state(redis: Any, job_ids: Sequence[str], owner: str) -> State:
    """All that a submission writes, with each job's number for its id and no times."""
    number = {job_id.encode(): n for n, job_id in enumerate(job_ids)}
    index = keys.INDEX_PREFIX + "queued"
    found: State = {
        "counters": redis.hgetall(keys.counters("bundled")),
        "totals": redis.hgetall(keys.TOTALS),
        "flight": redis.hgetall(keys.FLIGHT),
        "deadlines": {number[i] for i in redis.zrange(keys.deadlines("bundled"), 0, -1)},
    }
    for name in (index, f"{index}@{owner}"):
        indexed = redis.zrange(name, 0, -1, withscores=True)
        found[name] = [(number[i], order) for i, order in indexed]
    for priority in keys.PRIORITIES:
        found[f"ring {priority}"] = redis.zrange(keys.ring("bundled", priority), 0, -1)
        messages = redis.lrange(keys.queue("bundled", priority, owner), 0, -1)
        found[f"queue {priority}"] = [_without_ids(message, number) for message in messages]
    found["records"] = [_record(redis, job_id) for job_id in job_ids]
    return found


def _without_ids(message: bytes, number: dict[bytes, int]) -> tuple[int, bytes]:
    job_id: str = json.loads(message)["headers"]["id"]
    return number[job_id.encode()], message.replace(job_id.encode(), b"")


def _record(redis: Any, job_id: str) -> dict[bytes, bytes]:
    assert redis.ttl(keys.job(job_id)) == -1
    record: dict[bytes, bytes] = redis.hgetall(keys.job(job_id))
    assert record.pop(b"created")
    return record


@pytest.mark.parametrize("owner", [EVERYBODY, Owner(id="alice")])
def test_a_batch_is_what_its_jobs_are_one_by_one(
    store: JobStore, redis_client: Any, owner: Owner
) -> None:
    store, asked = store.owned_by(owner), requests(JOBS)
    one_by_one = state(redis_client, [store.submit(each).id for each in asked], owner.id)
    redis_client.flushdb()
    assert state(redis_client, store.submit_many(asked), owner.id) == one_by_one


def test_a_job_of_a_batch_costs_four_commands_of_its_own(
    store: JobStore, redis_client: Any
) -> None:
    asked = [JobRequest(inputs="a")] * JOBS
    redis_client.config_resetstat()
    store.submit_many(asked)
    stats = redis_client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
    assert calls.pop("hset") == 2 * JOBS
    assert calls.pop("expire") + calls.pop("persist") <= 2 * JOBS + 2
    assert sum(calls.values()) < 100


@pytest.mark.parametrize("lost", ["send_command", "read_response"])
def test_a_part_whose_fate_is_unknown_is_sent_again(
    store: JobStore, redis_client: Any, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    store.submit_many(requests(1))  # connects, loads the scripts
    works, calls = getattr(Connection, lost), 0

    def breaks(self: Connection, *args: Any, **options: Any) -> Any:
        nonlocal calls
        done = works(self, *args, **options)
        if args[:1] == ("EVALSHA",) or lost == "read_response":
            calls += 1
            if calls == 2:
                raise Lost("just after it was done")
        return done

    monkeypatch.setattr(Connection, lost, breaks)
    ids = store.submit_many(requests(JOBS))
    monkeypatch.undo()
    assert calls > JOBS // STAGED_PER_CALL
    assert store.queue().queued == len(set(ids)) + 1 == JOBS + 1


def test_a_redis_that_has_forgotten_the_script_is_told_it(
    store: JobStore, redis_client: Any
) -> None:
    store.submit_many(requests(1))
    redis_client.script_flush()
    store.submit_many(requests(JOBS))
    assert store.queue().queued == JOBS + 1


def test_what_a_batch_dies_of_leaves_the_connection_fit_for_others(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, parts = store._staged, 0

    def fails(*given: Any) -> Any:
        nonlocal parts
        parts += 1
        if parts == 3:
            raise ZeroDivisionError
        return staged(*given)

    monkeypatch.setattr(store, "_staged", fails)
    with pytest.raises(ZeroDivisionError):
        store.submit_many(requests(JOBS))
    monkeypatch.undo()
    assert store.queue().queued == 0
    job_id = store.submit_many(requests(1))[0]
    assert store.get(job_id).status is JobStatus.QUEUED
