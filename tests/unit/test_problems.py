"""Every error is a problem, and every answer carries its request's id."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from distilq.jobs import Job
from distilq.testing import MemoryStore
from tests.unit.api_client import make_client

PROMPT = "a very secret prompt"


class BrokenStore(MemoryStore):
    """A store with a mistake in it."""

    def submit(self, request: Any, once: Any = None) -> Job:
        if request.metadata:
            return Job.model_validate({"id": request.inputs})  # a record that does not parse
        raise ZeroDivisionError("the flux capacitor")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store)


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/jobs/", "/v1//jobs", "/v1/jobs:x"])
def test_an_unknown_address_is_a_problem(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"
    assert response.get_json() == {
        "type": "urn:distilq:problem:not_found",
        "title": "There is nothing at this address",
        "status": 404,
        "retryable": False,
        "instance": f"urn:request:{response.headers['X-Request-Id']}",
    }


def test_a_wrong_method_is_a_problem_that_lists_the_right_ones(client: FlaskClient) -> None:
    response = client.put("/v1/jobs")
    assert response.status_code == 405
    assert response.mimetype == "application/problem+json"
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS, POST"


def test_a_mistake_of_ours_is_500_with_its_traceback_in_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = make_client(BrokenStore())
    response = client.post(
        "/v1/jobs", json={"inputs": PROMPT}, headers={"X-Request-Id": "request-7"}
    )
    assert response.status_code == 500
    assert response.get_json() == {
        "type": "urn:distilq:problem:internal_error",
        "title": "Something went wrong in the service",
        "status": 500,
        "retryable": False,
        "instance": "urn:request:request-7",
    }
    assert "flux capacitor" in caplog.text
    assert "request-7" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_no_prompt_gets_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    client = make_client(BrokenStore())
    for body in (
        {"inputs": PROMPT},
        {"inputs": PROMPT, "metadata": {"a": "b"}},
        {"inputs": PROMPT, "x": 1},
        {"inputs": {PROMPT: PROMPT}},
    ):
        assert client.post("/v1/jobs", json=body).status_code in (422, 500)
    assert caplog.records
    assert PROMPT not in caplog.text


def test_redis_away_is_503_on_every_route_that_needs_it(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.down = True
    job = "/v1/jobs/" + "0" * 32
    responses = [
        client.post("/v1/jobs", json={"inputs": "a"}),
        client.post("/v1/jobs:batch", json={"jobs": [{"inputs": "a"}]}),
        client.post("/v1/jobs:status", json={"ids": ["a"]}),
        client.post("/score", json={"inputs": "a"}),
        client.post(f"{job}/cancel"),
        client.delete(job),
        *map(client.get, ["/v1/jobs", job, f"{job}/result", "/v1/info", "/v1/queue", "/readyz"]),
    ]
    for response in responses:
        assert response.status_code == 503
        assert response.get_json()["type"] == "urn:distilq:problem:store_unavailable"
        assert "Retry-After" in response.headers


def test_why_redis_is_away_is_for_the_log_alone(
    client: FlaskClient, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.down = True
    response = client.get("/v1/queue", headers={"X-Request-Id": "request-8"})
    assert "the fake is down" not in response.text
    assert "the fake is down, request request-8" in caplog.text


@pytest.mark.parametrize("path", ["/livez", "/", "/nothing", "/about", "/v1/jobs"])
def test_every_answer_gives_the_request_id_back(client: FlaskClient, path: str) -> None:
    response = client.get(path, headers={"X-Request-Id": "a-1!~"})
    assert response.headers["X-Request-Id"] == "a-1!~"


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "\u00e9", "a\tb"])
def test_an_id_that_cannot_be_used_is_replaced(client: FlaskClient, given: str | None) -> None:
    ids = set()
    for _ in range(2):
        headers = {} if given is None else {"X-Request-Id": given}
        ids.add(client.get("/livez", headers=headers).headers["X-Request-Id"])
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", it) for it in ids)


def test_an_id_with_odd_characters_still_makes_a_urn(client: FlaskClient) -> None:
    response = client.get("/nothing", headers={"X-Request-Id": "a/b?#%"})
    assert response.get_json()["instance"] == "urn:request:a%2Fb%3F%23%25"


def test_a_body_that_ends_too_early_is_a_problem_too(client: FlaskClient) -> None:
    response = client.post(
        "/v1/jobs",
        data=b"{}",
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": "10"},
    )
    assert response.status_code == 400
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["type"] == "urn:distilq:problem:malformed_body"
