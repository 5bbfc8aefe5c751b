"""Batches over stores in memory: the runner goes step by step, the test plays the worker."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import datetime, timezone
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.batches import work
from api.batches.runner import Runner
from distilq.access import ApiKey, Limits
from distilq.batches import BatchStatus
from distilq.errors import GenerationFailed, StorageUnavailable
from distilq.jobs import JobStatus
from distilq.storage import Storage
from distilq.testing import Clock, MemoryRing, MemoryStore
from distilq.testing_library import memory_library
from tests.unit.api_client import make_client

SMALL = 3


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "SEGMENT_LINES", SMALL)
    monkeypatch.setattr(work, "AHEAD_LINES", 2 * SMALL)


def line(number: int, **fields: Any) -> dict[str, Any]:
    body = {"model": "fake", "prompt": f"p{number}", "max_tokens": 3}
    known = {"custom_id": f"c{number}", "method": "POST", "url": "/v1/completions", "body": body}
    return known | fields


class World:
    """A service with one file, and a worker that does what the test says."""

    def __init__(self, ring: MemoryRing | None = None, key: ApiKey | None = None) -> None:
        self.clock = Clock(datetime.now(timezone.utc))
        self.store, self.archive = MemoryStore(clock=self.clock), memory_library()
        self.client: FlaskClient = make_client(
            self.store, ring, self.archive, model="fake", max_wait_s=1
        )
        self.sent: dict[str, str] = {}
        if ring and key:
            self.sent = {"Authorization": f"Bearer {ring.create(key)}"}
        self.runner = self.new_runner()

    def new_runner(self) -> Runner:
        return Runner(self.client.application, self.archive)

    def upload(self, text: str) -> str:
        form = {"purpose": "batch", "file": (BytesIO(text.encode()), "in.jsonl")}
        answer = self.client.post("/v1/files", data=form, headers=self.sent)
        assert answer.status_code == 200, answer.text
        return str(answer.get_json()["id"])

    def create(self, lines: list[Any], window: str = "24h", **fields: Any) -> str:
        text = "".join(
            (each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines
        )
        asked = {
            "input_file_id": self.upload(text),
            "endpoint": "/v1/completions",
            "completion_window": window,
            **fields,
        }
        answer = self.client.post("/v1/batches", json=asked, headers=self.sent)
        assert answer.status_code == 200, answer.text
        return str(answer.get_json()["id"])

    def shown(self, batch_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/batches/{batch_id}", headers=self.sent)
        return dict(answer.get_json())

    def live(self, status: JobStatus = JobStatus.QUEUED) -> list[str]:
        return [job.id for job in self.store.page(status, 1000, None).jobs]

    def finish(self, job_ids: list[str]) -> None:
        for job_id in job_ids:
            self.store.start(job_id)
            self.store.finish(job_id)

    def run(self, batch_id: str, ticks: int = 50) -> dict[str, Any]:
        """To the end, with a worker that finishes all there is."""
        for _ in range(ticks):
            self.runner.tick()
            self.finish(self.live())
            if BatchStatus(self.shown(batch_id)["status"]).final:
                break
        return self.shown(batch_id)

    def rows(self, file_id: str | None) -> list[dict[str, Any]]:
        if file_id is None:
            return []
        answer = self.client.get(f"/v1/files/{file_id}/content", headers=self.sent)
        assert answer.status_code == 200
        assert len(answer.data) == answer.content_length
        return [json.loads(row) for row in answer.text.splitlines()]

    def results(self, batch_id: str, query: str = "") -> list[dict[str, Any]]:
        answer = self.client.get(f"/v1/batches/{batch_id}/results{query}", headers=self.sent)
        assert answer.status_code == 200
        return [json.loads(row) for row in answer.text.splitlines()]


@pytest.fixture
def world() -> World:
    return World()


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["custom_id"] for row in rows]


def test_every_line_is_answered_in_order(world: World) -> None:
    batch_id = world.create([line(i) for i in range(10)], metadata={"a": "b"})
    assert world.shown(batch_id)["status"] == "validating"
    done = world.run(batch_id)
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 10, "completed": 10, "failed": 0}
    assert done["metadata"] == {"a": "b"}
    assert done["error_file_id"] is None
    rows = world.rows(done["output_file_id"])
    assert ids(rows) == [f"c{i}" for i in range(10)]
    assert rows[0]["error"] is None
    assert rows[0]["response"]["status_code"] == 200
    assert rows[0]["response"]["body"]["object"] == "text_completion"
    assert world.live(JobStatus.SUCCEEDED) == []  # their texts are in the file


def test_its_jobs_are_bulk_and_only_so_many_at_once(world: World) -> None:
    world.create([line(i) for i in range(20)])
    world.runner.tick()
    queued = world.store.page(None, 100, None).jobs
    assert len(queued) == 2 * SMALL
    assert {job.queue.priority.value for job in queued} == {"bulk"}


def test_lines_that_are_bad_in_themselves_become_rows_and_the_rest_runs(world: World) -> None:
    batch_id = world.create(
        [
            line(0),
            "no json",
            line(2, url="/v1/chat/completions"),
            "",
            line(4, body={"model": "fake", "prompt": "a", "max_tokens": -1}),
            line(5, body={"model": "other", "prompt": "a"}),
            line(6, body={"model": "fake", "prompt": "a", "stream": True}),
            line(0),
            line(8),
            {"custom_id": "x"},
            "[]",
            line(11, extra=1),
        ]
    )
    done = world.run(batch_id)
    assert done["request_counts"] == {"total": 11, "completed": 2, "failed": 9}
    assert ids(world.rows(done["output_file_id"])) == ["c0", "c8"]
    errors = {row["error"]["line"]: row for row in world.rows(done["error_file_id"])}
    found = {n: (row["custom_id"], row["error"]["code"]) for n, row in errors.items()}
    assert found == {
        2: (None, "malformed_json"),
        3: ("c2", "not_offered"),
        5: ("c4", "out_of_range"),
        6: ("c5", "model_not_found"),
        7: ("c6", "not_offered"),
        8: ("c0", "duplicate_custom_id"),
        10: ("x", "missing"),
        11: (None, "wrong_type"),
        12: ("c11", "unknown_field"),
    }
    assert errors[5]["error"]["message"] == "line 5: body.max_tokens: must be >= 0 and <= 1024"
    assert errors[5]["error"]["param"] == "body.max_tokens"
    assert errors[5]["response"] is None


def test_a_line_is_told_where_it_is_wrong_in_its_own_words(world: World) -> None:
    batch_id = world.create([line(0, body={"model": "fake", "prompt": ["a", 5]})])
    (row,) = world.rows(world.run(batch_id)["error_file_id"])
    assert row["error"]["param"] == "body.prompt[1]"


def test_a_job_that_fails_is_a_row_as_its_request_would_be_answered(world: World) -> None:
    batch_id = world.create([line(0), line(1)])
    world.runner.tick()
    first, second = reversed(world.live())
    world.store.start(first)
    world.store.fail(first, GenerationFailed("out of luck"))
    world.finish([second])
    done = world.run(batch_id)
    assert done["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    (row,) = world.rows(done["error_file_id"])
    assert row["response"]["status_code"] == 500
    assert row["response"]["body"]["error"]["type"] == "server_error"
    assert row["response"]["request_id"] == first
    assert row["error"] is None


def test_counts_and_results_are_live(world: World) -> None:
    batch_id = world.create([line(i) for i in range(8)] + ["bad"])
    world.runner.tick()
    queued = world.live()[::-1]
    world.finish([queued[4], queued[1]])
    world.runner.tick()
    assert world.shown(batch_id)["request_counts"] == {"total": 9, "completed": 2, "failed": 0}
    assert ids(world.results(batch_id)) == ["c1", "c4"]
    world.finish([queued[0], queued[2]])  # the first segment is written now
    world.runner.tick()
    assert ids(world.results(batch_id)) == ["c0", "c1", "c2", "c4"]
    world.run(batch_id)
    assert ids(world.results(batch_id)) == [*(f"c{i}" for i in range(8)), None]


def test_results_in_the_order_of_completion(world: World) -> None:
    batch_id = world.create([line(i) for i in range(6)])
    world.runner.tick()
    queued = world.live()[::-1]
    for at in (5, 0, 3, 1):
        world.clock.advance(1)
        world.finish([queued[at]])
    world.runner.tick()
    expected = ["c5", "c0", "c3", "c1"]
    assert ids(world.results(batch_id, "?order=completion")) == expected
    world.clock.advance(1)
    world.finish([queued[2]])
    world.runner.tick()  # now some of them are written, and others are not
    assert ids(world.results(batch_id, "?order=completion")) == [*expected, "c2"]
    world.clock.advance(1)
    world.run(batch_id)
    assert ids(world.results(batch_id, "?order=completion")) == [*expected, "c2", "c4"]


@pytest.mark.parametrize("order", ["input", "completion"])
def test_who_follows_gets_every_row_once_as_it_comes(
    world: World, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    batch_id = world.create([*(line(i) for i in range(8)), "bad"])
    world.runner.tick()
    looks = []

    def between(seconds: float) -> None:
        looks.append(seconds)
        world.finish(world.live()[::-2])
        world.runner.tick()

    monkeypatch.setattr(time, "sleep", between)
    rows = world.results(batch_id, f"?follow=true&order={order}")
    assert looks
    found = ids(rows)
    assert Counter(found) == Counter([*(f"c{i}" for i in range(8)), None])
    if order == "input":
        assert found == [*(f"c{i}" for i in range(8)), None]


def test_rows_that_a_stop_cuts_short_have_no_clean_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or who follows them takes what has come for all there is."""
    batch_id = world.create([line(0), line(1)])
    world.runner.tick()
    stops: list[float] = []
    monkeypatch.setattr(time, "sleep", stops.append)
    world.client.application.extensions["distilq.stopping"] = lambda: bool(stops)
    with pytest.raises(ConnectionResetError):
        world.results(batch_id, "?follow=true")


def test_what_is_answered_stays_when_it_is_canceled(world: World) -> None:
    batch_id = world.create([line(i) for i in range(10)])
    world.runner.tick()
    queued = world.live()[::-1]
    world.finish(queued[:2])
    running = queued[2]
    world.store.start(running)
    answer = world.client.post(f"/v1/batches/{batch_id}/cancel")
    assert answer.get_json()["status"] == "cancelling"
    world.runner.tick()
    assert world.live() == []
    assert world.live(JobStatus.CANCELING) == [running]
    assert world.shown(batch_id)["status"] == "cancelling"
    world.store.stop(running)
    world.runner.tick()
    done = world.shown(batch_id)
    assert done["status"] == "cancelled"
    assert done["request_counts"] == {"total": 10, "completed": 2, "failed": 8}
    assert ids(world.rows(done["output_file_id"])) == ["c0", "c1"]
    errors = world.rows(done["error_file_id"])
    assert ids(errors) == [f"c{i}" for i in range(2, 10)]
    assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
    assert world.client.post(f"/v1/batches/{batch_id}/cancel").get_json()["status"] == "cancelled"


def test_what_is_answered_stays_when_its_time_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = world.create([line(i) for i in range(5)], window="60s")
    world.runner.tick()
    world.finish(world.live()[-1:])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    world.runner.tick()
    done = world.shown(batch_id)
    assert done["status"] == "expired"
    assert done["request_counts"] == {"total": 5, "completed": 1, "failed": 4}
    assert ids(world.rows(done["output_file_id"])) == ["c0"]
    assert {row["error"]["code"] for row in world.rows(done["error_file_id"])} == {"batch_expired"}


def test_one_that_is_canceled_before_anybody_looks_ends_so(world: World) -> None:
    batch_id = world.create([line(0)])
    world.client.post(f"/v1/batches/{batch_id}/cancel")
    done = world.run(batch_id)
    assert (done["status"], done["request_counts"]["total"]) == ("cancelled", 0)


def test_one_that_is_over_can_not_be_canceled(world: World) -> None:
    batch_id = world.create([line(0)])
    world.run(batch_id)
    answer = world.client.post(f"/v1/batches/{batch_id}/cancel")
    assert answer.status_code == 409
    assert answer.get_json()["error"]["code"] == "batch_already_finished"


def test_a_file_that_nothing_can_be_run_of_fails_the_batch(world: World) -> None:
    batch_id = world.create(["", " "])
    done = world.run(batch_id)
    assert done["status"] == "failed"
    assert done["errors"]["data"][0]["code"] == "empty_file"


def test_a_file_that_is_deleted_meanwhile_fails_the_batch_and_leaves_what_is_written(
    world: World,
) -> None:
    batch_id = world.create([line(i) for i in range(12)])
    world.runner.tick()
    world.finish(world.live()[::-1][:SMALL])
    world.runner.tick()
    world.client.delete(f"/v1/files/{world.shown(batch_id)['input_file_id']}")
    world.finish(world.live())
    world.runner.tick()
    done = world.shown(batch_id)
    assert done["status"] == "failed"
    assert done["errors"]["data"][0]["code"] == "file_not_found"
    assert ids(world.rows(done["output_file_id"])) == ["c0", "c1", "c2"]
    assert done["request_counts"] == {"total": 12, "completed": 3, "failed": 9}
    assert world.live() == []


@pytest.mark.parametrize("query", ["", "?order=completion", "?follow=true"])
def test_of_a_batch_whose_file_is_gone_results_are_what_is_written(
    world: World, query: str
) -> None:
    batch_id = world.create([line(i) for i in range(6)])
    world.runner.tick()
    jobs = world.live()
    world.finish(jobs[::-1][:SMALL])
    world.runner.tick()
    world.client.delete(f"/v1/files/{world.shown(batch_id)['input_file_id']}")
    assert ids(world.results(batch_id, query.replace("?follow=true", ""))) == ["c0", "c1", "c2"]
    world.finish(world.live())
    world.runner.tick()
    assert world.shown(batch_id)["status"] == "failed"
    assert ids(world.results(batch_id, query)) == ["c0", "c1", "c2"]
    assert set(world.store.statuses(jobs)) == {None}


@pytest.mark.parametrize("query", ["", "?order=completion", "?follow=true"])
def test_results_whose_file_is_gone_are_not_there(world: World, query: str) -> None:
    batch_id = world.create([line(0)])
    world.client.delete(f"/v1/files/{world.run(batch_id)['output_file_id']}")
    answer = world.client.get(f"/v1/batches/{batch_id}/results{query}")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "file_not_found")


def test_what_a_batch_has_answered_is_no_input(world: World) -> None:
    output = world.run(world.create([line(0)]))["output_file_id"]
    asked = {"input_file_id": output, "endpoint": "/v1/completions", "completion_window": "24h"}
    answer = world.client.post("/v1/batches", json=asked)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, "input_file_id")


def test_a_full_queue_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_id = world.create([line(i) for i in range(4)])
    world.store.max_queued_jobs = 2
    world.runner.tick()
    assert world.live() == []
    world.store.max_queued_jobs = 100
    moment = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: moment + 20)
    assert world.run(batch_id)["request_counts"]["completed"] == 4


def test_batches_leave_half_of_the_queue_to_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "AHEAD_LINES", 100)
    few = world.client.application.extensions["distilq.settings"].model_copy(
        update={"max_queued_jobs": 8}
    )
    world.client.application.extensions["distilq.settings"] = few
    batch_id = world.create([line(i) for i in range(20)])
    world.runner.tick()
    assert len(world.live()) == 2 * SMALL
    moment = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    for _ in range(10):
        moment += 2
        world.runner.tick()
        world.finish(world.live())
    world.runner.tick()
    assert world.shown(batch_id)["request_counts"]["completed"] == 20


def test_the_keys_caps_hold_and_are_not_exceeded() -> None:
    ring = MemoryRing()
    key = ApiKey(name="a", limits=Limits(max_in_flight=2))
    world = World(ring, key)
    batch_id = world.create([line(i) for i in range(5)])
    most = 0
    for _ in range(20):
        world.runner.tick()
        most = max(most, len(world.live()))
        world.finish(world.live())
        for held in world.runner._held.values():
            held.work._full_until = 0
    assert most == 2
    assert world.shown(batch_id)["request_counts"] == {"total": 5, "completed": 5, "failed": 0}
    assert {job.id for job in world.store.page(None, 100, None).jobs} == set()


@pytest.mark.parametrize("lines", [1, 5, 8])
def test_a_segment_of_more_tokens_than_the_key_may_have_is_cut(lines: int) -> None:
    key = ApiKey(name="a", limits=Limits(max_queued_tokens=5))
    world = World(MemoryRing(), key)
    asked = [*(line(i) for i in range(lines)), "", line(0), "{"]
    batch_id = world.create(asked)
    for _ in range(60):
        world.runner.tick()
        world.finish(world.live())
        for held in world.runner._held.values():
            held.work._full_until = 0
    done = world.shown(batch_id)
    assert done["request_counts"] == {"total": lines + 2, "completed": lines, "failed": 2}
    assert ids(world.rows(done["output_file_id"])) == [f"c{i}" for i in range(lines)]
    found = [row["error"] for row in world.rows(done["error_file_id"])]
    assert [(e["code"], e["line"]) for e in found] == [
        ("duplicate_custom_id", lines + 2),
        ("malformed_json", lines + 3),
    ]


def test_what_has_ended_is_written_while_there_is_no_room_for_more() -> None:
    world = World(MemoryRing(), ApiKey(name="a", limits=Limits(rate_per_minute=2)))
    batch_id = world.create([line(i) for i in range(4)])
    world.runner.tick()
    world.finish(world.live())
    world.runner.tick()
    assert world.shown(batch_id)["request_counts"]["completed"] == 2
    assert ids(world.results(batch_id)) == ["c0", "c1"]
    assert world.store.page(None, 10, None).jobs == []


def test_a_line_that_is_more_than_its_key_may_ever_have_is_a_row_and_the_rest_runs() -> None:
    key = ApiKey(name="a", limits=Limits(max_queued_tokens=40))
    world = World(MemoryRing(), key)
    large = line(1, body={"model": "fake", "prompt": "p", "max_tokens": 500})
    batch_id = world.create([line(0), large, line(2)])
    for _ in range(30):
        world.runner.tick()
        world.finish(world.live())
        for held in world.runner._held.values():
            held.not_before = held.work._full_until = 0
    done = world.shown(batch_id)
    assert done["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    (row,) = world.rows(done["error_file_id"])
    assert (row["custom_id"], row["error"]["code"], row["error"]["line"]) == ("c1", "owner_full", 2)


def test_a_revoked_key_ends_its_batches() -> None:
    ring = MemoryRing()
    world = World(ring, ApiKey(name="a"))
    batch_id = world.create([line(i) for i in range(5)])
    world.runner.tick()
    ring.keys.clear()
    world.runner.tick()
    world.runner.tick()
    assert world.live() == []
    assert world.archive.batches.get(batch_id).status is BatchStatus.CANCELLED


class Dead(BaseException):
    """The process is gone: nothing of ours catches it."""


def test_whoever_takes_over_does_nothing_twice_and_leaves_nothing_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process dies at each of its calls in turn, and another goes on."""
    for after in (False, True):
        died, at = True, 0
        while died:
            at += 1
            with monkeypatch.context() as patch:
                died = run_with_a_death(patch, at, after=after)
        assert at > 12


def run_with_a_death(patch: pytest.MonkeyPatch, at: int, *, after: bool) -> bool:
    """Let it die before or after a call; whether there were so many calls."""
    world = World()
    batch_id = world.create([*(line(i) for i in range(7)), "bad"])
    calls, submitted = 0, []

    def deadly(call: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at and not after:
                raise Dead
            answer = call(*args, **kwargs)
            if calls == at and after:
                raise Dead
            return answer

        return wrapped

    write_job = MemoryStore._write
    patch.setattr(
        MemoryStore,
        "_write",
        lambda self, request: submitted.append(request.inputs) or write_job(self, request),  # type: ignore[func-returns-value]
    )
    batches = type(world.archive.batches)
    files = type(world.archive.files)
    for owner, name in (
        *((batches, "write"), (MemoryStore, "submit_many"), (MemoryStore, "forget")),
        *((files, "add"), (Storage, "_close"), (MemoryStore, "get_many")),
    ):
        patch.setattr(owner, name, deadly(getattr(owner, name)))
    died = False
    for _ in range(40):
        try:
            world.runner.tick()
        except Dead:
            died = True
            claimed = world.archive.batches.get(batch_id)
            world.archive.batches.release(claimed.id, 1)
            world.runner = world.new_runner()
        world.finish(world.live())
        if world.archive.batches.get(batch_id).status.final:
            break
    done = world.shown(batch_id)
    assert done["status"] == "completed", at
    assert done["request_counts"] == {"total": 8, "completed": 7, "failed": 1}
    assert ids(world.rows(done["output_file_id"])) == [f"c{i}" for i in range(7)]
    assert len(world.rows(done["error_file_id"])) == 1
    assert Counter(submitted) == Counter((f"p{i}",) for i in range(7)), at
    return died


def test_a_process_that_was_taken_for_dead_changes_nothing(world: World) -> None:
    batch_id = world.create([line(i) for i in range(4)])
    world.runner.tick()
    world.archive.batches.release(batch_id, 1)
    other = world.new_runner()
    other.tick()
    world.finish(world.live())
    world.runner.tick()  # it finds that another holds it
    assert world.runner._held == {}
    assert world.shown(batch_id)["status"] == "in_progress"
    world.runner = other
    assert world.run(batch_id)["request_counts"] == {"total": 4, "completed": 4, "failed": 0}


def test_a_storage_that_is_away_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = world.create([line(i) for i in range(2)])
    world.runner.tick()
    world.finish(world.live())

    def away(*_: Any) -> Any:
        raise StorageUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "_open", away)
        world.runner.tick()
        assert world.shown(batch_id)["status"] == "in_progress"
    for held in world.runner._held.values():
        held.not_before = 0
    assert world.run(batch_id)["request_counts"]["completed"] == 2


def test_batches_take_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.batches.runner.AT_ONCE", 2)
    large = [world.create([line(i) for i in range(7)]) for _ in range(3)]
    world.runner.tick()
    small = world.create([line(0)])
    moment = time.monotonic()
    for number in range(1, 4):
        monkeypatch.setattr(time, "monotonic", lambda number=number: moment + 10 * number)
        world.runner.tick()
        assert len(world.runner._held) == 2
    assert {world.shown(i)["status"] for i in [*large, small]} == {"in_progress"}
    monkeypatch.undo()
    assert [world.run(i)["request_counts"]["completed"] for i in [*large, small]] == [7, 7, 7, 1]


def test_a_fault_of_ours_ends_the_batch_and_not_the_runner(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.create([line(0)]), world.create([line(1)])
    step = work.Work.step

    def faulty(self: work.Work) -> bool:
        if self.batch.id == first:
            raise ZeroDivisionError
        return step(self)

    monkeypatch.setattr(work.Work, "step", faulty)
    assert world.run(second)["status"] == "completed"
    for _ in range(5):
        world.runner.tick()
    done = world.shown(first)
    assert (done["status"], done["errors"]["data"][0]["code"]) == ("failed", "internal_error")


def test_files_whose_time_is_over_are_deleted(world: World) -> None:
    file = world.archive.files.get(world.upload("{}"))
    world.archive.files.add(file.model_copy(update={"expires_at": 1}))
    world.runner.tick()
    assert world.archive.files.expired(10) == []
    with pytest.raises(Exception, match="content is gone"):
        list(world.archive.storage.read(file.parts[0]))
