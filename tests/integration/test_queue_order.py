"""Who is served next: priorities without starvation, owners in turn; claims repeated."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from redis.exceptions import ConnectionError as LostConnection

from distilq import keys
from distilq.claims import Claim, Claims
from distilq.errors import JobNotFound, OwnerFull
from distilq.jobs import JobRequest, JobStatus, Priority
from distilq.owner import Owner
from distilq.store import JobStore
from distilq.sweeper import Sweeper

ANNA, BEN = Owner("anna"), Owner("ben")


def ask(tokens: int = 10, **fields: Any) -> JobRequest:
    parameters = {"max_new_tokens": tokens}
    return JobRequest.model_validate({"inputs": "a", "parameters": parameters, **fields})


def one_by_one(claims: Claims, count: int) -> list[Claim]:
    return [claim for _ in range(count) for claim in claims.take(1)]


def of_priority(level: Priority, count: int, **fields: Any) -> list[JobRequest]:
    return [ask(priority=level, **fields) for _ in range(count)]


def test_the_urgent_come_first_and_every_priority_has_its_eighth(
    store: JobStore, claims: Claims
) -> None:
    for level in (Priority.BULK, Priority.NORMAL, Priority.INTERACTIVE):
        store.submit_many(of_priority(level, 80))
    served = [claim.priority for claim in one_by_one(claims, 80)]
    assert served[:9] == ["interactive"] * 7 + ["bulk", "normal"]
    for name in ("bulk", "normal"):
        places = [-1, *(n for n, other in enumerate(served) if other == name), 80]
        assert max(b - a for a, b in pairwise(places)) <= 9
    assert Counter(served)["interactive"] >= 60


def test_without_the_urgent_everything_is_served(store: JobStore, claims: Claims) -> None:
    store.submit_many(of_priority(Priority.BULK, 20))
    assert len(one_by_one(claims, 20)) == 20


def test_a_full_worker_takes_interactive_jobs_and_no_others(
    store: JobStore, claims: Claims
) -> None:
    store.submit_many(of_priority(Priority.BULK, 4) + of_priority(Priority.NORMAL, 4))
    assert claims.take(0, urgent_rows=8) == []
    store.submit_many(of_priority(Priority.INTERACTIVE, 4))
    assert [c.priority for c in claims.take(0, urgent_rows=3)] == ["interactive"] * 3
    assert len(claims.take(0, urgent_rows=8)) == 1


def test_a_claim_takes_tokens_not_jobs(store: JobStore, claims: Claims) -> None:
    store.submit_many([ask(100) for _ in range(8)])
    assert len(claims.take(64, tokens=250)) == 3  # 101 each; the last goes over
    assert claims.take(64, tokens=0) == []


def test_one_owners_backlog_does_not_delay_anothers_single_job(
    store: JobStore, claims: Claims
) -> None:
    store.owned_by(ANNA).submit_many([ask() for _ in range(1000)])
    assert len(claims.take(64)) == 64
    job = store.owned_by(BEN).submit(ask())
    assert job.id in [claim.id for claim in claims.take(2)]


def test_owners_get_the_same_tokens_whatever_their_jobs_cost(
    store: JobStore, claims: Claims
) -> None:
    store.owned_by(ANNA).submit_many([ask(100) for _ in range(100)])
    store.owned_by(BEN).submit_many([ask(20) for _ in range(500)])
    taken = claims.take(120)
    tokens = Counter[str]()
    for claim in taken:
        owner = store.redis.hget(keys.job(claim.id), "owner").decode()
        tokens[owner] += claim.cost
    assert abs(tokens["anna"] - tokens["ben"]) <= 101


def test_an_owner_that_comes_back_does_not_catch_up_on_what_it_left(
    store: JobStore, claims: Claims
) -> None:
    anna, ben = store.owned_by(ANNA), store.owned_by(BEN)
    anna.submit_many([ask() for _ in range(200)])
    claims.take(100)
    ben.submit_many([ask() for _ in range(50)])
    owners = [store.redis.hget(keys.job(c.id), "owner") for c in claims.take(40)]
    assert 18 <= owners.count(b"anna") <= 22


def test_positions_count_the_turns_of_others(store: JobStore) -> None:
    store.owned_by(ANNA).submit_many([ask() for _ in range(30)])
    mine = [store.owned_by(BEN).submit(ask()) for _ in range(2)]
    assert [store.get(job.id).queue.position for job in mine] == [2, 4]


def test_others_jobs_do_not_exist_for_an_owner(store: JobStore, claims: Claims) -> None:
    anna, ben = store.owned_by(ANNA), store.owned_by(BEN)
    job = anna.submit(ask(result_ttl_s=1))
    for call in (ben.get, ben.cancel, ben.delete, lambda i: ben.wait(i, 0)):
        with pytest.raises(JobNotFound):
            call(job.id)
    assert ben.get_many([job.id]) == ["unknown"]
    assert ben.page(None, 10, None).jobs == []
    assert [j.id for j in anna.page(None, 10, None).jobs] == [job.id]
    assert [j.id for j in store.page(None, 10, None).jobs] == [job.id]
    anna.cancel(job.id)
    anna.delete(job.id)
    assert ben.get_many([job.id]) == ["unknown"]
    assert anna.get_many([job.id]) == ["gone"]


def test_an_owners_own_caps_hold_and_leave_others_alone(store: JobStore, claims: Claims) -> None:
    few = store.owned_by(Owner("few", max_queued_jobs=2, max_in_flight=3))
    few.submit_many([ask(), ask()])
    with pytest.raises(OwnerFull, match="2 of your jobs are queued; at most 2"):
        few.submit(ask())
    with pytest.raises(OwnerFull):
        few.submit_many([ask()])
    claims.take(2)
    first = few.submit(ask())
    with pytest.raises(OwnerFull, match="3 of your jobs are queued or running; at most 3"):
        few.submit(ask())
    store.owned_by(BEN).submit(ask())
    few.cancel(first.id)
    few.submit(ask())


def test_a_claim_whose_answer_was_lost_is_given_again(
    store: JobStore, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = Claims(redis_client, "bundled", "w1")
    jobs = store.submit_many([ask() for _ in range(5)])
    script = claims._scripts.claim

    def lost(**given: Any) -> Any:
        script(**given)
        raise LostConnection("the answer is lost")

    with monkeypatch.context() as patched:
        patched.setattr(claims._scripts, "claim", lost)
        for _ in range(2):
            with pytest.raises(LostConnection):
                claims.take(3)
    store.cancel(jobs[0])
    again = claims.take(3)
    assert [(c.id, c.fence, c.rows) for c in again] == [(job, 1, 1) for job in jobs[:3]]
    assert [c.id for c in claims.take(3)] == jobs[3:]
    assert store.get(jobs[1]).attempt == 1


def test_a_job_that_workers_died_under_runs_alone(
    store: JobStore, redis_client: Any, claims: Claims
) -> None:
    suspect, bystander = store.submit_many([ask(), ask()])
    for _ in range(2):
        assert len(claims.take(8)) == 2
        redis_client.zadd(keys.leases("bundled"), {suspect: 1, bystander: 1})
        redis_client.delete(keys.sweeper("bundled"))
        Sweeper(redis_client, "bundled").sweep()
    other = store.submit(ask())
    busy = Claims(redis_client, "bundled", "w2")
    assert busy.take(8, held=3) == []  # first it ends what it holds
    assert busy.asked_to_empty
    assert [c.id for c in claims.take(8, held=3)] == [other.id]  # one at a time does
    [first] = busy.take(8)
    assert (first.id in (suspect, bystander), first.alone) == (True, True)
    assert busy.take(8, held=1) == []
    [second] = busy.take(8)
    assert {first.id, second.id} == {suspect, bystander}
    assert store.queue().queued == 0


def test_a_paused_priority_waits_and_is_served_once_resumed(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    store.pause(Priority.BULK)
    bulk, normal = store.submit(ask(priority=Priority.BULK)), store.submit(ask())
    assert [c.id for c in claims.take(8)] == [normal.id]
    redis_client.delete(keys.wake("bundled"))
    store.resume(Priority.BULK)
    assert redis_client.llen(keys.wake("bundled")) == 1
    assert [c.id for c in claims.take(8)] == [bulk.id]


def test_a_purge_cancels_all_that_is_queued_of_a_priority(store: JobStore, claims: Claims) -> None:
    running = store.submit(ask(priority=Priority.BULK))
    claims.take(1)
    store.owned_by(ANNA).submit_many(of_priority(Priority.BULK, 700))
    store.submit_many(of_priority(Priority.BULK, 30) + of_priority(Priority.NORMAL, 2))
    assert store.purge(Priority.BULK) == 730
    assert store.queue().queued == 2
    assert store.get(running.id).status is JobStatus.RUNNING
    assert store.page(JobStatus.CANCELED, 200, None).next is not None
    assert len(claims.take(64)) == 2


def test_jobs_that_must_have_been_started_are_swept(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    late, started, batched = (
        store.submit(ask(start_within_s=60)).id,
        store.submit(ask(start_within_s=60)).id,
        store.submit_many([ask(start_within_s=60)])[0],
    )
    store.cancel(late)
    late = store.submit(ask(start_within_s=60)).id
    [claim] = claims.take(1)
    assert claim.id == started
    for job_id in (late, started, batched):
        redis_client.hset(keys.job(job_id), "created", 1000)
        redis_client.zadd(keys.deadlines("bundled"), {job_id: 61_000})
    Sweeper(redis_client, "bundled").sweep()
    rows = [redis_client.hget(keys.job(i), "status") for i in (late, started, batched)]
    assert rows == [b"expired", b"running", b"expired"]
    assert (
        redis_client.zcard(keys.deadlines("bundled")) == 1
    )  # that of the canceled, until it is due
    redis_client.zadd(keys.leases("bundled"), {started: 1})
    Sweeper(redis_client, "bundled", "w1").sweep()
    assert store.get(started).status is JobStatus.RUNNING  # another process sweeps
    redis_client.delete(keys.sweeper("bundled"))
    Sweeper(redis_client, "bundled").sweep()
    assert store.get(started).status is JobStatus.QUEUED  # it was started in time
    assert [c.id for c in claims.take(8)] == [started]
