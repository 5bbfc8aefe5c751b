"""`distilq workers` over an API in memory."""

from __future__ import annotations

import json

import pytest

from distilq.testing import FAKE_WORKER, MemoryStore
from tests.unit.cli_runner import Command
from tests.unit.client_twins import api


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.alive = [FAKE_WORKER, FAKE_WORKER.model_copy(update={"id": "worker-2"})]
    return store


@pytest.fixture
def distilq(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> Command:
    return Command(monkeypatch, api(store))


def test_a_worker_is_drained_and_resumed(distilq: Command, store: MemoryStore) -> None:
    said = distilq("workers", "drain", "worker-2")
    assert (said.exit_code, said.stdout.split()[0]) == (0, "worker-2")
    assert [worker.draining for worker in store.alive] == [False, True]
    rows = [line.split() for line in distilq("workers", "list").stdout.splitlines()]
    assert [(row[0], row[4]) for row in rows[1:]] == [("worker-1", "yes"), ("worker-2", "no")]
    told = json.loads(distilq("workers", "resume", "worker-2", "--json").stdout)
    assert (told["id"], told["draining"]) == ("worker-2", False)


def test_one_that_is_not_alive_is_said_in_one_line(distilq: Command) -> None:
    said = distilq("workers", "drain", "worker-3")
    assert said.exit_code != 0
    assert said.stderr.count("\n") == 1
    assert "No worker that is alive has this id" in said.stderr
