"""The contract of `store.Jobs`, kept by the fake in memory and by the real store alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from distilq import keys
from distilq.claims import Claim, Claims
from distilq.connection import connect
from distilq.deliveries import Deliveries
from distilq.errors import (
    DistilqError,
    GenerationFailed,
    IdempotencyKeyReused,
    InvalidParameters,
    JobGone,
    JobNotFinished,
    JobNotFound,
    NotOnDeadList,
    NoWebhook,
    QueueFull,
    StoreUnavailable,
)
from distilq.events import Came, Ended, Event, Place, Stands, Token
from distilq.jobs import Job, JobRequest, JobStatus, Outcome, Priority, Sequence, Usage
from distilq.once import Once
from distilq.owner import EVERYBODY, Owner
from distilq.parameters import Parameters
from distilq.settings import Settings
from distilq.store import Jobs, JobStore
from distilq.sweeper import MAX_DEATHS, Sweeper
from distilq.testing import MemoryStore
from distilq.webhooks.outbox import Outbox
from distilq.webhooks.schedule import after
from distilq.webhooks.sending import Answer

MODEL = "bundled"
UNKNOWN = "0" * 32
MOST_JOBS, MOST_TOKENS = 20, 2_000


class Worker(Protocol):
    """Who runs the jobs; `MemoryStore` does it itself."""

    def start(self, job_id: str) -> Any: ...
    def finish(self, job_id: str, outcome: Outcome) -> Any: ...
    def fail(self, job_id: str, error: DistilqError) -> Any: ...
    def stop(self, job_id: str) -> Any: ...
    def bury(self, job_id: str) -> Any: ...
    def emit(self, job_id: str, tokens: list[Token]) -> Any: ...
    def deliver(self, job_id: str, status: int) -> Any: ...


class RedisWorker:
    """The same over Redis, through the claims of a real worker."""

    def __init__(self, redis: Any) -> None:
        self.claims = Claims(redis, MODEL, "worker-1")
        self.outbox = Outbox(redis)
        self.held: dict[str, Claim] = {}
        self.emitted: dict[str, int] = {}

    def emit(self, job_id: str, tokens: list[Token]) -> None:
        self.emitted[job_id] = self.emitted.get(job_id, 0) + len(tokens)
        self.claims.emit([(self.held[job_id], self.emitted[job_id], tokens)])

    def deliver(self, job_id: str, status: int) -> None:
        """As a dispatcher does; nobody else has the entry."""
        [entry] = self.outbox.take(1, 1, {})
        assert entry.id == job_id
        answer = Answer(at_ms=1_700_000_000_000, duration_ms=1, status=status)
        self.outbox.end(entry, answer, after(status, "", entry.tries))

    def start(self, job_id: str) -> None:
        self.held |= {claim.id: claim for claim in self.claims.take(1_000)}
        assert job_id in self.held

    def finish(self, job_id: str, outcome: Outcome) -> None:
        if job_id not in self.held:
            self.start(job_id)
        self.claims.finish([(self.held[job_id], outcome)], {})

    def fail(self, job_id: str, error: DistilqError) -> None:
        self.finish(job_id, Outcome(error=error.problem()))

    def bury(self, job_id: str) -> None:
        """Its worker, which holds it already, is the last that dies under it."""
        redis = self.claims.redis
        redis.hset(keys.job(job_id), "deaths", MAX_DEATHS - 1)
        redis.zadd(keys.leases(MODEL), {job_id: 1})
        redis.delete(keys.sweeper(MODEL))
        Sweeper(redis, MODEL).sweep()

    def stop(self, job_id: str) -> None:
        assert self.claims.next_cancel(1) == job_id
        self.finish(job_id, Outcome(error={"type": "urn:distilq:problem:canceled"}))


@pytest.fixture(params=["memory", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(kind: str, request: pytest.FixtureRequest) -> Iterator[tuple[Jobs, Worker]]:
    if kind == "memory":
        memory = MemoryStore(model=MODEL, max_queued_jobs=MOST_JOBS, max_queued_tokens=MOST_TOKENS)
        yield memory, memory
        return
    client = request.getfixturevalue("redis_client")
    make: Callable[..., Settings] = request.getfixturevalue("settings")
    settings = make(model=MODEL, max_queued_jobs=MOST_JOBS, max_queued_tokens=MOST_TOKENS)
    store = JobStore(client, settings)
    yield store, RedisWorker(client)
    store.close()


@pytest.fixture
def store(pair: tuple[Jobs, Worker]) -> Jobs:
    return pair[0]


@pytest.fixture
def worker(pair: tuple[Jobs, Worker]) -> Worker:
    return pair[1]


@pytest.fixture
def dead_store(kind: str) -> Jobs:
    """A store that cannot be reached."""
    if kind == "memory":
        memory = MemoryStore()
        memory.down = True
        return memory
    url = "redis://127.0.0.1:1/0"
    return JobStore(connect(url), Settings(redis_url=url, model=MODEL))


def ask(**fields: Any) -> JobRequest:
    return JobRequest(**{"inputs": "Once upon a time,", **fields})


def outcome(text: str = "Once upon a time, there was") -> Outcome:
    sequence = Sequence(generated_text=text, finish_reason="length", generated_tokens=2, seed=7)
    return Outcome(result=[[sequence]], usage=Usage(prompt_tokens=5, generated_tokens=2))


def test_a_submitted_job_is_queued_and_can_be_read_back(store: Jobs) -> None:
    job = store.submit(ask(metadata={"user": "42"}, parameters={"max_new_tokens": 7}))
    assert job.status is JobStatus.QUEUED
    assert job.model == MODEL
    assert job.metadata == {"user": "42"}
    assert job.progress.tokens_max == 7
    assert (job.started_at, job.completed_at, job.expires_at) == (None, None, None)
    assert (job.result, job.error, job.attempt) == (None, None, 0)
    assert job.urls.result == f"/v1/jobs/{job.id}/result"
    assert store.get(job.id) == job


def test_a_seed_is_drawn_once_and_stays(store: Jobs) -> None:
    first, second = store.submit(ask()), store.submit(ask())
    assert first.parameters.seed is not None
    assert first.parameters.seed != second.parameters.seed
    assert store.get(first.id).parameters == first.parameters


def test_positions_follow_priority_then_order(store: Jobs) -> None:
    order = (Priority.BULK, Priority.NORMAL, Priority.NORMAL, Priority.INTERACTIVE)
    ids = [store.submit(ask(priority=priority)).id for priority in order]
    assert [store.get(job_id).queue.position for job_id in ids] == [4, 2, 3, 1]


def test_the_queue_says_what_is_paused_most_urgent_first(store: Jobs) -> None:
    assert store.queue().paused == []
    for priority in (Priority.BULK, Priority.INTERACTIVE, Priority.BULK):
        store.pause(priority)
    assert store.queue().paused == [Priority.INTERACTIVE, Priority.BULK]
    for priority in Priority:
        store.resume(priority)
    assert store.queue().paused == []


def test_a_started_job_has_no_position_and_moves_those_behind_it(
    store: Jobs, worker: Worker
) -> None:
    first = store.submit(ask())
    worker.start(first.id)
    second = store.submit(ask())
    assert store.get(first.id).queue.position is None
    assert store.get(second.id).queue.position == 1


def test_a_job_runs_to_its_result(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask(result_ttl_s=60))
    worker.start(job.id)
    running = store.get(job.id)
    assert (running.status, running.attempt) == (JobStatus.RUNNING, 1)
    assert running.started_at is not None
    worker.finish(job.id, outcome("Grüße, 世界 🌍"))
    done = store.get(job.id)
    assert done.status is JobStatus.SUCCEEDED
    assert done.result is not None
    assert done.result[0][0].generated_text == "Grüße, 世界 🌍"
    assert done.usage == Usage(prompt_tokens=5, generated_tokens=2)
    assert done.completed_at is not None
    assert done.expires_at is not None
    assert (done.expires_at - done.completed_at).total_seconds() == 60
    assert done.created_at <= running.started_at <= done.completed_at


def test_a_failed_job_has_its_error(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask())
    worker.start(job.id)
    worker.fail(job.id, GenerationFailed("step 3", step=3))
    failed = store.get(job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error == GenerationFailed("step 3", step=3).problem()
    assert failed.result is None


def test_an_unknown_id_is_not_found_by_any_method(store: Jobs) -> None:
    for method in (
        *(store.get, store.cancel, store.delete, store.follow),
        lambda it: store.wait(it, 1),
    ):
        with pytest.raises(JobNotFound):
            method(UNKNOWN)


def test_a_queued_job_is_canceled_at_once(store: Jobs) -> None:
    job = store.submit(ask())
    canceled = store.cancel(job.id)
    assert canceled.status is JobStatus.CANCELED
    assert canceled.error is not None
    assert canceled.error["type"] == "urn:distilq:problem:canceled"
    assert canceled.completed_at is not None
    assert store.queue().queued == 0
    assert store.cancel(job.id) == canceled


def test_a_running_job_is_canceling_until_its_worker_lets_go(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask())
    worker.start(job.id)
    for _ in range(2):
        assert store.cancel(job.id).status is JobStatus.CANCELING
    worker.stop(job.id)
    assert store.get(job.id).status is JobStatus.CANCELED


def test_a_result_that_comes_before_the_cancel_is_kept(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask())
    worker.start(job.id)
    store.cancel(job.id)
    worker.finish(job.id, outcome())
    assert store.cancel(job.id).status is JobStatus.SUCCEEDED


def test_a_finished_job_cannot_be_canceled(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask())
    worker.finish(job.id, outcome())
    assert store.cancel(job.id) == store.get(job.id)
    assert store.get(job.id).status is JobStatus.SUCCEEDED


def test_a_job_not_started_in_time_expires(store: Jobs) -> None:
    job = store.submit(ask(start_within_s=0.01))
    time.sleep(0.05)
    expired = store.get(job.id)
    assert expired.status is JobStatus.EXPIRED
    assert expired.started_at is None
    assert expired.error is not None
    assert expired.error["type"] == "urn:distilq:problem:start_deadline_passed"
    assert store.queue().queued == 0


def test_a_text_is_gone_after_its_time_to_live(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask(result_ttl_s=1))
    worker.finish(job.id, outcome())
    time.sleep(1.1)
    with pytest.raises(JobGone) as gone:
        store.get(job.id)
    assert gone.value.members["expired_at"]
    assert store.get_many([job.id]) == ["gone"]
    assert store.page(None, 10, None).jobs == []


def test_a_deleted_job_is_gone_for_every_method(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask())
    worker.finish(job.id, outcome())
    store.delete(job.id)
    for method in (
        *(store.get, store.cancel, store.delete, store.follow),
        lambda it: store.wait(it, 1),
    ):
        with pytest.raises(JobGone):
            method(job.id)
    assert store.page(None, 10, None).jobs == []


def test_a_live_job_cannot_be_deleted(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask())
    with pytest.raises(JobNotFinished):
        store.delete(job.id)
    worker.start(job.id)
    with pytest.raises(JobNotFinished):
        store.delete(job.id)
    assert store.get(job.id).status is JobStatus.RUNNING


def test_many_are_read_in_the_order_asked(store: Jobs, worker: Worker) -> None:
    first, second = store.submit(ask()), store.submit(ask())
    worker.start(first.id)
    worker.finish(second.id, outcome())
    store.delete(second.id)
    found = store.get_many([second.id, UNKNOWN, first.id, "no id", first.id])
    assert found[0] == "gone"
    assert found[1] == found[3] == "unknown"
    assert found[2] == found[4] == store.get(first.id)
    assert store.get_many([]) == []


def test_waiting_ends_when_the_job_does(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask())
    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(store.wait, job.id, 60) for _ in range(3)]
        worker.start(job.id)
        worker.finish(job.id, outcome())
        assert [it.result().status for it in waiting] == [JobStatus.SUCCEEDED] * 3


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_waiting_ends_however_the_job_ends(store: Jobs, worker: Worker, end: str) -> None:
    job = store.submit(ask())
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(store.wait, job.id, 60)
        if end == "cancel":
            store.cancel(job.id)
        else:
            worker.start(job.id)
            worker.fail(job.id, GenerationFailed())
        assert waiting.result().status.final


def test_waiting_lasts_as_long_as_asked_when_the_job_does_not_end(store: Jobs) -> None:
    job = store.submit(ask())
    for _ in range(2):
        began = time.monotonic()
        assert store.wait(job.id, 0.3).status is JobStatus.QUEUED
        assert time.monotonic() - began >= 0.3


def test_waiting_for_a_finished_job_or_for_no_time_returns_at_once(
    store: Jobs, worker: Worker
) -> None:
    job = store.submit(ask())
    assert store.wait(job.id, 0).status is JobStatus.QUEUED
    worker.finish(job.id, outcome())
    assert store.wait(job.id, 600).status is JobStatus.SUCCEEDED


def told(events: Iterable[list[Event]]) -> list[Event]:
    return [event for some in events for event in some]


def kinds(events: Iterable[Event]) -> list[str]:
    """What was told in short: a token's text, a status, the end; each once in a row."""
    words: list[str] = []
    for event in events:
        if isinstance(event, Came):
            words.append(event.token.text)
        elif isinstance(event, Ended):
            words.append(f"end: {event.job.status.value}")
        elif words[-1:] != [event.job.status.value]:
            words.append(event.job.status.value)
    return words


def a_token(index: int) -> Token:
    return Token(0, 0, index, 65 + index, chr(65 + index), "length" if index == 3 else None)


def test_a_job_that_streams_is_followed_from_the_queue_to_its_end(
    store: Jobs, worker: Worker
) -> None:
    job = store.submit(ask(stream=True))
    assert job.stream
    with ThreadPoolExecutor() as threads:
        following = [threads.submit(told, store.follow(job.id)) for _ in range(3)]
        time.sleep(0.2)
        worker.start(job.id)
        worker.emit(job.id, [a_token(0), a_token(1)])
        worker.emit(job.id, [a_token(2)])
        time.sleep(0.2)
        worker.emit(job.id, [a_token(3)])
        worker.finish(job.id, outcome())
        found = [it.result(timeout=30) for it in following]
    for events in found:
        assert kinds(events) == ["queued", "running", "A", "B", "C", "D", "end: succeeded"]
        assert isinstance(events[-1], Ended)
        assert events[-1].job == store.get(job.id)
    assert kinds(told(store.follow(job.id))) == ["succeeded", "A", "B", "C", "D", "end: succeeded"]


def test_following_goes_on_behind_any_token(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask(stream=True))
    worker.start(job.id)
    worker.emit(job.id, [a_token(0), a_token(1), a_token(2)])
    worker.emit(job.id, [a_token(3)])
    worker.finish(job.id, outcome())
    whole = told(store.follow(job.id))
    places = [event.place for event in whole if isinstance(event, Came)]
    assert [place.number for place in places] == [1, 2, 3, 4]
    for number, place in enumerate(places, start=1):
        rest = told(store.follow(job.id, after=place))
        assert not any(isinstance(event, Stands) and event.restarted for event in rest)
        assert kinds(rest) == ["succeeded", *"ABCD"[number:], "end: succeeded"]


def test_the_tokens_of_an_attempt_that_is_none_are_superseded(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask(stream=True))
    worker.start(job.id)
    worker.emit(job.id, [a_token(0)])
    worker.finish(job.id, outcome())
    events = told(store.follow(job.id, after=Place(77, 3)))
    assert isinstance(events[0], Stands)
    assert events[0].restarted
    assert kinds(events) == ["succeeded", "A", "end: succeeded"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("how", ["cancel", "fail", "finish"])
def test_whoever_follows_hears_of_every_end(
    store: Jobs, worker: Worker, stream: bool, how: str
) -> None:
    job = store.submit(ask(stream=stream))
    with ThreadPoolExecutor() as threads:
        following = threads.submit(told, store.follow(job.id))
        time.sleep(0.2)
        if how == "cancel":
            store.cancel(job.id)
        else:
            worker.start(job.id)
            if how == "fail":
                worker.fail(job.id, GenerationFailed())
            else:
                worker.finish(job.id, outcome())
        events = following.result(timeout=30)
    end = {"cancel": "canceled", "fail": "failed", "finish": "succeeded"}[how]
    assert kinds(events)[0] == "queued"
    assert kinds(events)[-1] == f"end: {end}"


def test_following_ends_when_it_is_given_up(store: Jobs) -> None:
    job = store.submit(ask(stream=True))
    given_up = iter([False, True])
    assert kinds(told(store.follow(job.id, None, lambda: next(given_up)))) == ["queued"]


def test_a_full_queue_refuses_and_says_when_to_come_back(store: Jobs) -> None:
    ids = [store.submit(ask()).id for _ in range(MOST_JOBS)]
    with pytest.raises(QueueFull) as full:
        store.submit(ask())
    assert full.value.members["retry_after_s"] >= 1
    store.cancel(ids[0])
    store.submit(ask())


def test_a_queue_full_of_tokens_refuses_too(store: Jobs) -> None:
    store.submit(ask(parameters={"max_new_tokens": 1_024}))
    with pytest.raises(QueueFull):
        store.submit(ask(parameters={"max_new_tokens": 1_024}))
    store.submit(ask(parameters={"max_new_tokens": 10}))


def test_a_batch_is_queued_in_its_order(store: Jobs) -> None:
    ids = store.submit_many([ask(metadata={"i": str(i)}) for i in range(3)])
    jobs = [job for job in store.get_many(ids) if isinstance(job, Job)]
    assert [job.metadata["i"] for job in jobs] == ["0", "1", "2"]
    assert [job.queue.position for job in jobs] == [1, 2, 3]
    assert {job.status for job in jobs} == {JobStatus.QUEUED}


def test_a_batch_over_the_cap_leaves_nothing_behind(store: Jobs) -> None:
    store.submit(ask())
    with pytest.raises(QueueFull):
        store.submit_many([ask()] * MOST_JOBS)
    assert store.queue().queued == 1
    assert len(store.page(None, 200, None).jobs) == 1
    store.submit_many([ask()] * (MOST_JOBS - 1))


def once(fingerprint: str = "f", key: str = "POST /v1/jobs k") -> Once:
    return Once(key, fingerprint)


def test_a_key_stands_for_one_job(store: Jobs, worker: Worker) -> None:
    first, second = once(), once()
    assert store.recall(once()) is None
    job = store.submit(ask(), first)
    worker.start(job.id)
    again = store.submit(ask(), second)
    assert (again.id, again.status) == (job.id, JobStatus.RUNNING)
    assert again.parameters == job.parameters
    assert (first.replayed, second.replayed) == (False, True)
    assert store.recall(once()) == [job.id]
    assert len(store.page(None, 10, None).jobs) == 1
    assert store.submit(ask(), once(key="other")).id != job.id


def test_a_key_stands_for_one_batch(store: Jobs) -> None:
    first, second = once(), once()
    ids = store.submit_many([ask()] * 3, first)
    assert store.submit_many([ask()] * 3, second) == ids == store.recall(once())
    assert (first.replayed, second.replayed) == (False, True)
    assert (store.queue().queued, len(set(ids))) == (3, 3)
    assert len(store.submit_many([ask()], once(key="other"))) == 1


def test_a_key_is_for_no_other_request(store: Jobs) -> None:
    store.submit(ask(), once())
    store.submit_many([ask()], once(key="batch"))
    other = once("another")
    for call in (
        lambda: store.submit(ask(), other),
        lambda: store.submit_many([ask()], other),
        lambda: store.recall(other),
        lambda: store.submit_many([ask()], once("another", "batch")),
    ):
        with pytest.raises(IdempotencyKeyReused):
            call()
    assert store.queue().queued == 2
    assert not other.replayed


def test_a_key_is_its_owners(store: Jobs) -> None:
    views = [store, store.owned_by(Owner("one")), store.owned_by(Owner("two"))]
    ids = [view.submit(ask(), once()).id for view in views]
    assert len(set(ids)) == 3
    assert [view.submit(ask(), once()).id for view in views] == ids
    assert store.owned_by(Owner("three")).recall(once()) is None


def test_what_was_refused_has_not_used_its_key(store: Jobs) -> None:
    ids = store.submit_many([ask()] * MOST_JOBS)
    for _ in range(2):
        with pytest.raises(QueueFull):
            store.submit(ask(), once(key="one"))
        with pytest.raises(QueueFull):
            store.submit_many([ask()] * 2, once(key="two"))
    for job_id in ids:
        store.cancel(job_id)
    tries = [once(key="one"), once(key="two")]
    store.submit(ask(), tries[0])
    store.submit_many([ask()] * 2, tries[1])
    assert store.queue().queued == 3
    assert not any(each.replayed for each in tries)


def test_what_is_in_a_full_queue_is_found_by_its_key(store: Jobs) -> None:
    job = store.submit(ask(), once())
    ids = store.submit_many([ask()] * (MOST_JOBS - 1), once(key="many"))
    assert store.submit(ask(), once()).id == job.id
    assert store.submit_many([ask()] * (MOST_JOBS - 1), once(key="many")) == ids


def test_a_key_outlives_its_job(store: Jobs, worker: Worker) -> None:
    asked = ask(result_ttl_s=1)
    job = store.submit(asked, once())
    worker.finish(job.id, outcome())
    store.delete(job.id)
    with pytest.raises(JobGone):
        store.submit(asked, once())
    assert store.recall(once()) == [job.id]
    assert store.queue().queued == 0


def test_a_key_that_many_send_at_once_stands_for_one_job(store: Jobs) -> None:
    tries = [once() for _ in range(16)]
    with ThreadPoolExecutor(len(tries)) as pool:
        ids = list(pool.map(lambda each: store.submit(ask(), each).id, tries))
    assert len(set(ids)) == 1
    assert sum(not each.replayed for each in tries) == 1
    assert store.queue().queued == 1


def test_pages_are_newest_first_and_complete(store: Jobs) -> None:
    ids = [*store.submit_many([ask()] * 4), *(store.submit(ask()).id for _ in range(3))]
    seen: list[str] = []
    page = store.page(None, 3, None)
    while True:
        seen += [job.id for job in page.jobs]
        if page.next is None:
            break
        page = store.page(None, 3, page.next)
    assert seen == ids[::-1]


def test_expired_jobs_leave_no_gaps_in_pages(store: Jobs, worker: Worker) -> None:
    kept = [store.submit(ask()).id for _ in range(3)]
    for _ in range(7):
        job = store.submit(ask())
        store.cancel(job.id)
        store.delete(job.id)
    short = store.submit_many([ask(result_ttl_s=1)] * 7)
    for job_id in short:
        store.cancel(job_id)
    time.sleep(1.1)
    page = store.page(None, 2, None)
    assert [job.id for job in page.jobs] == kept[:0:-1]
    rest = store.page(None, 2, page.next)
    assert ([job.id for job in rest.jobs], rest.next) == ([kept[0]], None)
    assert store.page(JobStatus.CANCELED, 5, None).jobs == []
    assert store.get_many(short) == ["gone"] * 7


def test_a_page_of_one_status_has_no_other(store: Jobs, worker: Worker) -> None:
    first = store.submit(ask())
    worker.finish(first.id, outcome())
    second = store.submit(ask())
    assert [job.id for job in store.page(JobStatus.SUCCEEDED, 10, None).jobs] == [first.id]
    assert [job.id for job in store.page(JobStatus.QUEUED, 10, None).jobs] == [second.id]
    assert store.page(JobStatus.FAILED, 10, None).jobs == []


@pytest.mark.parametrize("cursor", ["", "@", "next", " 1", "-1", "é", "f" * 5_000, "1 2", "nan"])
def test_a_cursor_that_is_none_is_refused(store: Jobs, cursor: str) -> None:
    with pytest.raises(InvalidParameters) as refused:
        store.page(None, 10, cursor)
    assert refused.value.members["errors"][0]["parameter"] == "cursor"


def test_the_queue_is_counted(store: Jobs, worker: Worker) -> None:
    request = ask(priority=Priority.BULK)
    first = store.submit(request)
    worker.start(first.id)
    store.submit(request)
    queue = store.queue()
    assert (queue.model, queue.queued, queue.running) == (MODEL, 1, 1)
    assert queue.queued_tokens == request.cost
    assert {name: level.jobs for name, level in queue.priorities.items()} == {
        "interactive": 0,
        "normal": 0,
        "bulk": 1,
    }
    assert queue.priorities["bulk"].oldest_age_s is not None
    assert queue.priorities["normal"].oldest_age_s is None
    assert queue.workers == 0
    assert store.workers() == []


def test_a_store_out_of_reach_says_so_whatever_is_asked(dead_store: Jobs) -> None:
    store = dead_store
    calls: list[Callable[[], object]] = [
        store.ping,
        store.queue,
        store.workers,
        store.stats,
        store.snapshot,
        lambda: store.submit(ask()),
        lambda: store.submit_many([ask()]),
        lambda: store.submit(ask(), once()),
        lambda: store.submit_many([ask()], once()),
        lambda: store.recall(once()),
        lambda: store.get(UNKNOWN),
        lambda: store.get_many([UNKNOWN]),
        lambda: store.wait(UNKNOWN, 1),
        lambda: store.cancel(UNKNOWN),
        lambda: store.delete(UNKNOWN),
        lambda: store.follow(UNKNOWN),
        lambda: store.page(None, 10, None),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()


def test_the_present_is_shown_all_in_one_and_the_last_hour_begins_with_the_first_sample(
    store: Jobs, worker: Worker
) -> None:
    worker.start(store.submit(ask()).id)
    store.submit(ask(priority=Priority.BULK))
    found = store.snapshot()
    assert (found.queue.running, found.queue.queued) == (1, 1)
    assert (found.workers, found.point, found.dead) == ([], None, 0)
    stats = store.stats()
    assert stats.points == []
    assert {each["count"] for each in stats.latency.model_dump().values()} == {0}


@pytest.mark.parametrize("owner", [EVERYBODY, Owner("one")])
def test_what_a_submission_answers_is_what_the_next_look_finds(store: Jobs, owner: Owner) -> None:
    store.submit(ask(priority=Priority.INTERACTIVE))
    mine = store.owned_by(owner)
    asked = ask(inputs=("a", "b"), metadata={"k": "v"}, parameters=Parameters(stop=(".",)))
    for _ in range(2):
        job = mine.submit(asked)
        assert mine.get(job.id) == job


HOOK = {"url": "https://hooks.example.com/", "events": ["job.succeeded"]}


def hooked() -> JobRequest:
    return JobRequest.model_validate({"inputs": "a", "webhook": HOOK}, strict=False)


def test_a_webhook_is_due_once_its_job_has_ended(store: Jobs, worker: Worker) -> None:
    job_id = store.submit(hooked()).id
    assert store.deliveries(job_id) == Deliveries()
    with pytest.raises(JobNotFinished):
        store.redeliver(job_id)
    worker.finish(job_id, Outcome())
    due = store.deliveries(job_id)
    assert (due.state, due.attempts) == ("pending", [])
    assert due.next_try_at == store.get(job_id).completed_at


def test_attempts_are_told_and_a_delivery_can_be_asked_for_again(
    store: Jobs, worker: Worker
) -> None:
    job_id = store.submit(hooked()).id
    worker.finish(job_id, Outcome())
    worker.deliver(job_id, 500)
    failed = store.deliveries(job_id)
    assert failed.state == "pending"
    assert failed.next_try_at is not None
    assert store.redeliver(job_id).state == "pending"
    worker.deliver(job_id, 204)
    told = store.deliveries(job_id)
    assert (told.state, told.next_try_at) == ("delivered", None)
    assert [(a.status, a.error) for a in told.attempts] == [(500, None), (204, None)]
    assert store.redeliver(job_id).attempts == told.attempts
    worker.deliver(job_id, 410)
    assert store.deliveries(job_id).state == "failed"


def test_a_job_with_no_webhook_for_its_end_has_none_to_tell_again(
    store: Jobs, worker: Worker
) -> None:
    for request in (ask(), hooked()):
        job_id = store.submit(request).id
        worker.fail(job_id, GenerationFailed())
        assert store.deliveries(job_id) == Deliveries()
        with pytest.raises(NoWebhook):
            store.redeliver(job_id)


def test_deliveries_are_the_owners_alone_and_go_with_the_text(store: Jobs, worker: Worker) -> None:
    job_id = store.owned_by(Owner("anna")).submit(hooked()).id
    worker.finish(job_id, Outcome())
    for call in (store.owned_by(Owner("ben")).deliveries, store.owned_by(Owner("ben")).redeliver):
        with pytest.raises(JobNotFound):
            call(job_id)
    store.delete(job_id)
    for call in (store.deliveries, store.redeliver):
        with pytest.raises(JobGone):
            call(job_id)


def test_the_dead_list_tells_who_died_and_what_of_only_where_it_is_asked_for(
    store: Jobs, worker: Worker
) -> None:
    job = store.owned_by(Owner("anna")).submit(ask(metadata={"user": "42"}))
    worker.start(job.id)
    worker.bury(job.id)
    assert store.get(job.id).status is JobStatus.FAILED
    [entry] = store.dead().page(10, None).entries
    assert (entry.id, entry.reason, entry.owner) == (job.id, "poisoned", "anna")
    assert [death.worker for death in entry.history] == ["worker-1"]
    assert (entry.requeueable, entry.message, entry.request) == (True, None, None)
    [whole] = store.dead().page(10, None, with_texts=True).entries
    assert job.id in (whole.message or "")
    assert whole.request is not None
    assert (whole.request["inputs"], whole.request["metadata"]) == (job_text(), {"user": "42"})


def job_text() -> str:
    return str(ask().inputs)


def test_the_dead_list_goes_page_by_page_whatever_is_dropped_meanwhile(
    store: Jobs, worker: Worker
) -> None:
    jobs = [store.submit(ask()) for _ in range(5)]
    for job in jobs:
        worker.start(job.id)
        worker.bury(job.id)
    dead = store.dead()
    whole = [entry.id for entry in dead.page(10, None).entries]
    assert set(whole) == {job.id for job in jobs}
    first = dead.page(2, None)
    assert ([entry.id for entry in first.entries], first.total) == (whole[:2], 5)
    for entry in first.entries:
        dead.drop(entry.id)
    second = dead.page(2, first.next)
    assert [entry.id for entry in second.entries] == whole[2:4]
    last = dead.page(2, second.next)
    assert ([entry.id for entry in last.entries], last.next, last.total) == (whole[4:], None, 3)
    for cursor in ("", "1", "-1-0", f"{10**20:x}-{whole[0]}", "1-x"):
        with pytest.raises(InvalidParameters):
            dead.page(2, cursor)


def test_what_is_dead_runs_again_as_its_owners_under_a_new_id(store: Jobs, worker: Worker) -> None:
    anna = store.owned_by(Owner("anna"))
    job = anna.submit(ask())
    worker.start(job.id)
    worker.bury(job.id)
    again = store.dead().requeue(job.id)
    assert anna.get(again.id).status is JobStatus.QUEUED
    assert (again.id != job.id, again.parameters) == (True, job.parameters)
    assert store.dead().page(10, None).entries == []
    for act in (store.dead().requeue, store.dead().drop):
        with pytest.raises(NotOnDeadList):
            act(job.id)


def test_a_job_tells_who_has_worked_on_it_also_when_it_has_ended(
    store: Jobs, worker: Worker
) -> None:
    job = store.submit(ask())
    assert names_of(store, job) == ["accepted"]
    worker.start(job.id)
    assert names_of(store, job) == ["accepted", "claimed"]
    worker.finish(job.id, outcome())
    assert names_of(store, job) == ["accepted", "claimed", "succeeded"]
    claimed = store.timeline(job.id).events[1]
    assert (claimed.worker, claimed.attempt) == ("worker-1", 1)


def test_the_deaths_of_a_job_are_in_its_timeline(store: Jobs, worker: Worker) -> None:
    job = store.submit(ask())
    worker.start(job.id)
    worker.bury(job.id)
    assert names_of(store, job) == ["accepted", "claimed", "lost", "failed"]


def names_of(store: Jobs, job: Job) -> list[str]:
    return [event.event for event in store.timeline(job.id).events]


def test_what_was_asked_can_be_read_and_sent_again(store: Jobs) -> None:
    asked = ask(parameters={"max_new_tokens": 7}, webhook={"url": "https://hooks.example.com/"})
    job = store.submit(asked)
    shown = store.request(job.id)
    assert "webhook" not in shown
    again = JobRequest.model_validate(shown)
    assert (again.prompts, again.parameters) == (asked.prompts, job.parameters)


@pytest.mark.parametrize("name", ["timeline", "request"])
def test_of_what_is_gone_nothing_is_told(store: Jobs, worker: Worker, name: str) -> None:
    job = store.submit(ask())
    worker.start(job.id)
    worker.finish(job.id, outcome())
    store.delete(job.id)
    with pytest.raises(JobGone):
        getattr(store, name)(job.id)
    with pytest.raises(JobNotFound):
        getattr(store.owned_by(Owner("ben")), name)(job.id)
