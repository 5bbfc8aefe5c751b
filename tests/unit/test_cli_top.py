"""`distilq top` over an API in memory."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from distilq.cli.top import Rates, frame
from distilq.jobs import JobRequest, Priority
from distilq.testing import FAKE_WORKER, MemoryStore
from tests.unit.cli_runner import Command
from tests.unit.client_twins import api


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.alive = [FAKE_WORKER]
    for priority in Priority:
        store.submit(JobRequest(inputs="a", priority=priority))
    return store


def later(seconds: float, **changes: object) -> object:
    seen = FAKE_WORKER.seen_at + timedelta(seconds=seconds)
    return FAKE_WORKER.model_copy(update={"seen_at": seen, **changes})


@pytest.fixture
def distilq(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> Command:
    """Between two looks the worker has made 300 tokens in two seconds."""

    def beat(_: float) -> None:
        store.alive = [later(2, generated_tokens=300, rows=4, kv_tokens=512)]  # type: ignore[list-item]

    monkeypatch.setattr("distilq.cli.top.time.sleep", beat)
    return Command(monkeypatch, api(store))


@pytest.mark.parametrize("options", [[], ["--once"]])
def test_a_pipe_gets_one_frame(distilq: Command, options: list[str]) -> None:
    said = distilq("top", *options)
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    assert lines[0] == "fake: 3 queued, 0 running, 0.0 jobs/s"
    assert lines[2].split() == ["priority", "jobs", "tokens", "oldest"]
    assert [line.split()[:2] for line in lines[3:6]] == [
        *(["interactive", "1"], ["normal", "1"], ["bulk", "1"]),
    ]
    assert lines[8].split()[:6] == ["worker-1", "4/8", "0", "50%", "150", "300"]
    assert len(lines) == 9


def test_json_is_one_object(distilq: Command) -> None:
    (line,) = distilq("top", "--json").stdout.splitlines()
    told = json.loads(line)
    assert told["queue"]["queued"] == 3
    assert told["workers"][0]["tokens_per_s"] == 150.0


def test_what_is_paused_and_who_is_missing_is_shown(distilq: Command, store: MemoryStore) -> None:
    store.pause(Priority.BULK)
    store.alive = []
    lines = distilq("top").stdout.splitlines()
    assert lines[5].split()[-1] == "paused"
    assert lines[-1] == "no worker is alive"


def test_who_is_drained_is_shown(store: MemoryStore) -> None:
    drained = store.drain_worker(FAKE_WORKER.id)
    assert frame(store.queue(), [drained], Rates()).endswith("on cpu, drained")


def test_rates_are_of_one_life_of_a_worker(store: MemoryStore) -> None:
    rates = Rates()
    for worker, rate in [
        (FAKE_WORKER, None),
        (later(1, generated_tokens=50), 50.0),
        (later(1, generated_tokens=50), 50.0),  # the same heartbeat again
        (later(2, generated_tokens=50), 0.0),
        (later(9, generated_tokens=7, started_at=FAKE_WORKER.seen_at + timedelta(days=1)), 0.0),
    ]:
        rates.see([worker])  # type: ignore[list-item]
        assert rates.of(FAKE_WORKER) == rate
    assert "  -  " in frame(store.queue(), [FAKE_WORKER], Rates())
