"""The life of a job in any order of events, on a real Redis, held against a model of it."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from distilq import keys
from distilq.claims import Claim, Claims
from distilq.errors import Canceled, GenerationFailed, JobNotFinished, NoWebhook
from distilq.jobs import EndEvent, JobRequest, Outcome, Priority, Sequence, Usage, Webhook
from distilq.owner import Owner
from distilq.settings import Settings
from distilq.store import JobStore
from distilq.sweeper import MAX_DEATHS, Sweeper
from distilq.webhooks.outbox import Outbox
from distilq.webhooks.schedule import Next
from distilq.webhooks.sending import Answer
from tests.integration.job_model import HOST, MODEL, Known, check, of_status

TEXT = Sequence(generated_text="a", finish_reason="length", generated_tokens=1, seed=7)
TOLD = Answer(at_ms=0, duration_ms=1, status=204)
OUTCOMES = {
    "succeeded": Outcome(result=[[TEXT]], usage=Usage(prompt_tokens=1, generated_tokens=1)),
    "failed": Outcome(error=GenerationFailed().problem()),
    "canceled": Outcome(error=Canceled().problem()),
}

#: None, one that is told of every end, one of two.
WEBHOOKS = (
    None,
    Webhook(url=f"https://{HOST}/"),
    Webhook(url=f"https://{HOST}/", events=(EndEvent.SUCCEEDED, EndEvent.CANCELED)),
)

owners = strategies.sampled_from(["", "anna", "bert"])
priorities = strategies.sampled_from(list(keys.PRIORITIES))
workers = strategies.sampled_from(["w1", "w2"])
choices = strategies.integers(0, 2**16)


class JobLife(RuleBasedStateMachine):
    """Two workers, three owners, and whatever may happen to their jobs."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.redis: Any = redis.Redis.from_url(self.url)
        self.redis.flushall()
        self.store = JobStore(self.redis, Settings(redis_url=self.url, model=MODEL))
        self.claims = {name: Claims(self.redis, MODEL, name) for name in ("w1", "w2")}
        self.sweeper = Sweeper(self.redis, MODEL)
        self.outbox = Outbox(self.redis)
        self.jobs: dict[str, Known] = {}
        self.paused: set[str] = set()

    def teardown(self) -> None:
        self.redis.close()

    @invariant()
    def redis_holds_what_the_model_says(self) -> None:
        check(self.redis, list(self.jobs.values()))

    @invariant()
    def every_queued_job_has_a_place(self) -> None:
        queued = of_status(self.jobs.values(), "queued")
        for job in self.store.get_many([job.id for job in queued]):
            assert not isinstance(job, str)
            assert job.queue.position is not None
            assert 1 <= job.queue.position <= len(queued)

    # What clients do

    @rule(owner=owners, priority=priorities, rows=strategies.integers(1, 3), many=choices)
    def submit(self, owner: str, priority: str, rows: int, many: int) -> None:
        parameters = {"num_return_sequences": rows, "max_new_tokens": 3}
        fields: dict[str, Any] = {"inputs": "a", "priority": priority, "parameters": parameters}
        if many % 3 == 0:
            fields["start_within_s"] = 3_600
        webhook = WEBHOOKS[many % len(WEBHOOKS)]
        if webhook is not None:
            fields["webhook"] = webhook
        request = JobRequest.model_validate({**fields, "priority": Priority(priority)})
        store = self.store.owned_by(Owner(owner, sees_all=True))
        if many % 2:
            ids = store.submit_many([request] * (many % 4 + 1))
        else:
            ids = [store.submit(request).id]
        for job_id in ids:
            late = "start_within_s" in fields
            tells = tuple(webhook.statuses) if webhook else ()
            self.jobs[job_id] = Known(job_id, owner, priority, request.cost, late, tells=tells)

    @precondition(lambda self: self.jobs)
    @rule(n=choices)
    def cancel(self, n: int) -> None:
        job = self.any_of(list(self.jobs.values()), n)
        if job.deleted:
            return
        if job.status == "queued":
            job.status = "canceled"
        elif job.status == "running":
            job.status = "canceling"
        assert self.store.cancel(job.id).status.value == job.status

    @precondition(lambda self: self.jobs)
    @rule(n=choices)
    def delete(self, n: int) -> None:
        job = self.any_of(list(self.jobs.values()), n)
        if job.deleted:
            return
        if job.live:
            with pytest.raises(JobNotFinished):
                self.store.delete(job.id)
        else:
            self.store.delete(job.id)
            job.deleted = True

    # What dispatchers do

    @rule(most=strategies.integers(1, 4), lapses=strategies.booleans())
    def tell(self, most: int, lapses: bool) -> None:
        """One that dies amid its work, or one that ends it."""
        rounds = range(len(self.jobs) + 1)  # each may find nothing but jobs that were deleted
        taken = next(filter(None, (self.outbox.take(most, most, {}) for _ in rounds)), [])
        asked = [self.jobs[entry.id] for entry in taken]
        assert all(job.status in job.tells and job.delivery == "pending" for job in asked)
        assert not any(job.deleted for job in asked)
        pending = [j for j in self.jobs.values() if j.status in j.tells and not j.deleted]
        assert taken or not [j for j in pending if j.delivery == "pending"]
        for entry, job in zip(taken, asked, strict=True):
            if lapses:
                self.redis.zadd(keys.outbox(HOST), {entry.id: 1})
                self.redis.zadd(keys.OUTBOXES, {HOST: 1})
            else:
                assert self.outbox.end(entry, TOLD, Next("delivered")) == "delivered"
                job.delivery = "delivered"

    @precondition(lambda self: self.jobs)
    @rule(n=choices)
    def redeliver(self, n: int) -> None:
        job = self.any_of(list(self.jobs.values()), n)
        if job.deleted:
            return
        if job.live or job.status not in job.tells:
            with pytest.raises((JobNotFinished, NoWebhook)):
                self.store.redeliver(job.id)
        else:
            self.store.redeliver(job.id)
            job.delivery = "pending"

    # What workers do

    @rule(worker=workers, rows=strategies.integers(1, 8), only=strategies.sets(priorities))
    def claim(self, worker: str, rows: int, only: set[str]) -> None:
        looked_at = only or set(keys.PRIORITIES)
        held = [j for j in self.jobs.values() if j.runs and j.worker == worker]
        queues = [keys.queue(MODEL, priority) for priority in looked_at]
        taken = self.claims[worker].take(rows, queues, held=len(held))
        for claim in taken:
            self.note_claim(worker, claim, looked_at)
        assert sum(claim.rows for claim in taken[:-1]) < rows
        if any(claim.alone for claim in taken):
            assert len(taken) == 1
            assert not held
        elif not self.claims[worker].asked_to_empty and sum(c.rows for c in taken) < rows:
            self.assert_none_is_left(looked_at)

    def note_claim(self, worker: str, claim: Claim, looked_at: set[str]) -> None:
        job = self.jobs[claim.id]
        assert job.status == "queued"
        assert job.priority not in self.paused
        assert job.priority in looked_at
        assert claim.alone == job.suspect
        assert claim.cost == job.cost
        assert claim.fence > (job.claims[-1].fence if job.claims else 0)
        job.claims.append(claim)
        job.status, job.worker, job.attempt = "running", worker, job.attempt + 1

    def assert_none_is_left(self, looked_at: set[str]) -> None:
        for job in of_status(self.jobs.values(), "queued"):
            assert job.suspect or job.priority in self.paused or job.priority not in looked_at

    @rule(worker=workers)
    def claim_again_as_the_answer_was_lost(self, worker: str) -> None:
        claims = self.claims[worker]
        if claims._calls == 0:
            return
        claims._calls -= 1
        for claim in claims.take(8):
            job = self.jobs[claim.id]
            assert job.runs
            assert job.worker == worker
            assert job.claims[-1] == claim

    @precondition(lambda self: any(job.claims for job in self.jobs.values()))
    @rule(n=choices)
    def renew(self, n: int) -> None:
        job, claim = self.any_claim(n)
        stop = self.claims[job.worker].renew({claim: (1, 0)})
        if not self.valid(job, claim):
            assert stop == {job.id: "lost"}
        else:
            assert stop == ({job.id: "canceling"} if job.status == "canceling" else {})

    @precondition(lambda self: any(job.claims for job in self.jobs.values()))
    @rule(n=choices, how=strategies.sampled_from(sorted(OUTCOMES)))
    def finish(self, n: int, how: str) -> None:
        job, claim = self.any_claim(n)
        self.claims[job.worker].finish([(claim, OUTCOMES[how])], {"precision": "float32"})
        if self.valid(job, claim):
            job.status = how

    @precondition(lambda self: any(job.claims for job in self.jobs.values()))
    @rule(n=choices)
    def release(self, n: int) -> None:
        job, claim = self.any_claim(n)
        self.claims[job.worker].release([claim])
        if not self.valid(job, claim):
            return
        if job.status == "canceling":
            job.status = "canceled"
        else:
            job.status, job.attempt = "queued", job.attempt - 1

    # What time and operators do

    @precondition(lambda self: any(job.runs for job in self.jobs.values()))
    @rule(
        n=choices, most=strategies.integers(1, 3), earlier=strategies.sampled_from([0, 1, 1, 3, 4])
    )
    def lapse_and_sweep(self, n: int, most: int, earlier: int) -> None:
        """As if `earlier` workers had died under them before: five in a row are rarely drawn."""
        running = [job for job in self.jobs.values() if job.runs]
        lapsed = {self.any_of(running, n + i).id for i in range(most)}
        for job in (self.jobs[job_id] for job_id in lapsed):
            job.deaths = max(job.deaths, earlier)
            self.redis.hset(keys.job(job.id), "deaths", job.deaths)
        self.redis.zadd(keys.leases(MODEL), dict.fromkeys(lapsed, 1))
        assert self.sweeper.sweep() == len(lapsed)
        for job in (self.jobs[job_id] for job_id in lapsed):
            if job.status == "canceling":
                job.status = "canceled"
                continue
            job.deaths += 1
            job.status = "failed" if job.deaths >= MAX_DEATHS else "queued"

    @rule()
    def sweep_past_the_deadlines_of_running_jobs(self) -> None:
        for job in self.jobs.values():
            if job.expires and job.runs:
                self.redis.zadd(keys.deadlines(MODEL), {job.id: 1}, xx=True)
        self.sweeper.sweep()

    @rule()
    def expire(self) -> None:
        """All that wait too long, whoever sees it first: a reader, the sweep, a claim."""
        for job in of_status(self.jobs.values(), "queued"):
            if job.expires and not job.claims:
                self.redis.hset(keys.job(job.id), "created", 1000)
                self.redis.zadd(keys.deadlines(MODEL), {job.id: 1}, xx=True)
                job.status = "expired"
        self.sweeper.sweep()

    @rule(priority=priorities)
    def pause(self, priority: str) -> None:
        self.store.pause(Priority(priority))
        self.paused.add(priority)

    @rule(priority=priorities)
    def resume(self, priority: str) -> None:
        self.store.resume(Priority(priority))
        self.paused.discard(priority)

    @rule(priority=priorities)
    def purge(self, priority: str) -> None:
        queued = [j for j in of_status(self.jobs.values(), "queued") if j.priority == priority]
        assert self.store.purge(Priority(priority)) == len(queued)
        for job in queued:
            job.status = "canceled"

    # Choosing

    def any_of(self, jobs: list[Known], n: int) -> Known:
        return jobs[n % len(jobs)]

    def any_claim(self, n: int) -> tuple[Known, Claim]:
        found = [(job, claim) for job in self.jobs.values() for claim in job.claims]
        return found[n % len(found)]

    def valid(self, job: Known, claim: Claim) -> bool:
        return job.runs and claim == job.claims[-1]


def test_a_job_lives_as_the_model_says_in_any_order_of_events(
    redis_url: str, redis_client: Any
) -> None:
    machine = type("JobLifeHere", (JobLife,), {"url": redis_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # shrinking takes minutes; add Phase.shrink to look closer
            suppress_health_check=list(HealthCheck),
        ),
    )
