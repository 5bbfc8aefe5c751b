"""`distilq doctor` over an API in memory; its look at Redis is in tests/integration."""

from __future__ import annotations

import json
import subprocess
from collections import namedtuple
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from distilq import errors as e
from distilq.access import ApiKey
from distilq.cli import checks_machine
from distilq.jobs import JobRequest, Priority
from distilq.testing import FAKE_WORKER, MemoryRing, MemoryStore
from tests.unit.cli_runner import Command
from tests.unit.client_twins import Faulty, answers, api, no_pauses, refused

GIGABYTE = 10**9


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.alive = [FAKE_WORKER.model_copy(update={"seen_at": datetime.now(timezone.utc)})]
    return store


@pytest.fixture
def distilq(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> Command:
    return Command(monkeypatch, api(store))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Redis of a `distilq up`, and a model that is there; clients do not pause."""
    no_pauses(monkeypatch)
    monkeypatch.chdir(tmp_path)
    found = {"model": "bundled", "source": "x", "precision": "float32", "device": "cpu"}
    done: Any = subprocess.CompletedProcess([], 0, json.dumps(found), "")
    monkeypatch.setattr("distilq.cli.checks_machine.subprocess.run", lambda *_, **__: done)


def found(distilq: Command, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status, and of each name the worst that was found."""
    said = distilq("doctor", "--json", *options)
    checks = [json.loads(line) for line in said.stdout.splitlines()]
    checks.sort(key=lambda check: ["ok", "skip", "warn", "fail"].index(check["state"]))
    return said.exit_code, {check["name"]: check for check in checks}


def test_all_is_well(distilq: Command) -> None:
    said = distilq("doctor")
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    states = {line.split()[1]: line.split()[0] for line in lines}
    named = ["service", "key", "worker", "queue", "redis", "python", "packages", "model", "disk"]
    assert states == {name: "skip" if name == "redis" else "ok" for name in named}
    assert "name it with --data-dir, or a Redis with --redis-url" in said.stdout
    assert "worker-1 on localhost: fake, float32 on cpu; last heard of 0 s ago" in said.stdout
    assert "\x1b" not in said.stdout


def test_a_service_that_is_away_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    distilq = Command(monkeypatch, Faulty(api(MemoryStore()), *[refused] * 9))
    code, checks = found(distilq)
    assert code == 1
    assert checks["service"]["state"] == "fail"
    assert "distilq up" in checks["service"]["advice"]
    assert checks["python"]["state"] == "ok"


def test_a_redis_that_is_away_fails(distilq: Command, store: MemoryStore) -> None:
    store.down = True
    code, checks = found(distilq)
    assert code == 1
    assert "Redis cannot be reached" in checks["service"]["said"]


def test_another_version_is_a_warning(monkeypatch: pytest.MonkeyPatch, distilq: Command) -> None:
    monkeypatch.setattr("api.status.version", lambda: "9.9")
    code, checks = found(distilq)
    assert code == 0
    assert checks["service"]["state"] == "warn"
    assert "9.9" in checks["service"]["said"]


def test_a_key_that_is_refused_fails(monkeypatch: pytest.MonkeyPatch, store: MemoryStore) -> None:
    ring = MemoryRing()
    key = ring.create(ApiKey(id="one", name="one"))
    distilq = Command(monkeypatch, api(store, ring))
    code, checks = found(distilq, "--api-key", "dq_one_wrong")
    assert (code, checks["key"]["state"]) == (1, "fail")
    code, checks = found(distilq, "--api-key", key)
    assert (code, checks["key"]["said"]) == (0, "accepted")


def test_no_worker_fails_and_a_silent_one_warns(distilq: Command, store: MemoryStore) -> None:
    late = datetime.now(timezone.utc) - timedelta(seconds=30)
    store.alive = [FAKE_WORKER.model_copy(update={"seen_at": late})]
    code, checks = found(distilq)
    assert (code, checks["worker"]["state"]) == (0, "warn")
    assert "30 s ago" in checks["worker"]["said"]
    store.alive = []
    store.submit(JobRequest(inputs="a"))
    code, checks = found(distilq)
    assert (code, checks["workers"]["state"], checks["queue"]["state"]) == (1, "fail", "fail")


def test_where_all_workers_are_drained_it_fails(distilq: Command, store: MemoryStore) -> None:
    store.drain_worker(FAKE_WORKER.id)
    store.submit(JobRequest(inputs="a"))
    code, checks = found(distilq)
    assert (code, checks["workers"]["said"]) == (1, "all are drained: jobs wait")
    assert checks["worker"]["said"].endswith("it takes no more jobs")
    assert checks["queue"]["state"] == "fail"


def test_a_queue_that_is_paused_or_nearly_full_warns(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore
) -> None:
    store.pause(Priority.BULK)
    _, checks = found(Command(monkeypatch, api(store)))
    assert "no worker takes bulk jobs" in checks["queue"]["said"]
    store.resume(Priority.BULK)
    for _ in range(10):
        store.submit(JobRequest(inputs="a"))
    code, checks = found(Command(monkeypatch, api(store, max_queued_jobs=10)))
    assert (code, checks["queue"]["state"]) == (0, "warn")


def test_a_library_that_distilq_does_not_work_with_fails(
    monkeypatch: pytest.MonkeyPatch, distilq: Command
) -> None:
    monkeypatch.setattr(checks_machine, "_installed", lambda name: "1.0")
    code, checks = found(distilq)
    assert (code, checks["packages"]["state"]) == (1, "fail")
    assert "celery 5.7.0" in checks["packages"]["advice"]


def test_a_client_alone_needs_no_server(monkeypatch: pytest.MonkeyPatch, distilq: Command) -> None:
    monkeypatch.setattr(checks_machine, "_installed", lambda name: None)
    code, checks = found(distilq)
    assert code == 0
    assert (checks["packages"]["state"], checks["model"]["state"]) == ("ok", "skip")


def test_a_model_that_is_not_there_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, distilq: Command
) -> None:
    done: Any = subprocess.CompletedProcess([], 2, "", "distilq: it is not in the local cache\n")
    monkeypatch.setattr("distilq.cli.checks_machine.subprocess.run", lambda *_, **__: done)
    code, checks = found(distilq)
    assert (code, checks["model"]["state"]) == (0, "warn")
    assert checks["model"]["said"] == "it is not in the local cache"


@pytest.mark.parametrize(
    ("free", "state", "code"), [(5e7, "fail", 1), (5e8, "warn", 0), (5e9, "ok", 0)]
)
def test_a_disk_that_fills_up_is_told_of(
    monkeypatch: pytest.MonkeyPatch, distilq: Command, free: float, state: str, code: int
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("distilq.cli.checks_machine.shutil.disk_usage", lambda _: usage(free))
    status, checks = found(distilq)
    assert (status, checks["disk"]["state"]) == (code, state)


def test_an_answer_of_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    page = answers(200, text="<html>It works!</html>")
    code, checks = found(Command(monkeypatch, Faulty(api(MemoryStore()), page)))
    assert code == 1
    assert e.DistilqError.title not in checks["service"]["said"]
    assert "It works!" in checks["service"]["said"]
