"""Maps over any number of prompts, by both clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx
import pytest

from distilq import errors as e
from distilq.access import ApiKey, Limits
from distilq.client import AsyncClient, Client, ConnectionFailed
from distilq.jobs import JobStatus
from distilq.testing import MemoryRing, MemoryStore
from tests.unit.client_twins import (
    Faulty,
    Handler,
    Threaded,
    Twins,
    answers,
    api,
    lost,
    no_pauses,
    refused,
    worked,
)


@pytest.fixture
def store() -> MemoryStore:
    return worked(MemoryStore(), lambda store, job_id: store.finish(job_id))


@pytest.fixture(params=["sync", "async"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    twins = Twins(request.param)
    yield twins
    twins.close()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return no_pauses(monkeypatch)


def finish_all(store: MemoryStore, _: str) -> None:
    """All that are queued end as soon as anybody waits for one of them."""
    for job in store.page(JobStatus.QUEUED, 1_000, None).jobs:
        store.finish(job.id)


def texts(outcomes: Any) -> list[str]:
    return [outcome.text for outcome in outcomes]


def said(count: int) -> list[str]:
    return [f"{n} and on" for n in range(count)]


@pytest.mark.parametrize("in_flight", [1, 3, 40, 5000])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_every_prompt_has_its_text_in_order(
    twins: Twins, store: MemoryStore, count: int, in_flight: int
) -> None:
    client = twins.client(api(worked(store, finish_all)))
    outcomes = list(client.map((str(n) for n in range(count)), in_flight=in_flight, seed=1))
    assert texts(outcomes) == said(count)
    assert [outcome.index for outcome in outcomes] == [*range(count)]
    assert [outcome.prompt for outcome in outcomes] == [str(n) for n in range(count)]
    jobs = list(client.jobs())
    assert len(jobs) == count
    assert {job.queue.priority.value for job in jobs} <= {"bulk"}


def test_no_more_are_in_flight_than_may_be(twins: Twins, store: MemoryStore) -> None:
    taken = 0

    def prompts() -> Iterator[str]:
        nonlocal taken
        for n in range(300):
            taken += 1
            yield str(n)

    told, most_queued = 0, 0

    def look(store: MemoryStore, job_id: str) -> None:
        nonlocal most_queued
        most_queued = max(most_queued, store.queue().queued)
        assert taken - told <= 20
        store.finish(job_id)

    client = twins.client(api(worked(store, look)))
    for _ in client.map(prompts(), in_flight=20):
        told += 1
    assert told == 300
    assert 15 <= most_queued <= 20


def test_outcomes_come_as_jobs_end_or_in_order(twins: Twins, store: MemoryStore) -> None:
    """The first job ends last."""

    def others_first(store: MemoryStore, oldest: str) -> None:
        queued = store.page(JobStatus.QUEUED, 200, None).jobs
        for job in [job for job in queued if job.id != oldest] or queued:
            store.finish(job.id)

    client = twins.client(api(worked(store, others_first), max_wait_s=1))
    prompts = [str(n) for n in range(6)]
    assert texts(client.map(prompts)) == said(6)
    told = [outcome.index for outcome in client.map(prompts, ordered=False)]
    assert told == [1, 2, 3, 4, 5, 0]


def fail_some(store: MemoryStore, job_id: str) -> None:
    """Each of them that has a seed that is odd."""
    for job in store.page(JobStatus.QUEUED, 1_000, None).jobs:
        if job.id == job_id:
            store.fail(job.id, e.GenerationFailed("no luck"))
        else:
            store.finish(job.id)


def test_errors_are_raised_or_returned(twins: Twins, store: MemoryStore) -> None:
    client = twins.client(api(worked(store, fail_some)))
    prompts = [str(n) for n in range(6)]
    outcomes = list(client.map(prompts, return_errors=True))
    assert [outcome.index for outcome in outcomes] == [*range(6)]
    assert isinstance(outcomes[0].error, e.GenerationFailed)
    assert outcomes[0].result is None
    with pytest.raises(e.GenerationFailed, match="no luck"):
        _ = outcomes[0].text
    assert texts(outcomes[1:]) == said(6)[1:]
    with pytest.raises(e.GenerationFailed):
        list(client.map(prompts))


def test_prompts_that_are_refused_do_not_spoil_the_others(twins: Twins, store: MemoryStore) -> None:
    client = twins.client(api(worked(store, finish_all)))
    prompts = ["0", "bad\0", "2", "", "x" * 70_000, [], "6"]
    outcomes = list(client.map(prompts, return_errors=True))
    assert [type(outcome.error) for outcome in outcomes] == [
        *(type(None), e.InvalidParameters, type(None), type(None)),
        *(e.InvalidParameters, e.InvalidParameters, type(None)),
    ]
    error = outcomes[1].error
    assert [entry["pointer"] for entry in error.errors] == ["#/inputs"]
    assert "#/inputs must not contain NUL" in str(error)
    with pytest.raises(e.InvalidParameters, match="#/parameters/top_p"):
        list(client.map(prompts, top_p=2))


def test_a_prompt_that_is_no_json_is_an_error_of_its_own(twins: Twins, store: MemoryStore) -> None:
    client = twins.client(api(worked(store, finish_all)))
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    outcomes = list(client.map(["0", "\ud800", "2", deep, "4"], return_errors=True))
    wrong = [outcome.index for outcome in outcomes if isinstance(outcome.error, e.MalformedJson)]
    assert wrong == [1, 3]
    assert texts(outcomes[i] for i in (0, 2, 4)) == ["0 and on", "2 and on", "4 and on"]


def test_a_batch_that_is_too_large_is_sent_in_parts(twins: Twins, store: MemoryStore) -> None:
    transport = api(worked(store, finish_all), max_batch_body_bytes=1_024)
    client = twins.client(transport)
    prompts = ["x" * 150, "y" * 150, "z" * 2_000, "w" * 150] * 4
    outcomes = list(client.map(prompts, return_errors=True))
    wrong = [outcome.index for outcome in outcomes if outcome.error]
    assert wrong == [2, 6, 10, 14]
    assert isinstance(outcomes[2].error, e.PayloadTooLarge)


def test_jobs_that_vanish_are_errors(twins: Twins, store: MemoryStore) -> None:
    def forget(store: MemoryStore, _: str) -> None:
        for job in store.page(JobStatus.QUEUED, 200, None).jobs:
            store.cancel(job.id)
            store.delete(job.id)

    client = twins.client(api(worked(store, forget)))
    outcomes = list(client.map(["a", "b"], return_errors=True))
    assert [type(outcome.error) for outcome in outcomes] == [e.JobGone, e.JobGone]


def test_a_full_service_is_filled_slowly(
    twins: Twins, store: MemoryStore, pauses: list[float]
) -> None:
    """There is room for fewer jobs than a chunk has."""
    store.max_queued_jobs = 10
    assert texts(twins.client(api(store)).map(str(n) for n in range(100))) == said(100)


def test_a_service_that_others_fill_is_waited_for(
    twins: Twins, store: MemoryStore, pauses: list[float]
) -> None:
    full = answers(503, json=e.QueueFull().problem(), headers={"Retry-After": "3"})
    seen = Faulty(api(store), *[full] * 12)
    assert texts(twins.client(seen, retries=1).map(["0", "1"])) == said(2)
    assert len(seen.requests) > 12


def test_owners_of_small_shares_map_too(twins: Twins, store: MemoryStore) -> None:
    ring = MemoryRing()
    token = ring.create(ApiKey(id="one", name="one", limits=Limits(max_in_flight=3)))
    client = twins.client(api(store, ring), api_key=token)
    assert texts(client.map(str(n) for n in range(20))) == said(20)


def test_a_map_survives_what_a_request_survives(twins: Twins, store: MemoryStore) -> None:
    away = answers(503, json=e.StoreUnavailable().problem())
    seen = Faulty(api(worked(store, finish_all)), lost, refused, away, lost, None, lost, away, lost)
    client = twins.client(seen)
    assert texts(client.map([str(n) for n in range(50)], in_flight=40)) == said(50)
    assert len(list(client.jobs())) == 50


def states(store: MemoryStore) -> Counter[str]:
    return Counter(job.status.value for job in store.page(None, 1_000, None).jobs)


def test_who_stops_early_leaves_nothing_queued(twins: Twins, store: MemoryStore) -> None:
    outcomes = twins.client(api(store)).map((str(n) for n in range(10_000)), in_flight=40)
    assert next(outcomes).text == "0 and on"
    outcomes.close()
    found = states(store)
    assert found["queued"] == 0
    assert found["canceled"] >= 30
    assert found.total() <= 40


def test_a_scope_that_ends_a_map_leaves_nothing_queued(store: MemoryStore) -> None:
    """A canceled scope of anyio cancels every await in it, those that clean up too."""

    async def main() -> None:
        async with AsyncClient(transport=Threaded(api(store))) as client:
            with anyio.CancelScope() as scope:
                async with contextlib.aclosing(client.map(map(str, range(40)))) as outcomes:
                    await anext(outcomes)
                    scope.cancel()
                    await anyio.sleep(0)

    asyncio.run(main())
    assert states(store)["queued"] == 0
    assert states(store)["canceled"] > 0


def test_what_ends_a_map_cancels_what_is_left(twins: Twins, store: MemoryStore) -> None:
    def prompts() -> Iterator[str]:
        yield from map(str, range(15))
        raise RuntimeError("the file is torn")

    client = twins.client(api(store))
    with pytest.raises(RuntimeError, match="torn"):
        list(client.map(prompts(), in_flight=20))
    assert states(store)["queued"] == 0
    assert states(store)["canceled"] > 0


def test_a_batch_of_which_one_hears_nothing_is_canceled_too(store: MemoryStore) -> None:
    def interrupted(request: httpx.Request, proceed: Handler) -> httpx.Response:
        proceed(request)
        raise KeyboardInterrupt

    with Client(transport=Faulty(api(store), interrupted)) as client:
        with pytest.raises(KeyboardInterrupt):
            list(client.map(["a", "b"]))
        assert states(store) == {"canceled": 2}


def test_a_map_gives_up_when_the_service_stays_away(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store), None, *[refused] * 100)
    with pytest.raises(ConnectionFailed):
        list(twins.client(seen, retries=2).map(["a", "b", "c"]))
    assert len(seen.requests) == 1 + 3 + 1  # it tries to cancel once


def test_in_flight_is_checked_before_anything_else(twins: Twins, store: MemoryStore) -> None:
    with pytest.raises(ValueError, match="in_flight must be at least 1, not 0"):
        twins.client(api(store)).map([], in_flight=0)


@pytest.mark.parametrize("one", ["Once", b"Once", {"input_string": ["Once"]}])
def test_one_prompt_is_not_taken_for_many(twins: Twins, store: MemoryStore, one: Any) -> None:
    client = twins.client(api(store))
    for submit in (client.map, client.submit_many):
        with pytest.raises(TypeError, match="any number of prompts"):
            submit(one)
    assert states(store).total() == 0


def test_progress_is_shown_on_standard_error(
    twins: Twins, store: MemoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    client = twins.client(api(store))
    assert len(list(client.map(["a", "b"], progress=True))) == 2
    assert "2/2" in capsys.readouterr().err
    assert len(list(client.map(iter(["a", "b"]), progress=True))) == 2
    out, err = capsys.readouterr()
    assert "2" in err
    assert out == ""


def test_prompts_may_come_asynchronously(store: MemoryStore) -> None:
    async def prompts() -> AsyncIterator[str]:
        for n in range(30):
            await asyncio.sleep(0)
            yield str(n)

    async def main() -> list[str]:
        async with AsyncClient(transport=Threaded(api(store))) as client:
            return [outcome.text async for outcome in client.map(prompts(), in_flight=7)]

    assert asyncio.run(main()) == said(30)


def test_jobs_of_a_map_are_what_was_asked_for(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store))
    options = {"priority": "normal", "timeout_s": 5, "result_ttl_s": 60}
    list(twins.client(seen).map(["a"], top_k=3, **options))
    body = json.loads(seen.requests[0].content)
    assert body == {"jobs": [{"inputs": "a", "parameters": {"top_k": 3}, **options}]}


def test_whole_requests_are_mapped_as_prompts_are(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(worked(store, finish_all)))
    whole = {"inputs": "b", "parameters": {"top_k": 5}, "priority": "interactive"}
    outcomes = list(twins.client(seen).map(["a", whole, {"input_string": ["c"]}], top_k=3, seed=1))
    assert texts(outcomes) == ["a and on", "b and on", "c and on"]
    assert outcomes[1].prompt == whole
    assert json.loads(seen.requests[0].content)["jobs"] == [
        {"inputs": "a", "parameters": {"top_k": 3, "seed": 1}, "priority": "bulk"},
        {"inputs": "b", "parameters": {"top_k": 5, "seed": 1}, "priority": "interactive"},
        {
            "inputs": {"input_string": ["c"]},
            "parameters": {"top_k": 3, "seed": 1},
            "priority": "bulk",
        },
    ]
