"""/v1/dead over a store in memory: what operators see and do."""

from __future__ import annotations

import pytest

from distilq.jobs import JobRequest
from distilq.testing import MemoryStore
from tests.unit.api_client import make_client


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def buried(store: MemoryStore) -> str:
    job = store.submit(JobRequest(inputs="nobody else's"))
    store.start(job.id)
    store.bury(job.id)
    return job.id


def test_an_entry_shows_no_prompt_unless_it_is_asked_for(store: MemoryStore) -> None:
    job_id, client = buried(store), make_client(store)
    shown = client.get("/v1/dead")
    assert "nobody else's" not in shown.text
    entry = shown.get_json()["entries"][0]
    assert (entry["id"], entry["reason"], entry["requeueable"]) == (job_id, "poisoned", True)
    assert (entry["request"], entry["message"]) == (None, None)
    whole = client.get("/v1/dead?include=request").get_json()["entries"][0]
    assert whole["request"]["inputs"] == "nobody else's"


def test_an_entry_is_requeued_once(store: MemoryStore) -> None:
    job_id, client = buried(store), make_client(store)
    response = client.post(f"/v1/dead/{job_id}:requeue")
    again = response.get_json()["id"]
    assert (response.status_code, response.headers["Location"]) == (202, f"/v1/jobs/{again}")
    assert store.get(again).status.value == "queued"
    assert client.post(f"/v1/dead/{job_id}:requeue").status_code == 404
    assert client.get("/v1/dead").get_json() == {"entries": [], "next": None, "total": 0}


def test_an_entry_without_a_request_is_not_run(store: MemoryStore) -> None:
    job_id = buried(store)
    del store.graves.requests[job_id]
    response = make_client(store).post(f"/v1/dead/{job_id}:requeue")
    assert (response.status_code, response.get_json()["type"]) == (
        409,
        "urn:distilq:problem:not_requeueable",
    )


def test_an_entry_is_dropped(store: MemoryStore) -> None:
    job_id, client = buried(store), make_client(store)
    assert client.delete(f"/v1/dead/{job_id}").status_code == 204
    assert client.delete(f"/v1/dead/{job_id}").status_code == 404


@pytest.mark.parametrize("entry_id", ["x", "0" * 31, "message-0", f"{'0' * 32}:drop"])
def test_what_is_no_id_is_not_there(store: MemoryStore, entry_id: str) -> None:
    client = make_client(store)
    for response in (
        client.post(f"/v1/dead/{entry_id}:requeue"),
        client.delete(f"/v1/dead/{entry_id}"),
    ):
        assert response.get_json()["type"] == "urn:distilq:problem:not_on_dead_list"


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=x", "include=all", "all=1"])
def test_a_query_that_is_wrong_is_said(store: MemoryStore, query: str) -> None:
    name = query.partition("=")[0]
    response = make_client(store).get(f"/v1/dead?{query}")
    assert response.status_code == 422
    assert [error["parameter"] for error in response.get_json()["errors"]] == [name]
