"""/v1/workers/{id}:drain and :resume over a store in memory."""

from __future__ import annotations

from distilq.testing import FAKE_WORKER, MemoryStore
from tests.unit.api_client import make_client


def test_a_worker_is_drained_and_resumed() -> None:
    store = MemoryStore()
    store.alive = [FAKE_WORKER, FAKE_WORKER.model_copy(update={"id": "worker-2"})]
    client = make_client(store)
    assert client.post("/v1/workers/worker-1:drain").get_json()["draining"] is True
    told = client.get("/v1/workers").get_json()["workers"]
    assert [worker["draining"] for worker in told] == [True, False]
    assert client.get("/v1/queue").get_json()["workers"] == 1
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/workers/worker-1:resume").get_json()["draining"] is False
    assert client.get("/v1/queue").get_json()["workers"] == 2


def test_where_all_are_drained_no_job_would_be_worked_on() -> None:
    store = MemoryStore()
    store.alive = [FAKE_WORKER]
    client = make_client(store)
    client.post("/v1/workers/worker-1:drain")
    assert client.get("/readyz").status_code == 503
    assert client.get("/health").status_code == 503
    assert "resumed" in client.get("/readyz").get_json()["detail"]
    assert len(client.get("/v1/info").get_json()["serving"]) == 1


def test_one_that_is_not_alive_is_unknown() -> None:
    client = make_client(MemoryStore())
    for action in ("drain", "resume"):
        response = client.post(f"/v1/workers/worker-1:{action}")
        assert response.get_json()["type"] == "urn:distilq:problem:worker_not_found"
