"""GET /v1/jobs/{id}/events, over a store in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import sse
from distilq.errors import GenerationFailed
from distilq.events import Token
from distilq.testing import MemoryStore
from tests.unit.api_client import make_client


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store)


def submit(client: FlaskClient, **fields: Any) -> str:
    body = {"inputs": "Once", "stream": True, **fields}
    job_id: str = client.post("/v1/jobs", json=body).get_json()["id"]
    return job_id


def parsed(text: str) -> list[tuple[str, str | None, Any]]:
    """Name, id and data of every event; a heartbeat has the name ``."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = json.loads(fields["data"]) if "data" in fields else None
        found.append((fields.get("event", ""), fields.get("id"), data))
    return found


def tokens(*texts: str) -> list[Token]:
    return [Token(0, 0, n, 65 + n, text) for n, text in enumerate(texts)]


def test_a_job_is_told_from_its_status_to_the_whole_object(
    client: FlaskClient, store: MemoryStore
) -> None:
    job_id = submit(client)
    store.start(job_id)
    store.emit(job_id, tokens(" upon", " a\n", " time 世\u2028"))
    done = store.finish(job_id)
    response = client.get(f"/v1/jobs/{job_id}/events")
    assert response.content_type.startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.text.isascii()
    events = parsed(response.text)
    assert [name for name, _, _ in events] == ["status", "token", "token", "token", "done"]
    assert [event_id for _, event_id, _ in events] == [None, "1-1", "1-2", "1-3", "end"]
    assert events[1][2] == {"input": 0, "sequence": 0, "index": 0, "id": 65, "text": " upon"}
    assert "".join(data["text"] for name, _, data in events if name == "token") == (
        " upon a\n time 世\u2028"
    )
    assert events[-1][2] == json.loads(done.model_dump_json())


def test_a_queued_job_tells_its_place(client: FlaskClient, store: MemoryStore) -> None:
    submit(client)
    job_id = submit(client)
    store.on_wait = store.cancel
    events = parsed(client.get(f"/v1/jobs/{job_id}/events").text)
    assert events[0][2] == {"status": "queued", "attempt": 0, "position": 2, "eta_s": None}
    assert events[-1][0] == "error"


def test_a_job_that_fails_ends_with_its_problem(client: FlaskClient, store: MemoryStore) -> None:
    job_id = submit(client)
    store.start(job_id)
    store.fail(job_id, GenerationFailed("no luck"))
    name, event_id, data = parsed(client.get(f"/v1/jobs/{job_id}/events").text)[-1]
    assert (name, event_id) == ("error", "end")
    assert data["type"] == "urn:distilq:problem:generation_failed"
    assert (data["job_id"], data["job_status"]) == (job_id, "failed")


def test_a_client_goes_on_where_it_was(client: FlaskClient, store: MemoryStore) -> None:
    job_id = submit(client)
    store.start(job_id)
    store.emit(job_id, tokens("a", "b", "c"))
    store.finish(job_id)

    def after(event_id: str) -> Any:
        return client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": event_id})

    rest = parsed(after("1-2").text)
    assert [data["text"] for name, _, data in rest if name == "token"] == ["c"]
    superseded = parsed(after("0-2").text)
    assert superseded[0][2] == {"status": "succeeded", "attempt": 1, "restarted": True}
    assert [data["text"] for name, _, data in superseded if name == "token"] == ["a", "b", "c"]
    assert after("end").status_code == 204
    assert after("nonsense").get_json()["errors"][0]["header"] == "Last-Event-ID"


def test_a_job_that_does_not_stream_tells_its_end(client: FlaskClient, store: MemoryStore) -> None:
    job_id = submit(client, stream=False)
    store.on_wait = store.finish
    events = parsed(client.get(f"/v1/jobs/{job_id}/events").text)
    assert [name for name, _, _ in events] == ["status", "done"]


def test_silence_is_broken(
    client: FlaskClient, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr("distilq.testing.GIVE_UP_S", 0.01)
    job_id = submit(client)
    response = client.get(f"/v1/jobs/{job_id}/events", buffered=False)
    chunks = response.iter_encoded()
    assert next(chunks).startswith(b"event: status")
    assert next(chunks) == b": ping\n\n"
    response.close()


def test_streams_wait_in_the_slots_of_all_who_wait(store: MemoryStore) -> None:
    client = make_client(store, api_threads=4)  # three of them may wait
    job_id = submit(client)
    held = [client.get(f"/v1/jobs/{job_id}/events", buffered=False) for _ in range(3)]
    assert client.get(f"/v1/jobs/{job_id}/events").status_code == 503
    held[0].close()
    client.head(f"/v1/jobs/{job_id}/events")
    fourth = client.get(f"/v1/jobs/{job_id}/events", buffered=False)
    assert fourth.status_code == 200
    for response in (*held[1:], fourth):
        response.close()


def test_unknown_jobs_have_no_events(client: FlaskClient) -> None:
    assert client.get("/v1/jobs/" + "0" * 32 + "/events").status_code == 404
    assert client.get("/v1/jobs/nothing/events").status_code == 404


def test_a_job_forgotten_meanwhile_ends_with_a_problem(
    client: FlaskClient, store: MemoryStore
) -> None:
    job_id = submit(client)

    def forget(_: str) -> None:
        store.cancel(job_id)
        store.delete(job_id)

    store.on_wait = forget
    events = parsed(client.get(f"/v1/jobs/{job_id}/events").text)
    assert events[-1][2]["type"] == "urn:distilq:problem:job_gone"
