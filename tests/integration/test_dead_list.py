"""What ends on the dead list, on a real Redis, and what can be done with it."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from typer.testing import CliRunner, Result

from distilq import keys
from distilq.claims import Claims
from distilq.cli.app import app
from distilq.dead import DeadList
from distilq.errors import NotOnDeadList, NotRequeueable, StoreUnavailable
from distilq.jobs import JobStatus
from distilq.owner import Owner
from distilq.store import JobStore
from distilq.testing import FAKE_WORKER
from tests.integration.poison import poison

MODEL = "bundled"


@pytest.fixture
def dead(store: JobStore) -> DeadList:
    return DeadList(store)


def test_a_poisoned_job_is_there_with_its_history_and_runs_again_under_a_new_id(
    store: JobStore, dead: DeadList
) -> None:
    anna = Owner("anna")
    job_id = poison(store, anna)
    [entry] = dead.entries()
    assert (entry.id, entry.reason, entry.owner) == (job_id, "poisoned", "anna")
    assert [death["worker"] for death in entry.history] == [f"w{n}-{job_id}" for n in range(5)]
    assert job_id in entry.message

    again = dead.requeue(job_id)
    assert again.id != job_id
    assert again.parameters == store.get(job_id).parameters
    assert again.queue.priority.value == "bulk"
    assert store.get(job_id).status is JobStatus.FAILED
    assert store.owned_by(anna).get(again.id).status is JobStatus.QUEUED
    assert len(dead) == 0


def test_the_request_is_kept_when_the_job_itself_has_expired(
    store: JobStore, dead: DeadList
) -> None:
    job_id = poison(store, Owner())
    store.delete(job_id)
    assert dead.requeue(job_id).status is JobStatus.QUEUED


def test_messages_that_nobody_can_read_are_shown_and_dropped(
    store: JobStore, dead: DeadList
) -> None:
    stranger = '{"headers": {"id": "0123"}, "body": "gASVKgAAAAAAAACMBXBvc2l4"}'
    for message in (b"\xff{", stranger, stranger):
        store.redis.lpush(keys.queue(MODEL, "normal"), message)
    assert Claims(store.redis, MODEL, "w").take(8) == []
    assert {entry.reason for entry in dead.entries()} == {"unreadable", "unknown"}
    assert stranger in [entry.message for entry in dead.entries()]
    for entry in dead.entries():
        with pytest.raises(NotRequeueable):
            dead.requeue(entry.id)
        dead.drop(entry.id)
    assert dead.entries() == []


def test_those_that_died_in_the_same_moment_are_paged_through_too(
    store: JobStore, dead: DeadList
) -> None:
    for number in range(5):
        store.redis.lpush(keys.queue(MODEL, "normal"), f"{{{number}")
    assert Claims(store.redis, MODEL, "w").take(8) == []
    assert len({entry.died_at for entry in dead.entries()}) == 1
    seen, cursor = [], None
    for _ in range(3):
        page = dead.page(2, cursor)
        seen += [entry.id for entry in page.entries]
        cursor = page.next
    assert (seen, cursor) == ([entry.id for entry in dead.entries()], None)
    assert not any(entry.requeueable for entry in dead.page(9, None).entries)


def test_what_is_requeued_again_before_it_was_dropped_is_one_job(
    store: JobStore, dead: DeadList, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = poison(store, Owner("anna"))

    def away(_: str) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(dead, "drop", away)
        with pytest.raises(StoreUnavailable):
            dead.requeue(job_id)
    [first] = store.page(JobStatus.QUEUED, 9, None).jobs
    assert dead.requeue(job_id).id == first.id
    assert [job.id for job in store.page(JobStatus.QUEUED, 9, None).jobs] == [first.id]
    assert len(dead) == 0


def test_a_request_of_another_version_is_shown_and_not_run(store: JobStore, dead: DeadList) -> None:
    job_id = poison(store, Owner())
    strange = '{"inputs": "a", "tone": "grim", "webhook": {"url": "https://hooks.example.com/s"}}'
    store.redis.hset(keys.dead_entry(MODEL, job_id), "request", strange)
    [entry] = dead.page(9, None, with_texts=True).entries
    assert entry.request == {"inputs": "a", "tone": "grim"}
    with pytest.raises(NotRequeueable, match="cannot be read"):
        dead.requeue(job_id)
    assert len(dead) == 1


def test_what_is_not_there_is_said(dead: DeadList) -> None:
    for call in (dead.get, dead.drop, dead.requeue):
        with pytest.raises(NotOnDeadList):
            call("0" * 32)


def run(*arguments: str, redis_url: str, model: str | None = MODEL) -> Result:
    env = {"DISTILQ_REDIS_URL": redis_url, "DISTILQ_MODEL": model}
    return CliRunner().invoke(app, ["dead", *arguments], env=env)


def test_the_command_line_lists_shows_requeues_and_drops(store: JobStore, redis_url: str) -> None:
    first, second = poison(store, Owner("anna")), poison(store, Owner())
    listed = run("list", redis_url=redis_url).stdout
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [second, first]
    objects = map(json.loads, run("list", "--json", redis_url=redis_url).stdout.splitlines())
    assert [each["id"] for each in objects] == [second, first]
    shown = json.loads(run("show", first, redis_url=redis_url).stdout)
    assert (shown["reason"], len(shown["history"]), shown["owner"]) == ("poisoned", 5, "anna")
    again = run("requeue", first, redis_url=redis_url).stdout.strip()
    assert store.get(again).status is JobStatus.QUEUED
    assert run("drop", second, redis_url=redis_url).exit_code == 0
    assert len(run("list", redis_url=redis_url).stdout.splitlines()) == 1


def test_the_command_line_asks_for_a_model_where_no_worker_names_it(
    store: JobStore, redis_url: str
) -> None:
    said = run("list", redis_url=redis_url, model=None)
    assert (said.exit_code, said.stderr) == (
        1,
        "distilq: no worker is alive: name the model with --model\n",
    )
    now = datetime.now(timezone.utc)
    state = FAKE_WORKER.model_copy(update={"model": MODEL, "seen_at": now})
    Claims(store.redis, MODEL, "w").beat(state)
    assert run("list", redis_url=redis_url, model=None).exit_code == 0


def test_the_command_line_says_what_is_not_there_in_one_line(
    store: JobStore, redis_url: str
) -> None:
    for command in ("show", "requeue", "drop"):
        said = run(command, "0" * 32, redis_url=redis_url)
        assert (said.exit_code, said.stderr.count("\n")) == (1, 1)
        assert "is not on the dead list" in said.stderr
