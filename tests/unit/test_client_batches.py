"""Batches by `Client` and `AsyncClient`, over an API in memory with a worker that does its work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.batches.runner import Runner
from distilq import errors as e
from distilq.client import Client, WaitTimedOut
from distilq.jobs import JobStatus
from distilq.settings import Settings
from distilq.testing import MemoryStore
from distilq.testing_library import memory_library
from tests.unit.client_twins import Faulty, Handler, Twins, lost, no_pauses


class Served(httpx.BaseTransport):
    """An API; before each request its runner goes a step on, and its worker finishes a job."""

    def __init__(self, **settings: Any) -> None:
        self.store, library = MemoryStore(), memory_library()
        app = create_app(Settings(auth="off", model="fake", **settings), self.store, None, library)
        self._runner, self._inner = Runner(app, library), httpx.WSGITransport(app=app)
        self.works = True

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._runner.tick()
        if self.works:
            for job in self.store.page(JobStatus.QUEUED, 3, None).jobs:
                self.store.start(job.id)
                self.store.finish(job.id)
        return self._inner.handle_request(request)


@pytest.fixture(params=["sync", "async"])
def twins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twins]:
    no_pauses(monkeypatch)
    twins = Twins(request.param)
    yield twins
    twins.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = [
        {
            "custom_id": f"c{n}",
            "method": "POST",
            "url": "/v1/completions",
            "body": {"model": "fake", "prompt": f"p{n}"},
        }
        for n in range(5)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    return tmp_path / "in.jsonl"


def ids(rows: Any) -> list[str | None]:
    return [row["custom_id"] for row in rows]


def test_a_file_is_worked_through(twins: Twins, file: Path) -> None:
    client = twins.client(Served())
    batch = client.batch(file, metadata={"mine": "42"})
    state = batch.wait(60)
    assert (state.status, state.final, state.metadata) == ("completed", True, {"mine": "42"})
    counts = state.request_counts
    assert (counts.total, counts.completed, counts.failed) == (6, 5, 1)
    assert ids(batch.rows()) == ["c0", "c1", "c2", "c3", "c4", None]
    assert ids(client.batch_of(batch.id).rows(follow=False)) == ids(batch.rows())


def test_rows_come_once_though_their_connection_breaks(twins: Twins, file: Path) -> None:
    served = Served()
    batch = twins.client(served).batch(file)
    batch.wait(60)

    def cut(request: httpx.Request, proceed: Handler) -> httpx.Response:
        whole = proceed(request).read()
        half = whole[: len(whole) // 2]

        def pieces() -> Iterator[bytes]:
            yield half
            raise httpx.ReadError("Connection reset by peer", request=request)

        return httpx.Response(200, stream=Stream(pieces()), request=request)

    seen = Faulty(served, cut, cut)
    assert ids(twins.client(seen).batch_of(batch.id).rows(order="completion")).count("c4") == 1
    assert [path.endswith("/results") for path in seen.paths()] == [True, True, True, False]


def test_rows_that_end_before_their_batch_are_asked_for_again(twins: Twins, file: Path) -> None:
    """A proxy makes a clean end of a connection that broke behind it."""
    served = Served()
    batch = twins.client(served).batch(file)

    def early(request: httpx.Request, proceed: Handler) -> httpx.Response:
        return httpx.Response(200, content=b"\n", request=request)

    def late(request: httpx.Request, proceed: Handler) -> httpx.Response:
        with Client(transport=served) as client:
            client.batch_of(batch.id).wait(60)
        return proceed(request)

    rows = twins.client(Faulty(served, early, None, late)).batch_of(batch.id).rows()
    assert ids(rows) == ["c0", "c1", "c2", "c3", "c4", None]


class Stream(httpx.SyncByteStream):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


def test_a_batch_whose_answer_is_lost_is_begun_once(twins: Twins, file: Path) -> None:
    served = Served()
    seen = Faulty(served, None, lost)
    batch = twins.client(seen).batch(file)
    assert seen.paths() == ["/v1/files", "/v1/batches", "/v1/batches"]
    answer = httpx.Client(transport=served, base_url="http://api").get("/v1/batches")
    assert [each["id"] for each in answer.json()["data"]] == [batch.id]


def test_a_batch_is_canceled(twins: Twins, file: Path) -> None:
    served = Served()
    served.works = False
    batch = twins.client(served).batch(file)
    with pytest.raises(WaitTimedOut, match=batch.id):
        batch.wait(3)
    assert batch.cancel().status == "cancelling"
    assert batch.wait(60).status == "cancelled"
    assert batch.cancel().status == "cancelled"


def test_errors_are_those_of_the_service(twins: Twins, file: Path) -> None:
    client = twins.client(Served(max_file_bytes=1_024))
    with pytest.raises(e.InvalidParameters) as invalid:
        client.batch(file, completion_window="soon")
    assert invalid.value.errors[0]["pointer"] == "#/completion_window"
    assert invalid.value.request_id
    with pytest.raises(e.BatchNotFound):
        client.batch_of("batch_none").status()
    with pytest.raises(e.BatchNotFound):
        list(client.batch_of("batch_none").rows())
    file.write_bytes(b"a" * 2_000)
    with pytest.raises(e.PayloadTooLarge, match="1024"):
        client.batch(file)
