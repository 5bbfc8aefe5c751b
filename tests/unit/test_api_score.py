"""POST /score: the model card's contract."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from api.hangup import client_is_gone
from distilq.errors import DistilqError, GenerationFailed, PromptTooLong, TimedOut
from distilq.jobs import JobStatus, Priority
from distilq.testing import MemoryStore
from tests.unit.api_client import CARD_REQUEST, make_client


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store, max_wait_s=1)


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end and the client's end of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def only_job(store: MemoryStore) -> tuple[str, JobStatus]:
    (job,) = store.page(None, 10, None).jobs
    return job.id, job.status


def test_the_model_cards_request_gets_the_model_cards_answer(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.on_wait = store.finish
    response = client.post("/score", json=CARD_REQUEST)
    assert response.status_code == 200
    assert response.get_json() == [
        [{"generated_text": "My name is John and I am and on"}] * 2,
        [{"generated_text": "Once upon a time, and on"}] * 2,
    ]


def test_the_answer_can_be_fetched_again_by_the_job_in_its_header(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.on_wait = store.finish
    response = client.post("/score", json={"inputs": "a"})
    again = client.get(f"/v1/jobs/{response.headers['X-Job-Id']}/result")
    assert again.get_json() == response.get_json()


def test_it_is_submitted_as_interactive(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = store.finish
    client.post("/score", json={"inputs": "a"})
    (job,) = store.page(None, 10, None).jobs
    assert job.queue.priority is Priority.INTERACTIVE


def test_fields_of_a_job_are_unknown_here(client: FlaskClient) -> None:
    response = client.post("/score", json={"inputs": "a", "priority": "bulk"})
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == "#/priority"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PromptTooLong("1100 tokens, 1024 positions", tokens=1100, positions=1024), 422),
        (TimedOut("1 s"), 504),
        (GenerationFailed("broken"), 500),
    ],
    ids=["prompt too long", "timed out", "generation failed"],
)
def test_a_failed_job_answers_as_its_problem_says(
    client: FlaskClient, store: MemoryStore, error: DistilqError, status: int
) -> None:
    store.on_wait = lambda job_id: store.fail(job_id, error)
    response = client.post("/score", json={"inputs": "a"})
    problem = response.get_json()
    assert response.status_code == problem["status"] == status
    assert problem["type"] == error.problem()["type"]
    assert problem["detail"] == error.detail
    assert problem["job_id"] == response.headers["X-Job-Id"] == only_job(store)[0]


def test_a_job_canceled_by_someone_else_is_409(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = store.cancel
    response = client.post("/score", json={"inputs": "a"})
    assert response.status_code == 409
    assert response.get_json()["type"] == "urn:distilq:problem:canceled"


def test_a_job_that_takes_longer_than_the_wait_is_canceled(
    client: FlaskClient, store: MemoryStore
) -> None:
    response = client.post("/score", json={"inputs": "a"}, headers={"Prefer": "wait=1"})
    problem = response.get_json()
    assert response.status_code == 504
    assert problem["type"] == "urn:distilq:problem:not_finished_in_time"
    assert (problem["job_id"], JobStatus.CANCELED) == only_job(store)
    assert response.headers["X-Job-Id"] == problem["job_id"]


def test_redis_lost_during_the_wait_leaves_the_job_to_be_fetched_later(
    client: FlaskClient, store: MemoryStore
) -> None:
    def go_away(_: str) -> None:
        store.down = True

    store.on_wait = go_away
    response = client.post("/score", json={"inputs": "a"})
    assert response.status_code == 503
    store.down = False
    assert response.headers["X-Job-Id"] == only_job(store)[0]


def test_when_too_many_wait_no_job_is_submitted(store: MemoryStore) -> None:
    client = make_client(store, api_threads=1)
    inner = []

    def score_another(job_id: str) -> None:
        inner.append(client.application.test_client().post("/score", json={"inputs": "b"}))
        store.finish(job_id)

    store.on_wait = score_another
    assert client.post("/score", json={"inputs": "a"}).status_code == 200
    assert inner[0].status_code == 503
    assert inner[0].get_json()["type"] == "urn:distilq:problem:too_many_waiting"
    assert "Retry-After" in inner[0].headers
    only_job(store)


def test_a_client_that_hangs_up_cancels_its_job(
    store: MemoryStore, connection: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = connection
    waits: list[str] = []

    def hang_up(job_id: str) -> None:
        waits.append(job_id)
        theirs.close()

    store.on_wait = hang_up
    client = make_client(store, max_wait_s=5)
    client.post("/score", json={"inputs": "a"}, environ_overrides={"gunicorn.socket": ours})
    assert only_job(store) == (waits[0], JobStatus.CANCELED)
    assert len(waits) == 1


def test_an_open_connection_is_not_gone_with_or_without_more_data(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = connection
    assert not client_is_gone({"gunicorn.socket": ours})
    theirs.send(b"GET")
    assert not client_is_gone({"gunicorn.socket": ours})
    assert ours.recv(3) == b"GET"
    theirs.send(b"GET")
    theirs.close()
    if hasattr(select, "POLLRDHUP"):  # elsewhere what lies before the end hides it
        assert client_is_gone({"gunicorn.socket": ours})
    assert ours.recv(3) == b"GET"
    assert client_is_gone({"gunicorn.socket": ours})


def test_a_server_that_hides_its_socket_never_says_gone() -> None:
    assert not client_is_gone({})
