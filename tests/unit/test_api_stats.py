"""GET /v1/stats and /v1/stats/events, over a store in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import live
from api.live import Live, Shared
from distilq.access import ApiKey
from distilq.jobs import JobRequest, Priority
from distilq.stats import STEP_S
from distilq.testing import FAKE_WORKER, Clock, MemoryRing, MemoryStore
from tests.unit.api_client import make_client
from tests.unit.test_api_events import parsed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FRESH_S", 0.0)


def looks(client: FlaskClient, *deeds: Callable[[], object]) -> None:
    """Let a viewer look once, and then after each deed; it leaves after the last."""
    left = iter([None, *deeds])

    def gone() -> bool:
        deed = next(left, False)
        if callable(deed):
            deed()
        return deed is False

    client.application.extensions["distilq.stopping"] = gone


def told(client: FlaskClient, **sent: str) -> list[tuple[str, Any]]:
    response = client.get("/v1/stats/events", headers=sent)
    assert response.mimetype == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    return [(name, data) for name, _, data in parsed(response.text)]


def test_the_last_hour_is_points_and_quantiles(store: MemoryStore, clock: Clock) -> None:
    client = make_client(store)
    empty = client.get("/v1/stats").get_json()
    assert (empty["step_s"], empty["points"]) == (STEP_S, [])
    assert empty["latency"]["queue_time"] == {"p50": None, "p95": None, "p99": None, "count": 0}
    store.sample()
    clock.advance(STEP_S)
    store.finish(store.submit(JobRequest(inputs="a")).id)
    store.submit(JobRequest(inputs="a", priority=Priority.BULK))
    store.alive.append(FAKE_WORKER.model_copy(update={"rows": 3}))
    store.sample()
    early, late = client.get("/v1/stats").get_json()["points"]
    assert (early["jobs_per_s"], early["workers"]) == (None, 0)
    assert late["at"] == "2024-01-01T00:00:10Z"
    assert late["queued"] == {"interactive": 0, "normal": 0, "bulk": 1}
    assert late["oldest_age_s"] == {"interactive": None, "normal": None, "bulk": 0}
    assert (late["workers"], late["rows"], late["running"]) == (1, 3, 0)
    assert (late["jobs_per_s"], late["tokens_per_s"], late["failed_per_s"]) == (0.1, 0.2, 0)


def test_a_viewer_is_told_the_last_hour_and_then_what_changes(store: MemoryStore) -> None:
    client = make_client(store)
    store.sample()
    looks(client, lambda: store.submit(JobRequest(inputs="a")), store.sample)
    (first, history), *rest = told(client)
    assert first == "history"
    assert len(history["points"]) == 1
    assert [name for name, _ in rest] == ["snapshot"] * 3
    assert [data["queue"]["queued"] for _, data in rest] == [0, 1, 1]
    assert [data["point"]["queued"]["normal"] for _, data in rest] == [0, 0, 1]
    assert all(data["workers"] == [] for _, data in rest), "without workers the queue still comes"


def test_a_heartbeat_is_no_change(store: MemoryStore, clock: Clock) -> None:
    client = make_client(store)
    store.alive = [FAKE_WORKER]

    def beat() -> None:
        store.alive = [FAKE_WORKER.model_copy(update={"seen_at": clock(), "host": "localhost"})]

    looks(client, beat, beat)
    assert [name for name, _ in told(client)] == ["history", "snapshot"]


def test_what_does_not_change_is_told_again_after_a_while(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(store)
    monkeypatch.setattr(live, "QUIET_S", 0.0)
    looks(client, lambda: None, lambda: None)
    assert [name for name, _ in told(client)] == ["history", *["snapshot"] * 3]


def test_how_many_jobs_are_dead_is_for_admins(store: MemoryStore) -> None:
    ring = MemoryRing()
    client = make_client(store, ring)
    for scopes, dead in ((("jobs",), None), (("jobs", "admin"), 0)):
        token = ring.create(ApiKey.model_validate({"name": "a", "scopes": scopes}))
        looks(client)
        [_, (name, data)] = told(client, Authorization=f"Bearer {token}")
        assert (name, data["dead"]) == ("snapshot", dead)


def test_who_watches_with_a_key_is_let_go_when_it_is_revoked(store: MemoryStore) -> None:
    ring = MemoryRing()
    client = make_client(store, ring)
    token = ring.create(ApiKey(name="a"))
    looks(
        client,
        lambda: setattr(ring, "down", True),
        lambda: setattr(ring, "down", False),
        ring.keys.clear,
        lambda: store.submit(JobRequest(inputs="a")),
    )
    assert len(told(client, Authorization=f"Bearer {token}")) == 2
    assert store.queue().queued == 0, "it was let go before"


def test_while_redis_is_away_viewers_are_told_so_once_and_stay(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_client(store)
    looks(
        client,
        lambda: setattr(store, "down", True),
        lambda: None,
        lambda: setattr(store, "down", False),
    )
    events = told(client)
    assert [name for name, _ in events] == ["history", "snapshot", "problem", "snapshot"]
    assert events[2][1]["type"] == "urn:distilq:problem:store_unavailable"
    assert "detail" not in events[2][1], "where Redis is, is for the log alone"
    assert caplog.text.count("the fake is down") == 1


@pytest.mark.parametrize("path", ["/v1/stats", "/v1/stats/events"])
def test_without_redis_there_is_nothing_to_begin_with(store: MemoryStore, path: str) -> None:
    store.down = True
    response = make_client(store).get(path)
    assert response.status_code == 503
    assert "the fake is down" not in response.text


def test_viewers_are_among_those_who_wait(store: MemoryStore) -> None:
    client = make_client(store, api_threads=1)
    looks(client)
    watching = client.get("/v1/stats/events", buffered=False)
    refused = client.get("/v1/stats/events")
    assert refused.get_json()["type"] == "urn:distilq:problem:too_many_waiting"
    watching.close()
    assert client.head("/v1/stats/events").status_code == 200
    looks(client)
    assert told(client)


def test_who_asks_while_it_is_made_shares_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FRESH_S", 60.0)
    asked = threading.Barrier(8)
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    shared = Shared(make)

    def ask(_: int) -> int:
        asked.wait(10)
        return shared()

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(ask, range(8))] == [1] * 8


def test_all_viewers_of_a_process_cost_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    class Counting(MemoryStore):
        def stats(self) -> Any:
            looked.append("stats")
            return super().stats()

        def snapshot(self) -> Any:
            looked.append("snapshot")
            return super().snapshot()

    monkeypatch.setattr(live, "FRESH_S", 60.0)
    shown = Live(Counting())
    viewers = [shown.watch(lambda: False, as_admin=False) for _ in range(20)]
    for viewer in viewers:
        assert [next(viewer)[:14], next(viewer)[:15]] == ["event: history", "event: snapshot"]
    assert looked == ["stats", "snapshot"]
