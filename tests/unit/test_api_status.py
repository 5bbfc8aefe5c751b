"""How the service says it stands."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from distilq.jobs import MAX_ROWS
from distilq.testing import FAKE_WORKER, MemoryStore
from tests.unit.api_client import make_client


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store, model="distilgpt2", max_wait_s=7)


def test_a_process_is_alive_whatever_redis_is(client: FlaskClient, store: MemoryStore) -> None:
    store.down = True
    assert client.get("/livez").status_code == 200


def test_ready_means_redis_and_a_worker(client: FlaskClient, store: MemoryStore) -> None:
    without_worker = client.get("/readyz")
    assert without_worker.status_code == 503
    assert without_worker.get_json()["type"] == "urn:distilq:problem:no_worker"
    store.alive.append(FAKE_WORKER)
    assert client.get("/readyz").status_code == 200
    store.down = True
    without_redis = client.get("/readyz")
    assert without_redis.status_code == 503
    assert without_redis.get_json()["type"] == "urn:distilq:problem:store_unavailable"
    assert "Retry-After" in without_redis.headers


def test_info_names_what_the_live_workers_serve(client: FlaskClient, store: MemoryStore) -> None:
    int8 = FAKE_WORKER.model_copy(update={"precision": "int8"})
    store.alive += [int8, FAKE_WORKER, FAKE_WORKER]
    info = client.get("/v1/info").get_json()
    assert info["model"] == "distilgpt2"
    common = {"model": "fake", "source": "memory", "revision": None}
    assert info["serving"] == [
        {**common, "precision": "float32", "workers": 2},
        {**common, "precision": "int8", "workers": 1},
    ]


def test_info_states_the_limits_and_the_model_card(client: FlaskClient) -> None:
    info = client.get("/v1/info").get_json()
    assert info["limits"]["max_wait_s"] == 7
    assert info["limits"]["max_rows"] == MAX_ROWS
    assert info["model_card"]["license"] == "apache-2.0"
    assert "has to be true" in info["model_card"]["warnings"][0]
    assert "biases" in info["model_card"]["warnings"][1]


def test_the_queue_is_counted_by_priority(client: FlaskClient, store: MemoryStore) -> None:
    for priority in ("bulk", "bulk", "interactive"):
        client.post("/v1/jobs", json={"inputs": "a", "priority": priority})
    queue = client.get("/v1/queue").get_json()
    assert queue["queued"] == 3
    assert {p: level["jobs"] for p, level in queue["priorities"].items()} == {
        "interactive": 1,
        "normal": 0,
        "bulk": 2,
    }
    assert queue["priorities"]["normal"]["oldest_age_s"] is None


def test_workers_are_listed(client: FlaskClient, store: MemoryStore) -> None:
    assert client.get("/v1/workers").get_json() == {"workers": []}
    store.alive.append(FAKE_WORKER)
    (worker,) = client.get("/v1/workers").get_json()["workers"]
    assert worker["id"] == FAKE_WORKER.id


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/info", "/v1/queue", "/livez", "/", "/about"])
def test_head_is_get_without_the_body(client: FlaskClient, path: str) -> None:
    response = client.head(path)
    assert (response.status_code, response.data) == (200, b"")
    assert int(response.headers["Content-Length"]) == len(client.get(path).data)


def test_options_lists_the_methods(client: FlaskClient) -> None:
    response = client.options("/v1/jobs")
    assert response.status_code == 200
    assert set(response.allow) == {"GET", "HEAD", "POST", "OPTIONS"}
