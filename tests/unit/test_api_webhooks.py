"""Webhooks at the API: which are taken, and what is told of their deliveries."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from distilq.testing import MemoryStore
from tests.unit.api_client import make_client

URL = "https://hooks.example.com/a"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store, webhook_hosts="hooks.example.com")


def job(url: str = URL, **fields: Any) -> dict[str, Any]:
    return {"inputs": "a", "webhook": {"url": url, **fields}}


def submitted(client: FlaskClient, body: dict[str, Any]) -> str:
    response = client.post("/v1/jobs", json=body)
    assert response.status_code == 202
    return str(response.get_json()["id"])


def test_where_no_host_is_named_webhooks_are_off(store: MemoryStore) -> None:
    client = make_client(store)
    for path, body, pointer in [
        ("/v1/jobs", job(), "#/webhook"),
        ("/v1/jobs:batch", {"jobs": [{"inputs": "a"}, job()]}, "#/jobs/1/webhook"),
    ]:
        response = client.post(path, json=body)
        assert response.status_code == 422
        [error] = response.get_json()["errors"]
        assert (error["pointer"], error["code"]) == (pointer, "webhooks_off")
    assert store.page(None, 10, None).jobs == []


def test_a_job_without_one_is_taken_all_the_same(store: MemoryStore) -> None:
    body = {"inputs": "a", "webhook": None}
    assert make_client(store).post("/v1/jobs", json=body).status_code == 202


@pytest.mark.parametrize(
    "url", ["http://hooks.example.com/", "https://other.example/", "https://10.0.0.1/", "x", ""]
)
def test_an_address_that_may_not_be_told_is_refused_at_its_place(
    client: FlaskClient, store: MemoryStore, url: str
) -> None:
    for path, body, pointer in [
        ("/v1/jobs", job(url), "#/webhook/url"),
        ("/v1/jobs:batch", {"jobs": [job(), job(url)]}, "#/jobs/1/webhook/url"),
    ]:
        response = client.post(path, json=body)
        assert response.status_code == 422
        [error] = response.get_json()["errors"]
        assert (error["pointer"], error["code"]) == (pointer, "not_allowed")
    assert store.page(None, 10, None).jobs == []


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"events": ["job.started"]}, "#/webhook/events/0", "unknown_value"),
        ({"events": []}, "#/webhook/events", "out_of_range"),
        ({"events": "job.failed"}, "#/webhook/events", "wrong_type"),
        ({"secret": "whsec_"}, "#/webhook/secret", "unknown_field"),
        ({"url": "https://hooks.example.com/" + "a" * 2_048}, "#/webhook/url", "out_of_range"),
        ({"url": 1}, "#/webhook/url", "wrong_type"),
    ],
)
def test_what_is_no_webhook_is_said_at_its_place(
    client: FlaskClient, fields: dict[str, Any], pointer: str, code: str
) -> None:
    response = client.post("/v1/jobs", json={"inputs": "a", "webhook": {"url": URL, **fields}})
    assert response.status_code == 422
    assert [(e["pointer"], e["code"]) for e in response.get_json()["errors"]] == [(pointer, code)]


def test_deliveries_are_told_from_the_jobs_end_on(client: FlaskClient, store: MemoryStore) -> None:
    job_id = submitted(client, job())
    path = f"/v1/jobs/{job_id}"
    nothing: dict[str, Any] = {"state": None, "next_try_at": None, "attempts": []}
    assert client.get(f"{path}/deliveries").get_json() == nothing
    assert client.post(f"{path}/redeliver").status_code == 409
    store.finish(job_id)
    assert client.get(f"{path}/deliveries").get_json()["state"] == "pending"
    store.deliver(job_id, 500)
    told = client.get(f"{path}/deliveries").get_json()
    assert (told["state"], told["attempts"][0]["status"]) == ("pending", 500)
    assert told["next_try_at"] is not None
    store.deliver(job_id, 204)
    assert client.get(f"{path}/deliveries").get_json()["state"] == "delivered"
    again = client.post(f"{path}/redeliver")
    assert (again.status_code, again.get_json()["state"]) == (202, "pending")


def test_without_a_webhook_there_is_nothing_to_send_again(
    client: FlaskClient, store: MemoryStore
) -> None:
    for body in ({"inputs": "a"}, job(events=["job.failed"])):
        job_id = submitted(client, body)
        store.finish(job_id)
        response = client.post(f"/v1/jobs/{job_id}/redeliver")
        assert response.status_code == 409
        assert response.get_json()["type"] == "urn:distilq:problem:no_webhook"


def test_the_address_of_a_webhook_is_in_no_answer(client: FlaskClient, store: MemoryStore) -> None:
    job_id = submitted(client, job("https://hooks.example.com/?token=s3cret"))
    store.finish(job_id)
    store.deliver(job_id, 500)
    for path in ("", "/deliveries", "/result"):
        assert "s3cret" not in client.get(f"/v1/jobs/{job_id}{path}").text
