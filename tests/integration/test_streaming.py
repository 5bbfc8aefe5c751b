"""Jobs that stream, through a real worker process: nothing is lost or told twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from distilq import keys
from distilq.claims import Claims
from distilq.events import Came, Ended, Event, Place, Stands, Token
from distilq.jobs import JobRequest, JobStatus, Outcome
from distilq.parameters import Parameters
from distilq.settings import Settings
from distilq.store import JobStore
from tests.integration.test_worker import StartWorker, start_worker

__all__ = ["start_worker"]  # a fixture

MODEL = "simulated:step_ms=5"


@pytest.fixture
def worker_settings(redis_client: Any, settings: Callable[..., Settings]) -> Settings:
    return settings(model=MODEL, drain_s=5)


@pytest.fixture
def store(redis_client: Any, worker_settings: Settings) -> Iterator[JobStore]:
    store = JobStore(redis_client, worker_settings)
    yield store
    store.close()


def streaming(inputs: Any = "Once", **asked: Any) -> JobRequest:
    parameters = Parameters(**({"return_full_text": False} | asked))
    return JobRequest(inputs=inputs, stream=True, parameters=parameters)


class Told:
    """What somebody hears who starts anew wherever a `Stands` says so."""

    def __init__(self) -> None:
        self.texts: dict[tuple[int, int], str] = {}
        self.restarts = 0
        self.last: Place | None = None
        self.ended: Ended | None = None

    def hear(self, events: Iterable[list[Event]], most: int = 1 << 30) -> Told:
        """Until the end, or until so many tokens have come."""
        for event in (event for some in events for event in some):
            if isinstance(event, Ended):
                self.ended = event
            elif isinstance(event, Stands) and event.restarted:
                self.restarts, self.texts = self.restarts + 1, {}
            elif isinstance(event, Came):
                place = (event.token.input, event.token.sequence)
                self.texts[place] = self.texts.get(place, "") + event.token.text
                self.last = event.place
                most -= 1
                if not most:
                    break
        return self

    def is_whole(self) -> bool:
        if self.ended is None or self.ended.job.result is None:
            return False
        return self.texts == {
            (i, s): sequence.generated_text
            for i, sequences in enumerate(self.ended.job.result)
            for s, sequence in enumerate(sequences)
        }


def test_streams_of_many_jobs_are_whole(store: JobStore, start_worker: StartWorker) -> None:
    start_worker()
    requests = [
        streaming(("a", "b")[: 1 + n % 2], max_new_tokens=1 + n, num_return_sequences=1 + n % 3)
        for n in range(30)
    ]
    ids = store.submit_many(requests)
    with ThreadPoolExecutor(30) as threads:
        told = list(threads.map(lambda job_id: Told().hear(store.follow(job_id)), ids))
    assert all(each.is_whole() for each in told)
    late = [Told().hear(store.follow(job_id)) for job_id in ids]
    assert all(each.is_whole() for each in late)


def test_tokens_that_are_taken_at_once_are_in_no_list(
    store: JobStore, start_worker: StartWorker
) -> None:
    start_worker()
    draw, at_once = random.Random(0), Told()

    def take(events: list[Event]) -> bool:
        taken = draw.random() < 0.8
        if taken:
            at_once.hear([events])
        return taken

    job = store.submit(streaming("a", max_new_tokens=200, num_return_sequences=2))
    for events in store.follow(job.id, at_once=take):
        at_once.hear([events])  # in turn with `take`, never beside it
    assert at_once.is_whole()
    assert at_once.restarts == 0


def test_a_stream_goes_on_wherever_it_was_cut(store: JobStore, start_worker: StartWorker) -> None:
    start_worker()
    job = store.submit(streaming("a", max_new_tokens=120, num_return_sequences=3))
    draw, told = random.Random(0), Told()
    while told.ended is None:
        told.hear(store.follow(job.id, told.last), most=draw.randint(1, 40))
    assert told.is_whole()
    assert told.restarts == 0


def test_the_stream_of_a_retry_supersedes_the_one_before(
    store: JobStore, start_worker: StartWorker
) -> None:
    first = start_worker()
    job = store.submit(streaming("a", max_new_tokens=600))
    told = Told().hear(store.follow(job.id), most=20)
    with ThreadPoolExecutor() as threads:
        staying = threads.submit(Told().hear, store.follow(job.id))
        back = threads.submit(Told().hear, store.follow(job.id, told.last))
        first.kill()
        first.wait()
        start_worker()
        for each in (staying.result(60), back.result(60)):
            assert each.is_whole()
            assert each.restarts == 1
    late = Told().hear(store.follow(job.id))
    assert late.is_whole()
    assert late.restarts == 0
    gone = Told().hear(store.follow(job.id, told.last))
    assert (gone.restarts, gone.is_whole()) == (1, True)


def test_a_canceled_stream_ends(store: JobStore, start_worker: StartWorker) -> None:
    start_worker()
    job = store.submit(streaming("a", max_new_tokens=1000))
    Told().hear(store.follow(job.id), most=5)
    store.cancel(job.id)
    told = Told().hear(store.follow(job.id))
    assert told.ended is not None
    assert told.ended.job.status is JobStatus.CANCELED


def test_who_follows_rides_out_an_outage_of_redis_connections(
    store: JobStore, start_worker: StartWorker, redis_client: Any
) -> None:
    start_worker()
    job = store.submit(streaming("a", max_new_tokens=300))
    with ThreadPoolExecutor() as threads:
        following = threads.submit(Told().hear, store.follow(job.id))
        Told().hear(store.follow(job.id), most=20)
        redis_client.client_kill_filter(_type="normal", skipme=True)
        assert following.result(60).is_whole()


def test_only_the_valid_claim_writes_and_nothing_twice(store: JobStore, redis_client: Any) -> None:
    old, new = Claims(redis_client, MODEL, "old"), Claims(redis_client, MODEL, "new")
    job = store.submit(streaming())
    [first] = old.take(1)
    old.release([first])
    [second] = new.take(1)
    a, b = Token(0, 0, 0, 65, "A"), Token(0, 0, 1, 66, "B")
    old.emit([(first, 1, [a])])
    for _ in range(2):
        new.emit([(second, 1, [a]), (second, 2, [b])])
    found = redis_client.xrange(keys.events(job.id))
    assert [entry_id for entry_id, _ in found] == [b"2-1", b"2-2"]


def test_a_stream_lives_as_long_as_its_record(store: JobStore, redis_client: Any) -> None:
    claims = Claims(redis_client, MODEL, "w")
    kept, deleted, queued = (store.submit(streaming()).id for _ in range(3))
    held = claims.take(2)
    claims.emit([(claim, 1, [Token(0, 0, 0, 65, "A")]) for claim in held])
    assert redis_client.ttl(keys.events(kept)) == -1
    claims.finish([(claim, Outcome(result=[])) for claim in held], {})
    store.cancel(queued)
    for job_id in (kept, deleted, queued):
        record_lives, lives = (redis_client.pttl(key(job_id)) for key in (keys.job, keys.events))
        assert 0 < lives <= record_lives <= lives + 1_000
    store.delete(deleted)
    assert not redis_client.exists(keys.events(deleted))


def test_a_job_that_does_not_stream_leaves_no_stream(store: JobStore, redis_client: Any) -> None:
    job = store.submit(JobRequest(inputs="a"))
    store.cancel(job.id)
    assert not redis_client.exists(keys.events(job.id))
