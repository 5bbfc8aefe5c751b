"""A worker's side of the life cycle, on a real Redis: claim, finish, renew, release, sweep."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from distilq import keys, queue
from distilq.claims import Claims
from distilq.errors import Canceled, GenerationFailed, JobGone
from distilq.jobs import Job, JobRequest, JobStatus, Outcome, Priority, Sequence, Usage
from distilq.settings import Settings
from distilq.store import JobStore
from distilq.sweeper import MAX_DEATHS, Sweeper


def request(text: str = "a", **fields: Any) -> JobRequest:
    return JobRequest.model_validate_json(json.dumps({"inputs": text, **fields}))


def text_outcome(text: str = "a b") -> Outcome:
    sequence = Sequence(generated_text=text, finish_reason="length", generated_tokens=1, seed=7)
    return Outcome(result=[[sequence]], usage=Usage(prompt_tokens=1, generated_tokens=1))


def lapse(redis_client: Any, job: Job) -> None:
    """Let the job's lease lapse now rather than in LEASE_S seconds."""
    redis_client.zadd(keys.leases("bundled"), {job.id: 1})


def test_a_claimed_job_runs_and_its_outcome_is_what_the_client_reads(
    store: JobStore, claims: Claims
) -> None:
    job = store.submit(request(metadata={"user": "42"}))
    [claim] = claims.take(8)
    assert (claim.id, claim.fence, claim.rows) == (job.id, 1, 1)
    running = store.get(job.id)
    assert running.status is JobStatus.RUNNING
    assert running.attempt == 1

    claims.finish([(claim, text_outcome("a ü"))], {"revision": "r1", "precision": "float32"})
    done = store.get(job.id)
    assert done.status is JobStatus.SUCCEEDED
    assert done.result is not None
    assert done.result[0][0].generated_text == "a ü"
    assert (done.revision, done.precision) == ("r1", "float32")
    assert done.completed_at is not None
    assert done.expires_at is not None
    assert (done.expires_at - done.completed_at).total_seconds() == 86_400
    assert done.metadata == {"user": "42"}


def test_claims_go_to_the_urgent_first_and_are_first_in_first_out(
    store: JobStore, claims: Claims
) -> None:
    names = ("bulk", "normal", "normal", "interactive")
    ids = [store.submit(request(priority=name)).id for name in names]
    assert [claim.id for claim in claims.take(8)] == [ids[3], ids[1], ids[2], ids[0]]


def test_a_claim_takes_rows_not_jobs(store: JobStore, claims: Claims) -> None:
    for _ in range(4):
        store.submit(request(parameters={"num_return_sequences": 5}))
    assert [claim.rows for claim in claims.take(8)] == [5, 5]
    assert store.queue().queued == 2


def test_a_job_canceled_in_the_queue_is_never_claimed(store: JobStore, claims: Claims) -> None:
    job = store.submit(request())
    assert store.cancel(job.id).status is JobStatus.CANCELED
    assert claims.take(8) == []
    assert store.get(job.id).error == Canceled().problem()
    assert store.queue().queued == 0


def test_a_running_job_is_canceled_through_its_worker(store: JobStore, claims: Claims) -> None:
    job = store.submit(request())
    [claim] = claims.take(8)
    assert store.cancel(job.id).status is JobStatus.CANCELING
    assert claims.next_cancel(1) == job.id
    assert claims.renew({claim: (3, 0)}) == {job.id: "canceling"}
    claims.finish([(claim, Outcome(error=Canceled().problem()))], {})
    assert store.get(job.id).status is JobStatus.CANCELED


def test_a_job_that_finishes_before_its_cancel_is_heard_keeps_its_text(
    store: JobStore, claims: Claims
) -> None:
    job = store.submit(request())
    [claim] = claims.take(8)
    store.cancel(job.id)
    claims.finish([(claim, text_outcome())], {})
    assert store.get(job.id).status is JobStatus.SUCCEEDED
    assert store.cancel(job.id).status is JobStatus.SUCCEEDED


def test_a_failed_job_says_why(store: JobStore, claims: Claims) -> None:
    job = store.submit(request())
    [claim] = claims.take(8)
    problem = GenerationFailed("out of memory").problem()
    claims.finish([(claim, Outcome(error=problem))], {})
    failed = store.get(job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error == problem


def test_a_lapsed_lease_puts_the_job_back_in_front(
    store: JobStore, claims: Claims, sweeper: Sweeper, redis_client: Any
) -> None:
    job = store.submit(request())
    later = store.submit(request())
    [claim] = claims.take(1)
    lapse(redis_client, job)
    assert sweeper.sweep() == 1
    assert store.get(job.id).status is JobStatus.QUEUED
    again = claims.take(8)
    assert [c.id for c in again] == [job.id, later.id]
    assert again[0].fence == claim.fence + 1


def test_a_zombie_cannot_overwrite_a_newer_claim(
    store: JobStore, claims: Claims, sweeper: Sweeper, redis_client: Any
) -> None:
    job = store.submit(request())
    [zombie] = claims.take(8)
    lapse(redis_client, job)
    sweeper.sweep()
    [newer] = claims.take(8)
    claims.finish([(zombie, text_outcome("zombie"))], {})
    assert store.get(job.id).status is JobStatus.RUNNING
    assert claims.renew({zombie: (1, 0)}) == {job.id: "lost"}
    claims.finish([(newer, text_outcome("newer"))], {})
    claims.finish([(zombie, text_outcome("zombie"))], {})
    done = store.get(job.id)
    assert done.result is not None
    assert done.result[0][0].generated_text == "newer"


def test_a_renewed_lease_does_not_lapse_and_tells_the_progress(
    store: JobStore, claims: Claims, sweeper: Sweeper, redis_client: Any
) -> None:
    job = store.submit(request())
    [claim] = claims.take(8)
    lapse(redis_client, job)
    assert claims.renew({claim: (17, 0)}) == {}
    assert sweeper.sweep() == 0
    assert store.get(job.id).progress.tokens_done == 17


def test_a_job_that_kills_its_workers_fails_as_poisoned(
    store: JobStore, claims: Claims, sweeper: Sweeper, redis_client: Any
) -> None:
    job = store.submit(request())
    for _ in range(MAX_DEATHS):
        claims.take(8)
        lapse(redis_client, job)
        sweeper.sweep()
    failed = store.get(job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error["type"].endswith(":poisoned")
    assert [death["worker"] for death in failed.error["history"]] == ["w1"] * MAX_DEATHS
    assert all(death["started_ms"] <= death["lapsed_ms"] for death in failed.error["history"])
    assert redis_client.zrange(keys.dead("bundled"), 0, -1) == [job.id.encode()]
    assert claims.take(8) == []


def test_a_job_canceled_under_a_dead_worker_ends_canceled(
    store: JobStore, claims: Claims, sweeper: Sweeper, redis_client: Any
) -> None:
    job = store.submit(request())
    claims.take(8)
    store.cancel(job.id)
    lapse(redis_client, job)
    sweeper.sweep()
    assert store.get(job.id).status is JobStatus.CANCELED


def test_jobs_handed_back_are_unattempted_and_in_front(store: JobStore, claims: Claims) -> None:
    first, second = store.submit(request()), store.submit(request())
    [claim] = claims.take(1)
    claims.release([claim])
    assert store.get(first.id).attempt == 0
    assert [c.id for c in claims.take(8)] == [first.id, second.id]


def test_a_message_that_nobody_can_read_is_parked_and_the_rest_goes_on(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    name = queue.queues("bundled")["normal"]
    bad = [b"{", b'"text"', b"[]", b'{"headers": 3}', b'{"headers": {"id": 7}}', b"\xff\x00"]
    for message in bad:
        redis_client.lpush(name, message)
    job = store.submit(request())
    assert [claim.id for claim in claims.take(8)] == [job.id]
    assert redis_client.zcard(keys.dead("bundled")) == len(bad)


def test_a_record_of_a_newer_version_is_handed_back(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    job = store.submit(request())
    redis_client.hset(keys.job(job.id), "v", keys.VERSION + 1)
    assert claims.take(8) == []
    assert store.get(job.id).status is JobStatus.QUEUED
    redis_client.hset(keys.job(job.id), "v", keys.VERSION)
    assert [claim.id for claim in claims.take(8)] == [job.id]


def test_a_job_that_waited_too_long_expires_when_it_is_claimed_or_read(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    claimed, read = (store.submit(request(start_within_s=60)) for _ in range(2))
    for job in (claimed, read):
        redis_client.hset(keys.job(job.id), "created", 1000)
    assert store.get(read.id).status is JobStatus.EXPIRED
    assert claims.take(8) == []
    expired = store.get(claimed.id)
    assert expired.status is JobStatus.EXPIRED
    assert expired.error is not None
    assert expired.error["type"].endswith(":start_deadline_passed")
    assert store.queue().queued == 0


def test_a_job_that_was_started_in_time_never_expires_for_want_of_a_start(
    store: JobStore, claims: Claims, sweeper: Sweeper, redis_client: Any
) -> None:
    handed_back, lost = (store.submit(request(start_within_s=60)) for _ in range(2))
    first, second = claims.take(2)
    claims.release([first])
    lapse(redis_client, lost)
    sweeper.sweep()
    for job in (handed_back, lost):
        redis_client.hset(keys.job(job.id), "created", 1000)
        assert store.get(job.id).status is JobStatus.QUEUED
    assert {claim.id for claim in claims.take(8)} == {handed_back.id, lost.id}
    assert second.id == lost.id


def test_the_text_is_gone_after_its_time_and_the_id_is_still_known(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    job = store.submit(request(result_ttl_s=1))
    [claim] = claims.take(8)
    claims.finish([(claim, text_outcome())], {})
    assert 0 < redis_client.pttl(keys.job(job.id)) <= 1000
    redis_client.delete(keys.job(job.id))  # what Redis does a second later
    with pytest.raises(JobGone) as gone:
        store.get(job.id)
    assert gone.value.members["expired_at"].endswith("Z")


def test_tombstones_of_a_day_ago_are_swept_as_jobs_finish(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    old = [store.submit(request()) for _ in range(2)]
    claims.finish([(claim, text_outcome()) for claim in claims.take(8)], {})
    for job in old:
        redis_client.delete(keys.job(job.id))
        redis_client.zadd(keys.EXPIRY, {job.id: 1})
    store.submit(request())
    claims.finish([(claim, text_outcome()) for claim in claims.take(8)], {})
    assert redis_client.zcard(keys.EXPIRY) == 1
    assert redis_client.zcard(keys.INDEX_PREFIX + "succeeded") == 1


def test_the_queue_counts_what_is_queued_and_what_it_costs(store: JobStore, claims: Claims) -> None:
    cheap = request(parameters={"max_new_tokens": 1})
    for priority in (Priority.NORMAL, Priority.BULK, Priority.BULK):
        store.submit(cheap.model_copy(update={"priority": priority}))
    state = store.queue()
    assert (state.queued, state.queued_tokens) == (3, 6)
    assert {name: level.jobs for name, level in state.priorities.items()} == {
        "interactive": 0,
        "normal": 1,
        "bulk": 2,
    }
    claims.finish([(claim, text_outcome()) for claim in claims.take(8)], {})
    state = store.queue()
    assert (state.queued, state.queued_tokens, state.running) == (0, 0, 0)


def test_a_queued_job_knows_when_its_turn_will_come(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    first, second = store.submit(request()), store.submit(request())
    assert store.get(second.id).queue.eta_s is None  # nothing has finished in the last minute
    bucket = int(time.time()) // keys.DRAIN_BUCKET_S - 1
    redis_client.set(f"{keys.drain('bundled')}{bucket}", 30)
    assert store.get(first.id).queue.eta_s == 2.0
    assert store.get(second.id).queue.eta_s == 4.0


def test_positions_count_what_is_served_before(store: JobStore, claims: Claims) -> None:
    jobs = [store.submit(request(priority="bulk")) for _ in range(3)]
    assert [store.get(job.id).queue.position for job in jobs] == [1, 2, 3]
    claims.take(1)
    assert [store.get(job.id).queue.position for job in jobs] == [None, 1, 2]
    store.submit(request(priority="interactive"))
    assert store.get(jobs[1].id).queue.position == 2


def test_a_worker_left_behind_wakes_another(
    store: JobStore, claims: Claims, redis_client: Any
) -> None:
    for _ in range(3):
        store.submit(request())
    redis_client.delete(keys.wake("bundled"))
    claims.take(1)
    assert redis_client.llen(keys.wake("bundled")) == 1
    redis_client.delete(keys.wake("bundled"))
    claims.take(8)
    assert redis_client.llen(keys.wake("bundled")) == 0


def test_jobs_handed_back_or_lost_together_keep_their_order(
    store: JobStore, claims: Claims, sweeper: Sweeper, redis_client: Any
) -> None:
    jobs = [store.submit(request()) for _ in range(6)]
    claims.release(claims.take(4))
    assert [c.id for c in claims.take(8)] == [job.id for job in jobs]
    for job in jobs:
        lapse(redis_client, job)
    sweeper.sweep()
    assert [c.id for c in claims.take(8)] == [job.id for job in jobs]


def test_a_worker_claims_from_the_queues_it_consumes_alone(store: JobStore, claims: Claims) -> None:
    bulk, normal = store.submit(request(priority="bulk")), store.submit(request())
    names = queue.queues("bundled")
    assert [c.id for c in claims.take(8, {names["normal"]})] == [normal.id]
    [claim] = claims.take(8, {names["normal"], names["bulk"]})
    assert (claim.id, claim.priority) == (bulk.id, "bulk")


def test_two_claims_of_one_job_have_different_keys(store: JobStore, claims: Claims) -> None:
    store.submit(request())
    [first] = claims.take(8)
    claims.release([first])
    [second] = claims.take(8)
    assert first.id == second.id
    assert first.key != second.key


def test_a_record_that_vanished_leaves_neither_lease_nor_index(
    store: JobStore, claims: Claims, sweeper: Sweeper, redis_client: Any
) -> None:
    job = store.submit(request())
    claims.take(8)
    redis_client.delete(keys.job(job.id))
    lapse(redis_client, job)
    sweeper.sweep()
    assert redis_client.zcard(keys.leases("bundled")) == 0
    assert redis_client.zcard(keys.INDEX_PREFIX + "running") == 0


def test_another_models_job_is_counted_out_of_its_own_queue(
    store: JobStore, redis_client: Any, settings: Callable[..., Settings]
) -> None:
    other = JobStore(redis_client, settings(model="simulated:step_ms=5"))
    canceled, late = other.submit(request()), other.submit(request(start_within_s=60))
    redis_client.hset(keys.job(late.id), "created", 1000)
    assert store.cancel(canceled.id).status is JobStatus.CANCELED
    assert store.get(late.id).status is JobStatus.EXPIRED
    assert other.queue().queued == 0
    assert store.queue().queued == 0
    assert redis_client.hgetall(keys.counters("bundled")) == {}
