"""The clients where connections break and the service is away or full."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import anyio
import httpx
import pytest

from api import sse
from distilq import errors as e
from distilq.client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    NoAnswerInTime,
    TokenEvent,
    UnexpectedAnswer,
    WaitTimedOut,
)
from distilq.client.retries import Backoff
from distilq.events import Token
from distilq.jobs import JobStatus
from distilq.testing import MemoryStore
from tests.unit.client_twins import (
    Fault,
    Faulty,
    Handler,
    Threaded,
    Twins,
    answers,
    api,
    lost,
    no_pauses,
    refused,
    silent,
    worked,
)

UNAVAILABLE = e.StoreUnavailable().problem()


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


@pytest.mark.parametrize(
    "fault",
    [
        refused,
        lost,
        silent,
        answers(408),
        answers(429),
        answers(500, text="<html>"),
        answers(502, text="<html>"),
        answers(503, json=UNAVAILABLE),
        answers(504),
        answers(409, json=e.IdempotencyInFlight().problem()),
    ],
)
def test_whatever_happens_to_a_submission_it_makes_one_job(
    twins: Twins, store: MemoryStore, fault: Fault, pauses: list[float]
) -> None:
    seen = Faulty(api(store), fault, fault)
    handle = twins.client(seen).submit("Once")
    assert len(pauses) == 2
    assert len({request.headers["idempotency-key"] for request in seen.requests}) == 1
    assert [job.id for job in twins.client(api(store)).jobs()] == [handle.id]


def test_a_batch_whose_answer_is_lost_is_not_submitted_twice(
    twins: Twins, store: MemoryStore
) -> None:
    client = twins.client(Faulty(api(store), lost, silent))
    handles = client.submit_many(["a", "b"])
    assert [job.id for job in client.jobs()] == [handle.id for handle in reversed(handles)]


def test_every_submission_has_a_key_of_its_own(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store))
    client = twins.client(seen)
    client.submit("Once")
    client.submit("Once")
    client.generate("Once")
    assert len({request.headers["idempotency-key"] for request in seen.requests}) == 3


@pytest.mark.parametrize(
    "fault",
    [
        answers(500, json=e.DistilqError().problem()),
        answers(400),
        answers(404, text="nothing here"),
        answers(409, json=e.JobAlreadyFinished().problem()),
        answers(301, headers={"Location": "https://elsewhere"}),
        answers(200, text="<html>a hotel's login page</html>"),
        answers(503, json=UNAVAILABLE, headers={"Retry-After": "121"}),
    ],
)
def test_what_would_fail_again_is_not_tried_again(
    twins: Twins, store: MemoryStore, fault: Fault, pauses: list[float]
) -> None:
    with pytest.raises(e.DistilqError):
        twins.client(Faulty(api(store), fault)).submit("Once")
    assert pauses == []


def test_retries_end(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store), *[refused] * 3, *[lost] * 4)
    with pytest.raises(
        ConnectionFailed, match=r"cannot be reached: http://127\.0\.0\.1:8000: Conn"
    ):
        twins.client(seen, retries=2).info()
    assert len(seen.requests) == 3
    with pytest.raises(ConnectionFailed) as caught:
        twins.client(seen, retries=0).info()
    assert len(seen.requests) == 4
    assert caught.value.request_id is None


def test_an_address_is_shown_without_its_password(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store), silent)
    client = twins.client(seen, base_url="http://me:hush@host:81/at", retries=0)
    with pytest.raises(NoAnswerInTime, match="http://host:81: ") as caught:
        client.info()
    assert "hush" not in str(caught.value)


def test_retry_after_is_obeyed(twins: Twins, store: MemoryStore, pauses: list[float]) -> None:
    full = answers(503, json=e.QueueFull().problem(), headers={"Retry-After": "7"})
    twins.client(Faulty(api(store), full)).submit("Once")
    assert 7 <= pauses[0] <= 7.5


def test_a_date_in_retry_after_is_obeyed_too(
    twins: Twins, store: MemoryStore, pauses: list[float]
) -> None:
    """Proxies send dates as well."""
    at = datetime.now(timezone.utc) + timedelta(seconds=60)
    fault = answers(503, headers={"Retry-After": format_datetime(at, usegmt=True)})
    twins.client(Faulty(api(store), fault)).submit("Once")
    assert 50 < pauses[0] <= 60.5


def test_pauses_grow_to_eight_seconds() -> None:
    bounds = [max(Backoff(9, failures).pause_s() for _ in range(2000)) for failures in range(7)]
    for found, bound in zip(bounds, [0.5, 1, 2, 4, 8, 8, 8], strict=True):
        assert 0.9 * bound < found <= bound


def test_what_a_proxy_says_is_shown(twins: Twins, store: MemoryStore) -> None:
    fault = answers(502, html="<h1>Bad gateway</h1>", headers={"X-Request-Id": "r1"})
    with pytest.raises(e.Unavailable, match=r"502 Bad Gateway.*<h1>Bad gateway</h1>") as caught:
        twins.client(Faulty(api(store), fault), retries=0).info()
    assert (caught.value.status, caught.value.request_id) == (502, "r1")
    fault = answers(301, headers={"Location": "https://elsewhere"})
    with pytest.raises(UnexpectedAnswer, match="https://elsewhere"):
        twins.client(Faulty(api(store), fault), retries=0).info()
    with pytest.raises(UnexpectedAnswer, match="no Info: text/plain"):
        twins.client(Faulty(api(store), answers(200, text="[")), retries=0).info()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(418, e.RequestError), (429, e.Unavailable), (503, e.Unavailable), (500, e.DistilqError)],
)
def test_a_problem_of_an_unknown_type_is_of_a_class_after_its_status(
    twins: Twins, store: MemoryStore, status: int, kind: type[e.DistilqError]
) -> None:
    problem = {"type": "urn:distilq:problem:new", "title": "Something new", "status": status}
    fault = answers(status, json=problem | {"retryable": False, "why": [1]})
    with pytest.raises(kind, match="Something new") as caught:
        twins.client(Faulty(api(store), fault)).info()
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.status) == ("new", status)
    assert caught.value.members == {"why": [1]}


@pytest.mark.parametrize(
    "members",
    [
        {"retry_after_s": "3"},
        {"retry_after_s": -5},
        {"retry_after_s": [1]},
        {"errors": 5},
        {"errors": {"field": ["is wrong"]}},
    ],
)
def test_problems_of_others_are_no_reason_to_fail_in_another_way(
    twins: Twins, store: MemoryStore, members: dict[str, Any], pauses: list[float]
) -> None:
    fault = answers(503, json={"type": "about:blank", "status": 503, **members})
    assert twins.client(Faulty(api(store), fault)).info().version
    with pytest.raises(e.Unavailable) as caught:
        twins.client(Faulty(api(store), fault), retries=0).info()
    assert (caught.value.errors, caught.value.retry_after_s) == ([], None)


def test_a_poll_is_given_more_time_than_it_waits(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store))
    client = twins.client(seen, timeout=3)
    client.submit("Once").wait()
    client.info()
    assert [r.extensions["timeout"]["read"] for r in seen.requests] == [3, 33, 3]
    client.submit("Once").wait(timeout=20)
    assert 15 < seen.requests[-1].extensions["timeout"]["read"] <= 20


def test_a_server_at_its_limit_of_waiting_requests_is_polled(
    twins: Twins, store: MemoryStore, pauses: list[float]
) -> None:
    """It answers at once; the client pauses all the same."""
    looks: list[str] = []

    def full(request: httpx.Request) -> httpx.Response:
        request.headers.pop("Prefer", None)
        looks.append(request.url.path)
        if len(looks) == 5:
            store.finish(looks[-1].rsplit("/", 1)[1])
        return api(store).handle_request(request)

    store.on_wait = lambda job_id: None
    assert twins.client(httpx.MockTransport(full)).generate("Once").text == "Once and on"
    assert len(looks) == 5
    assert len(pauses) == 4


def test_a_service_that_is_away_while_one_waits(twins: Twins, store: MemoryStore) -> None:
    away = answers(503, json=UNAVAILABLE)
    seen = Faulty(api(store), None, refused, away, lost)
    assert twins.client(seen).submit("Once").result(timeout=1000).text == "Once and on"
    seen = Faulty(api(store), None, *[refused] * 500)
    client = twins.client(seen, retries=50)
    with pytest.raises(WaitTimedOut) as caught:
        client.submit("Once").result(timeout=0.01)
    assert isinstance(caught.value.__cause__, ConnectionFailed)


def tokens(*texts: str) -> list[Token]:
    return [Token(0, 0, n, 65 + n, text) for n, text in enumerate(texts)]


def cut(after: bytes) -> Fault:
    """The answer breaks off behind the first `after`."""

    def fault(request: httpx.Request, proceed: Handler) -> httpx.Response:
        response = proceed(request)

        def pieces() -> Iterator[bytes]:
            known = b""
            for piece in response.iter_raw():
                known += piece
                at = known.find(after)
                if at >= 0:
                    yield known[: at + len(after)]
                    break
            raise httpx.ReadError("Connection reset by peer")

        return httpx.Response(response.status_code, headers=response.headers, content=pieces())

    return fault


def texts(events: list[Any]) -> list[str]:
    return [event.text for event in events if isinstance(event, TokenEvent)]


def test_a_stream_goes_on_where_it_was_cut(twins: Twins, store: MemoryStore) -> None:
    faults = [None, cut(b'"text": "a"}'), cut(b'"text": "b"}\n\n'), refused, cut(b"id: end\n")]
    seen = Faulty(api(store), *faults)
    client = twins.client(seen)
    handle = client.submit("Once", stream=True)
    store.start(handle.id)
    store.emit(handle.id, tokens("a", "b", "世"))
    events = list(handle.stream())
    assert events[-1].type == "done"
    assert texts(events) == ["a", "b", "世"]
    assert events[-1].result.text == "Once and on"
    known = [r.headers.get("last-event-id") for r in seen.requests if r.url.path.endswith("events")]
    assert known == [None, None, "1-2", "1-2", "1-3"]


def test_a_restart_is_told(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store), None, cut(b'"text": "b"}\n\n'))
    handle = twins.client(seen).submit("Once", stream=True)
    store.start(handle.id)
    store.emit(handle.id, tokens("a", "b"))
    events = handle.stream()
    found = [next(events) for _ in range(3)]
    store.start(handle.id)  # another worker
    found += events
    restarts = [n for n, event in enumerate(found) if event.type == "status" and event.restarted]
    assert len(restarts) == 1
    assert texts(found[: restarts[0]]) == texts(found[restarts[0] :]) == ["a", "b"]


def test_a_stream_without_anything_new_is_given_up(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store), None, *[cut(b"\n\n")] * 9)
    handle = twins.client(seen, retries=3).submit("Once", stream=True)
    events = handle.stream()
    assert next(events).status is JobStatus.QUEUED
    with pytest.raises(ConnectionFailed):
        next(events)
    assert len(seen.requests) == 1 + 4


def test_a_long_silence_is_no_reason_to_give_up(
    twins: Twins, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr("distilq.testing.GIVE_UP_S", 0.001)
    seen = Faulty(api(store), None, *[cut(b": ping\n\n")] * 5)
    handle = twins.client(seen, retries=1).submit("Once")
    connections: list[str] = []

    def work(job_id: str) -> None:
        connections.append(job_id)
        if len(connections) == 6:
            store.finish(job_id)

    store.on_wait = work
    assert [event.type for event in handle.stream()] == ["status", "done"]
    assert len(connections) == 6


def test_a_stream_waits_until_there_is_room_for_it(
    twins: Twins, store: MemoryStore, pauses: list[float]
) -> None:
    full = answers(503, json=e.TooManyWaiting().problem(), headers={"Retry-After": "1"})
    handle = twins.client(Faulty(api(store), None, full, full)).submit("Once")
    assert [event.type for event in handle.stream()] == ["status", "done"]
    assert len(pauses) == 2


def test_a_stream_of_a_job_that_is_gone_ends_at_once(twins: Twins, store: MemoryStore) -> None:
    def forget(store: MemoryStore, job_id: str) -> None:
        store.cancel(job_id)
        store.delete(job_id)

    handle = twins.client(api(worked(store, forget))).submit("Once")
    for _ in range(2):  # it goes while it is followed; it is gone before
        with pytest.raises(e.JobGone):
            list(handle.stream())


def test_who_closes_a_stream_closes_its_connection(twins: Twins, store: MemoryStore) -> None:
    store.on_wait = lambda job_id: None
    handle = twins.client(api(store, api_threads=4)).submit("Once")  # three of them may wait
    for _ in range(8):
        events = handle.stream()
        next(events)
        events.close()
    assert handle.status().status is JobStatus.QUEUED


def interrupted(request: httpx.Request, proceed: Handler) -> httpx.Response:
    proceed(request)
    raise KeyboardInterrupt


@pytest.mark.parametrize("faults", [[interrupted], [lost, interrupted], [None, interrupted]])
def test_generate_interrupted_cancels_its_job(
    store: MemoryStore, faults: list[Fault | None]
) -> None:
    store.on_wait = lambda job_id: None
    with Client(transport=Faulty(api(store, max_wait_s=1), *faults)) as client:
        with pytest.raises(KeyboardInterrupt):
            client.generate("Once")
        assert [job.status for job in client.jobs()] == [JobStatus.CANCELED]


def test_generate_without_an_answer_cancels_its_job(twins: Twins, store: MemoryStore) -> None:
    """Nobody knows its id."""
    store.on_wait = lambda job_id: None
    client = twins.client(Faulty(api(store, max_wait_s=1), silent), retries=0)
    with pytest.raises(NoAnswerInTime):
        client.generate("Once", timeout=30)
    assert [job.status for job in client.jobs()] == [JobStatus.CANCELED]


def cancel(task: asyncio.Task[Any], scope: anyio.CancelScope) -> None:
    task.cancel()


def cancel_scope(task: asyncio.Task[Any], scope: anyio.CancelScope) -> None:
    scope.cancel()


@pytest.mark.parametrize("how", [cancel, cancel_scope])
def test_generate_canceled_cancels_its_job(store: MemoryStore, how: Any) -> None:
    async def main() -> list[JobStatus]:
        async with AsyncClient(transport=Threaded(api(store, max_wait_s=1))) as client:
            waiting = asyncio.Event()
            loop = asyncio.get_running_loop()
            store.on_wait = lambda job_id: loop.call_soon_threadsafe(waiting.set)
            scope = anyio.CancelScope()

            async def generate() -> None:
                with scope:
                    await client.generate("Once")

            task = asyncio.create_task(generate())
            await waiting.wait()
            how(task, scope)
            with contextlib.suppress(asyncio.CancelledError):
                await task
            return [job.status async for job in client.jobs()]

    assert asyncio.run(main()) == [JobStatus.CANCELED]
