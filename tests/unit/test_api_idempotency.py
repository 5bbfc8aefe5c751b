"""Idempotency-Key: a request that is sent twice is one submission."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from distilq import keys
from distilq.access import ApiKey, Limits
from distilq.errors import IdempotencyInFlight, PromptTooLong
from distilq.jobs import JobStatus
from distilq.once import Once
from distilq.testing import Clock, MemoryRing, MemoryStore
from tests.unit.api_client import make_client

JOB = {"inputs": "Once upon a time,"}
BODIES: dict[str, Any] = {"/v1/jobs": JOB, "/v1/jobs:batch": {"jobs": [JOB] * 3}, "/score": JOB}
ROUTES = sorted(BODIES)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store, max_wait_s=5)


def post(client: FlaskClient, path: str, key: str = "k", **other: Any) -> TestResponse:
    sent = {"Idempotency-Key": key, **other.pop("headers", {})}
    return client.post(path, json=other.pop("json", BODIES[path]), headers=sent, **other)


def replayed(response: TestResponse) -> bool:
    found = response.headers.get("Idempotency-Replayed")
    assert found in (None, "true")
    return found is not None


def kind(response: TestResponse) -> str:
    return str(response.get_json()["type"]).removeprefix("urn:distilq:problem:")


def jobs(store: MemoryStore) -> int:
    return len(store.page(None, 100, None).jobs)


def finish_once(store: MemoryStore) -> None:
    """A worker that finishes what is waited for."""

    def finish(job_id: str) -> None:
        if not store.get(job_id).status.final:
            store.finish(job_id)

    store.on_wait = finish


@pytest.mark.parametrize("path", ROUTES)
def test_the_same_request_with_the_same_key_is_one_submission(
    client: FlaskClient, store: MemoryStore, path: str
) -> None:
    finish_once(store)
    first = post(client, path)
    there_are = jobs(store)
    second = post(client, path)
    assert jobs(store) == there_are == (3 if path.endswith("batch") else 1)
    assert (replayed(first), replayed(second)) == (False, True)
    assert second.status_code == first.status_code
    assert second.get_json() == first.get_json()
    for header in ("Location", "X-Job-Id", "Preference-Applied"):
        assert second.headers.get(header) == first.headers.get(header)


@pytest.mark.parametrize("path", ROUTES)
def test_without_a_key_it_is_two(client: FlaskClient, store: MemoryStore, path: str) -> None:
    finish_once(store)
    answers = [client.post(path, json=BODIES[path]) for _ in range(2)]
    assert jobs(store) == (6 if path.endswith("batch") else 2)
    assert not any(replayed(answer) for answer in answers)


def test_the_answer_tells_how_the_job_stands_now(client: FlaskClient, store: MemoryStore) -> None:
    first = post(client, "/v1/jobs")
    store.start(first.get_json()["id"])
    second = post(client, "/v1/jobs")
    assert (second.status_code, second.get_json()["status"]) == (202, "running")
    assert second.headers["Location"] == first.headers["Location"]
    finish_once(store)
    third = post(client, "/v1/jobs", headers={"Prefer": "wait=1"})
    assert (third.status_code, third.get_json()["status"]) == (200, "succeeded")
    assert third.headers["Preference-Applied"] == "wait=1"
    assert post(client, "/v1/jobs").status_code == 200


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", [b'{"inputs": "b"}', b'{"inputs": }'])
def test_another_body_is_refused_and_submits_nothing(
    client: FlaskClient, store: MemoryStore, path: str, body: bytes
) -> None:
    finish_once(store)
    post(client, path)
    there_are = jobs(store)
    sent = {"Idempotency-Key": "k"}
    response = client.post(path, data=body, headers=sent, content_type="application/json")
    assert response.status_code in (400, 422)
    if body.endswith(b'"b"}'):
        assert kind(response) == "idempotency_key_reused"
    assert not replayed(response)
    assert jobs(store) == there_are
    assert replayed(post(client, path))


def test_bodies_are_compared_byte_by_byte(client: FlaskClient) -> None:
    sent = {"Idempotency-Key": "k"}
    bodies = (b'{"inputs": "a"}', b'{"inputs":"a"}')
    first, second = (
        client.post("/v1/jobs", data=body, headers=sent, content_type="application/json")
        for body in bodies
    )
    assert (first.status_code, second.status_code) == (202, 422)
    assert kind(second) == "idempotency_key_reused"


def test_a_key_belongs_to_its_route(client: FlaskClient, store: MemoryStore) -> None:
    finish_once(store)
    assert not any(replayed(post(client, path)) for path in ROUTES)
    assert jobs(store) == 5


def test_a_key_belongs_to_who_sends_it(store: MemoryStore) -> None:
    ring = MemoryRing()
    client = make_client(store, ring)
    tokens = [ring.create(ApiKey(name=name)) for name in ("Anna", "Ben")]
    ids = [
        post(client, "/v1/jobs", headers={"Authorization": f"Bearer {token}"}).get_json()["id"]
        for token in (*tokens, *tokens)
    ]
    assert ids[0] == ids[2] != ids[1] == ids[3]


def test_with_and_without_quotes_it_is_the_same_key(client: FlaskClient) -> None:
    first = post(client, "/v1/jobs", "8e03978e-40d5-43e8-bc93-6894a57f9324")
    second = post(client, "/v1/jobs", '"8e03978e-40d5-43e8-bc93-6894a57f9324"')
    assert replayed(second)
    assert second.get_json()["id"] == first.get_json()["id"]


@pytest.mark.parametrize(
    "key",
    [
        *("a", "a" * 255, "stainless-python-retry-1", "a/b:c+d==", "*", "'", '"a b, c; d"'),
        *(f'"{"a" * 255}"', r'"\"\\"', '"' + r"\\" * 255 + '"', "ab=?{}|~@[]"),
    ],
)
def test_what_is_a_key(client: FlaskClient, key: str) -> None:
    assert [replayed(post(client, "/v1/jobs", key)) for _ in range(2)] == [False, True]


@pytest.mark.parametrize(
    "key",
    [
        *("", '""', "a" * 256, f'"{"a" * 256}"', '"a', 'a"', '"a"b"', r'"\a"', "a b", "a,b"),
        *('"a", "b"', '"a","b"', '"a";b=1', "a;b", "\\", "é", '"é"', '"a\tb"', "?1;x", "\x7f"),
    ],
)
@pytest.mark.parametrize("path", ROUTES)
def test_what_is_none_is_refused(
    client: FlaskClient, store: MemoryStore, path: str, key: str
) -> None:
    response = post(client, path, key)
    assert (response.status_code, kind(response)) == (400, "invalid_idempotency_key")
    (error,) = response.get_json()["errors"]
    assert error["header"] == "Idempotency-Key"
    assert "255" in error["detail"]
    assert jobs(store) == 0


@pytest.mark.parametrize("path", ROUTES)
def test_what_was_refused_is_tried_again(store: MemoryStore, path: str) -> None:
    client = make_client(store, max_wait_s=1)
    finish_once(store)
    assert post(client, path, json={"inputs": 1}).status_code == 422
    store.max_queued_jobs = 0
    assert kind(post(client, path)) == "queue_full"
    store.down = True
    assert kind(post(client, path)) == "store_unavailable"
    store.down, store.max_queued_jobs = False, 100
    response = post(client, path)
    assert response.status_code in (200, 202)
    assert not replayed(response)
    store.max_queued_jobs = 0
    assert replayed(post(client, path))  # a full queue has room for what is in it


def test_only_the_first_is_taken_from_the_rate(store: MemoryStore) -> None:
    ring = MemoryRing()
    token = ring.create(ApiKey(name="a", limits=Limits(rate_per_minute=4)))
    client = make_client(store, ring, max_wait_s=1)
    sent = {"Authorization": f"Bearer {token}"}
    assert [post(client, "/v1/jobs:batch", headers=sent).status_code for _ in range(3)] == [202] * 3
    assert list(ring.spent.values()) == [3]
    assert post(client, "/v1/jobs", headers=sent).status_code == 202
    assert post(client, "/v1/jobs", "other", headers=sent).status_code == 429
    again = post(client, "/v1/jobs", headers=sent)
    assert replayed(again)
    assert "RateLimit" not in again.headers
    ring.spent.clear()
    assert not replayed(post(client, "/v1/jobs", "other", headers=sent))


def test_a_key_is_known_for_a_day(client: FlaskClient, store: MemoryStore, clock: Clock) -> None:
    first = post(client, "/v1/jobs")
    assert client.get("/v1/info").get_json()["limits"]["idempotency_key_s"] == keys.ONCE_S
    clock.advance(keys.ONCE_S - 1)
    assert replayed(post(client, "/v1/jobs"))
    clock.advance(1)
    second = post(client, "/v1/jobs")
    assert not replayed(second)
    assert second.get_json()["id"] != first.get_json()["id"]


def test_a_result_that_has_expired_is_not_made_again(
    client: FlaskClient, store: MemoryStore, clock: Clock
) -> None:
    body = {**JOB, "result_ttl_s": 5}
    store.finish(post(client, "/v1/jobs", json=body).get_json()["id"])
    clock.advance(5)
    response = post(client, "/v1/jobs", json=body)
    assert (response.status_code, kind(response)) == (410, "job_gone")
    assert response.get_json()["expired_at"]
    assert replayed(response)


def test_a_text_that_was_deleted_is_not_made_again(client: FlaskClient, store: MemoryStore) -> None:
    finish_once(store)
    store.delete(post(client, "/score").headers["X-Job-Id"])
    response = post(client, "/score")
    assert (response.status_code, kind(response)) == (410, "job_gone")


def test_a_batch_gives_its_ids_whatever_has_become_of_its_jobs(
    client: FlaskClient, store: MemoryStore
) -> None:
    first = post(client, "/v1/jobs:batch")
    gone, *_ = (each["id"] for each in first.get_json()["jobs"])
    store.finish(gone)
    store.delete(gone)
    assert post(client, "/v1/jobs:batch").get_json() == first.get_json()


def test_a_job_that_failed_is_the_answer_again(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = lambda job_id: store.fail(job_id, PromptTooLong("too long"))
    first = post(client, "/score")
    finish_once(store)
    second = post(client, "/score")
    assert first.status_code == second.status_code == 422
    assert kind(first) == kind(second) == "prompt_too_long"
    assert (replayed(first), replayed(second)) == (False, True)
    assert first.headers["X-Job-Id"] == second.headers["X-Job-Id"]


def test_who_comes_while_it_runs_waits_for_the_same_job(
    client: FlaskClient, store: MemoryStore
) -> None:
    waits: list[str] = []
    both_wait = threading.Event()

    def come(job_id: str) -> None:
        waits.append(job_id)
        if len(waits) == 2:
            both_wait.set()

    store.on_wait = come
    with ThreadPoolExecutor(2) as pool:
        coming = [pool.submit(post, client, "/score") for _ in range(2)]
        assert both_wait.wait(10)
        store.finish(waits[0])
        first, second = (each.result() for each in coming)
    assert waits[0] == waits[1]
    assert first.get_json() == second.get_json()
    assert sorted([replayed(first), replayed(second)]) == [False, True]


def test_a_wait_that_is_over_leaves_the_job_for_the_next(store: MemoryStore) -> None:
    client = make_client(store, max_wait_s=9)
    first = post(client, "/score", headers={"Prefer": "wait=1"})
    assert (first.status_code, kind(first)) == (504, "not_finished_in_time")
    (job,) = store.page(None, 10, None).jobs
    assert job.status is JobStatus.QUEUED
    assert store._records[job.id].request.timeout_s == 9  # not the second that was waited
    finish_once(store)
    second = post(client, "/score")
    assert (second.status_code, replayed(second)) == (200, True)
    assert second.headers["X-Job-Id"] == first.headers["X-Job-Id"] == job.id


def test_who_hangs_up_and_comes_again_gets_the_text(
    client: FlaskClient, store: MemoryStore
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        store.on_wait = lambda job_id: theirs.close()
        post(client, "/score", environ_overrides={"gunicorn.socket": ours})
    (job,) = store.page(None, 10, None).jobs
    assert job.status is JobStatus.QUEUED
    finish_once(store)
    second = post(client, "/score")
    assert (second.status_code, replayed(second)) == (200, True)
    assert second.headers["X-Job-Id"] == job.id


class BusyStore(MemoryStore):
    """A batch with the same key is being written, for ever."""

    def recall(self, once: Once) -> list[str] | None:
        raise IdempotencyInFlight("its jobs are not queued yet")


def test_while_a_batch_is_written_the_same_one_is_told_to_come_back() -> None:
    response = post(make_client(BusyStore()), "/v1/jobs:batch")
    assert (response.status_code, kind(response)) == (409, "idempotency_in_flight")
    assert response.get_json()["retryable"] is True
    assert response.headers["Retry-After"] == "1"


def test_other_routes_do_not_look_at_it(client: FlaskClient) -> None:
    for method, path in (("POST", "/v1/jobs:status"), ("GET", "/v1/jobs")):
        body: Any = {"ids": []} if method == "POST" else None
        sent = {"Idempotency-Key": ""}
        assert client.open(path, method=method, json=body, headers=sent).status_code == 200
