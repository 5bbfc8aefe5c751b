"""/v1/jobs/{id}: following, fetching, canceling, forgetting one job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient

from distilq.errors import PromptTooLong
from distilq.keys import TOMBSTONE_S
from distilq.testing import Clock, MemoryStore
from tests.unit.api_client import make_client

UNKNOWN = "/v1/jobs/" + "0" * 32


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store)


def submit(client: FlaskClient, **fields: object) -> str:
    job_id: str = client.post("/v1/jobs", json={"inputs": "Once", **fields}).get_json()["id"]
    return job_id


def test_a_job_is_followed_from_queued_to_succeeded(
    client: FlaskClient, store: MemoryStore, clock: Clock
) -> None:
    job_id = submit(client)
    queued = client.get(f"/v1/jobs/{job_id}")
    assert queued.get_json()["status"] == "queued"
    assert "Retry-After" in queued.headers
    clock.advance(1)
    store.start(job_id)
    running = client.get(f"/v1/jobs/{job_id}").get_json()
    assert (running["status"], running["attempt"]) == ("running", 1)
    clock.advance(1)
    store.finish(job_id)
    done = client.get(f"/v1/jobs/{job_id}")
    assert done.get_json()["status"] == "succeeded"
    assert "Retry-After" not in done.headers
    times = [done.get_json()[f"{what}_at"] for what in ("created", "started", "completed")]
    assert times == sorted(set(times))


def test_an_unknown_id_is_404(client: FlaskClient) -> None:
    assert client.get(UNKNOWN).get_json()["type"] == "urn:distilq:problem:job_not_found"
    assert client.get(f"{UNKNOWN}/result").status_code == 404
    assert client.post(f"{UNKNOWN}/cancel").status_code == 404
    assert client.delete(UNKNOWN).status_code == 404


@pytest.mark.parametrize(
    "job_id", ["x", "0" * 31, "0" * 33, "A" * 32, "\u0660" * 32, "0" * 31 + "\n"]
)
def test_what_cannot_be_an_id_is_404_whatever_the_method(client: FlaskClient, job_id: str) -> None:
    for response in (
        client.get(f"/v1/jobs/{job_id}"),
        client.get(f"/v1/jobs/{job_id}/result"),
        client.post(f"/v1/jobs/{job_id}/cancel"),
        client.delete(f"/v1/jobs/{job_id}"),
    ):
        assert response.status_code == 404
        assert response.mimetype == "application/problem+json"


def test_an_expired_text_is_410_for_a_day_then_404(
    client: FlaskClient, store: MemoryStore, clock: Clock
) -> None:
    job_id = submit(client, result_ttl_s=60)
    store.finish(job_id)
    clock.advance(60)
    gone = client.get(f"/v1/jobs/{job_id}")
    assert gone.status_code == 410
    assert "expired_at" in gone.get_json()
    assert client.get(f"/v1/jobs/{job_id}/result").status_code == 410
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 410
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 410
    clock.advance(TOMBSTONE_S)
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404


def test_an_unchanged_job_answers_304_until_it_changes(
    client: FlaskClient, store: MemoryStore
) -> None:
    job_id = submit(client)
    etag = client.get(f"/v1/jobs/{job_id}").headers["ETag"]
    same = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
    assert (same.status_code, same.data) == (304, b"")
    assert same.headers["ETag"] == etag
    assert "Retry-After" in same.headers
    store.start(job_id)
    changed = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag


def test_a_long_poll_answers_when_the_job_is_done(client: FlaskClient, store: MemoryStore) -> None:
    job_id = submit(client)
    with ThreadPoolExecutor() as threads:
        store.on_wait = lambda _: threads.submit(store.finish, job_id)
        response = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
    assert response.get_json()["status"] == "succeeded"
    assert response.headers["Preference-Applied"] == "wait=30"


def test_a_long_poll_of_a_finished_job_does_not_wait(
    client: FlaskClient, store: MemoryStore
) -> None:
    job_id = submit(client)
    store.finish(job_id)
    response = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
    assert response.get_json()["status"] == "succeeded"


def test_who_has_waited_makes_room_for_the_next(store: MemoryStore) -> None:
    client = make_client(store, api_threads=1)
    job_id = submit(client)
    store.finish(job_id)
    for _ in range(2):
        response = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=1"})
        assert response.headers["Preference-Applied"] == "wait=1"


def test_when_too_many_wait_a_poll_is_answered_without_waiting(store: MemoryStore) -> None:
    client = make_client(store, api_threads=1)
    job_id, other_id = submit(client), submit(client)
    inner = []

    def poll_another(_: str) -> None:
        poll = client.application.test_client().get
        inner.append(poll(f"/v1/jobs/{other_id}", headers={"Prefer": "wait=60"}))
        store.finish(job_id)

    store.on_wait = poll_another
    outer = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
    assert outer.headers["Preference-Applied"] == "wait=60"
    assert inner[0].get_json()["status"] == "queued"
    assert "Preference-Applied" not in inner[0].headers


def test_the_result_is_the_bare_texts(client: FlaskClient, store: MemoryStore) -> None:
    job_id = submit(client, inputs=["a", "b"], parameters={"num_return_sequences": 2})
    store.finish(job_id)
    response = client.get(f"/v1/jobs/{job_id}/result")
    assert response.get_json() == [
        [{"generated_text": "a and on"}] * 2,
        [{"generated_text": "b and on"}] * 2,
    ]
    assert response.headers["X-Job-Id"] == job_id


def test_there_is_no_result_before_the_end(client: FlaskClient, store: MemoryStore) -> None:
    job_id = submit(client)
    store.start(job_id)
    response = client.get(f"/v1/jobs/{job_id}/result")
    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:distilq:problem:job_not_finished"
    assert response.get_json()["job_status"] == "running"
    assert "Retry-After" in response.headers


def test_the_result_of_a_failed_job_is_its_error(client: FlaskClient, store: MemoryStore) -> None:
    job_id = submit(client)
    store.fail(job_id, PromptTooLong("1100 tokens, 1024 positions", tokens=1100))
    response = client.get(f"/v1/jobs/{job_id}/result")
    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:distilq:problem:job_not_succeeded"
    assert response.get_json()["job_status"] == "failed"
    assert response.get_json()["error"]["tokens"] == 1100


def test_a_queued_job_is_canceled_at_once_and_again(client: FlaskClient) -> None:
    job_id = submit(client)
    for _ in range(2):
        response = client.post(f"/v1/jobs/{job_id}/cancel")
        assert response.status_code == 200
        assert response.get_json()["status"] == "canceled"
    assert client.get(f"/v1/jobs/{job_id}/result").get_json()["job_status"] == "canceled"


def test_a_running_job_is_canceling_until_its_worker_stops(
    client: FlaskClient, store: MemoryStore
) -> None:
    job_id = submit(client)
    store.start(job_id)
    for _ in range(2):
        response = client.post(f"/v1/jobs/{job_id}/cancel")
        assert response.status_code == 202
        assert response.get_json()["status"] == "canceling"
    store.stop(job_id)
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 200


def test_canceling_a_finished_job_says_how_it_ended(
    client: FlaskClient, store: MemoryStore
) -> None:
    job_id = submit(client)
    store.finish(job_id)
    response = client.post(f"/v1/jobs/{job_id}/cancel")
    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:distilq:problem:job_already_finished"
    assert response.get_json()["job_status"] == "succeeded"


def test_a_finished_job_is_forgotten_and_stays_gone(
    client: FlaskClient, store: MemoryStore
) -> None:
    job_id = submit(client)
    store.finish(job_id)
    response = client.delete(f"/v1/jobs/{job_id}")
    assert (response.status_code, response.data) == (204, b"")
    assert client.get(f"/v1/jobs/{job_id}").status_code == 410
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 410


def test_a_live_job_is_not_forgotten(client: FlaskClient) -> None:
    job_id = submit(client)
    response = client.delete(f"/v1/jobs/{job_id}")
    assert response.status_code == 409
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200
