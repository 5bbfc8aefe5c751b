"""A real Celery worker process over a real Redis; the model only sleeps, so these are quick."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu.pools
import psutil
import pytest

from distilq import keys, queue
from distilq.celery_app import make_celery
from distilq.dead import DeadList
from distilq.jobs import TASK_NAME, Job, JobRequest, JobStatus
from distilq.settings import Settings
from distilq.store import JobStore
from distilq.sweeper import MAX_DEATHS, Sweeper
from tests.chaos.proxy import Proxy
from worker.simulated import CRASH

MODEL = "simulated:step_ms=5"
ROOT = Path(__file__).parents[2]

StartWorker = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
def _no_connection_of_an_earlier_test() -> Iterator[None]:
    """Some tests kill connections, those that kombu keeps in this process among them."""
    yield
    kombu.pools.reset()


@pytest.fixture
def worker_settings(redis_client: Any, settings: Callable[..., Settings]) -> Settings:
    return settings(model=MODEL, drain_s=5)


@pytest.fixture
def store(redis_client: Any, worker_settings: Settings) -> Iterator[JobStore]:
    store = JobStore(redis_client, worker_settings)
    yield store
    store.close()


@pytest.fixture
def start_worker(worker_settings: Settings, tmp_path: Path) -> Iterator[StartWorker]:
    processes: list[subprocess.Popen[bytes]] = []
    log = (tmp_path / "worker.log").open("wb")

    def start(**changes: Any) -> subprocess.Popen[bytes]:
        chosen = worker_settings.model_copy(update=changes)
        env = {f"DISTILQ_{name.upper()}": str(value) for name, value in chosen}
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
        name = f"w{len(processes)}@%h"
        process = subprocess.Popen(
            [*command, "-n", name, "--loglevel", "INFO", "--without-mingle"],
            cwd=ROOT,
            env=os.environ | env,
            stdout=log,
            stderr=log,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
    log.close()
    print((tmp_path / "worker.log").read_text())  # shown with a failed test


def request(text: str = "Once upon a time,", **fields: Any) -> JobRequest:
    return JobRequest.model_validate_json(json.dumps({"inputs": text, **fields}))


def tokens(count: int, **fields: Any) -> JobRequest:
    return request(parameters={"max_new_tokens": count}, **fields)


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def wait_for_state(store: JobStore, job: Job, status: JobStatus, timeout_s: float = 30) -> Job:
    until(lambda: store.get(job.id).status is status, timeout_s)
    return store.get(job.id)


def test_many_jobs_share_the_batch_and_all_succeed(
    store: JobStore, start_worker: StartWorker
) -> None:
    ids = store.submit_many([tokens(20 + n % 30) for n in range(60)])
    start_worker()
    for job_id in ids:
        assert store.wait(job_id, 30).status is JobStatus.SUCCEEDED
    until(lambda: store.workers()[0].generated_tokens > 0)
    [state] = store.workers()
    assert state.rows_per_step > 8
    assert store.queue().running == 0


def test_a_job_that_arrives_joins_the_running_batch(
    store: JobStore, start_worker: StartWorker
) -> None:
    start_worker()
    long = store.submit(tokens(1000))
    wait_for_state(store, long, JobStatus.RUNNING)
    short = store.wait(store.submit(tokens(5)).id, 30)
    assert short.status is JobStatus.SUCCEEDED
    assert store.get(long.id).status is JobStatus.RUNNING
    assert short.metrics.batch_size is not None
    assert short.metrics.batch_size > 1


def test_an_interactive_job_does_not_wait_for_bulk_rows_that_fill_the_worker(
    store: JobStore, start_worker: StartWorker
) -> None:
    start_worker(max_rows=4)
    bulk = store.submit_many([tokens(1000, priority="bulk", timeout_s=600) for _ in range(8)])
    until(lambda: sum(state.rows for state in store.workers()) == 4)
    urgent = store.wait(store.submit(tokens(5, priority="interactive")).id, 30)
    assert urgent.status is JobStatus.SUCCEEDED
    assert all(not store.get(job_id).status.final for job_id in bulk)
    until(lambda: sum(state.paused for state in store.workers()) > 0)
    for job_id in bulk:
        store.cancel(job_id)


def test_nothing_stays_in_flight_after_a_hundred_lost_connections(
    store: JobStore, start_worker: StartWorker, worker_settings: Settings, redis_client: Any
) -> None:
    start_worker()
    ids: list[str] = []
    for _ in range(100):
        ids += store.submit_many([tokens(20) for _ in range(3)])
        mine = redis_client.client_id()
        for client in redis_client.client_list(_type="normal"):
            if int(client["id"]) != mine:
                redis_client.client_kill_filter(_id=client["id"])
        time.sleep(0.05)
    for job_id in ids:
        assert store.wait(job_id, 60).status is JobStatus.SUCCEEDED
    with make_celery(worker_settings) as celery:
        asked = celery.control.inspect(timeout=5, limit=1)
        until(lambda: [*(asked.active() or {"": [0]}).values()] == [[]])
        until(lambda: [*(asked.reserved() or {"": [0]}).values()] == [[]])
    assert store.queue().running == store.queue().queued == 0
    assert max(store.get(job_id).attempt for job_id in ids) == 1


def test_a_worker_has_as_many_threads_under_two_hundred_jobs_as_under_one(
    store: JobStore, start_worker: StartWorker
) -> None:
    worker = psutil.Process(start_worker(max_rows=256, max_batch_tokens=2**18).pid)
    ids = store.submit_many([tokens(1000)])
    until(lambda: sum(state.rows for state in store.workers()) == 1)  # the watchdog's is there too
    threads = worker.num_threads()
    ids += store.submit_many([tokens(1000) for _ in range(199)])
    until(lambda: sum(state.rows for state in store.workers()) == 200)
    assert worker.num_threads() == threads
    for job_id in ids:
        store.cancel(job_id)


def test_a_running_job_stops_when_it_is_canceled_and_its_neighbour_goes_on(
    store: JobStore, start_worker: StartWorker
) -> None:
    start_worker()
    canceled, neighbour = store.submit(tokens(1000)), store.submit(tokens(100))
    wait_for_state(store, canceled, JobStatus.RUNNING)
    assert store.cancel(canceled.id).status in (JobStatus.CANCELING, JobStatus.CANCELED)
    wait_for_state(store, canceled, JobStatus.CANCELED)
    assert store.wait(neighbour.id, 30).status is JobStatus.SUCCEEDED


def test_celery_itself_sees_the_job_and_can_revoke_it(
    store: JobStore, start_worker: StartWorker, worker_settings: Settings
) -> None:
    start_worker()
    job = store.submit(tokens(1000))
    wait_for_state(store, job, JobStatus.RUNNING)
    with make_celery(worker_settings) as celery:
        [active] = celery.control.inspect(timeout=5, limit=1).active().values()
        assert [task["id"] for task in active] == [job.id]
        assert celery.AsyncResult(job.id).state == "STARTED"
        celery.control.revoke(job.id, terminate=True)
        wait_for_state(store, job, JobStatus.CANCELED)
        assert celery.AsyncResult(job.id).state == "REVOKED"
        done = store.submit(tokens(3))
        texts = celery.AsyncResult(done.id).get(timeout=30)
        assert texts[0][0]["generated_tokens"] == 3


def test_a_job_revoked_by_celery_before_it_is_claimed_ends_canceled(
    store: JobStore, start_worker: StartWorker, worker_settings: Settings, redis_client: Any
) -> None:
    start_worker()
    until(lambda: len(store.workers()) == 1)
    job = store.submit(tokens(1000))
    wait_for_state(store, job, JobStatus.RUNNING)
    with make_celery(worker_settings) as celery:
        celery.control.revoke(job.id)  # marks the id in the worker; what runs goes on
        celery.control.ping(timeout=1, limit=1)
    redis_client.hincrby(keys.job(job.id), "fence", 1)  # the worker loses it,
    redis_client.zadd(keys.leases(MODEL), {job.id: 1})  # and it is claimed again
    wait_for_state(store, job, JobStatus.CANCELED, timeout_s=40)
    assert store.queue().running == 0


def test_jobs_of_a_queue_that_is_no_longer_consumed_stay_queued(
    store: JobStore, start_worker: StartWorker, worker_settings: Settings
) -> None:
    start_worker()
    with make_celery(worker_settings) as celery:
        # Its first heartbeat comes before it listens to Celery.
        until(lambda: bool(celery.control.ping(timeout=1, limit=1)))
        bulk = queue.queues(MODEL)["bulk"]
        assert len(celery.control.cancel_consumer(bulk, reply=True, timeout=5, limit=1)) == 1
        job = store.submit(tokens(3, priority="bulk"))
        assert store.wait(store.submit(tokens(3)).id, 30).status is JobStatus.SUCCEEDED
        assert store.get(job.id).status is JobStatus.QUEUED
        celery.control.add_consumer(bulk, reply=True, timeout=5, limit=1)
        assert store.wait(job.id, 30).status is JobStatus.SUCCEEDED


def test_a_job_whose_request_or_message_is_broken_ends_and_its_neighbours_succeed(
    store: JobStore, start_worker: StartWorker, redis_client: Any
) -> None:
    jobs = [store.submit(tokens(3)) for _ in range(4)]
    redis_client.hset(keys.job(jobs[0].id), "request", "{}")
    message = json.dumps({"headers": {"id": jobs[1].id}})
    redis_client.lset(queue.queues(MODEL)["normal"], -2, message)
    start_worker()
    for job in jobs[2:]:
        assert store.wait(job.id, 10).status is JobStatus.SUCCEEDED
    assert redis_client.hget(keys.job(jobs[0].id), "status") == b"failed"
    assert store.wait(jobs[1].id, 50).status is JobStatus.SUCCEEDED  # with a whole message


def test_what_celery_keeps_to_itself_is_handed_back_when_its_connection_is_lost(
    store: JobStore, start_worker: StartWorker, worker_settings: Settings, redis_client: Any
) -> None:
    start_worker()
    with make_celery(worker_settings) as celery:
        until(lambda: bool(celery.control.ping(timeout=1, limit=1)))
        celery.control.rate_limit(TASK_NAME, "1/h", reply=True, timeout=5, limit=1)
        jobs = [store.submit(tokens(3)) for _ in range(5)]
        until(lambda: store.queue().queued == 0)
        celery.control.rate_limit(TASK_NAME, "0", reply=True, timeout=5, limit=1)
        for client in redis_client.client_list():
            if client["cmd"] == "brpop":
                redis_client.client_kill(client["addr"])
        for job in jobs:
            assert store.wait(job.id, 40).status is JobStatus.SUCCEEDED


def test_a_worker_told_to_stop_at_once_cancels_nothing(
    store: JobStore, start_worker: StartWorker
) -> None:
    process = start_worker(drain_s=300)
    jobs = [store.submit(tokens(1000)) for _ in range(3)]
    for job in jobs:
        wait_for_state(store, job, JobStatus.RUNNING)
    process.send_signal(signal.SIGQUIT)
    process.wait(timeout=30)
    for job in jobs:
        assert store.get(job.id).status is JobStatus.QUEUED
    start_worker()
    for job in jobs:
        assert store.wait(job.id, 30).status is JobStatus.SUCCEEDED


def test_a_worker_outlives_a_redis_that_refuses_to_write(
    store: JobStore, start_worker: StartWorker, redis_client: Any, tmp_path: Path
) -> None:
    process = start_worker()
    until(lambda: len(store.workers()) == 1)
    redis_client.config_set("min-replicas-to-write", 1)  # the cheapest way to have it refuse
    try:
        time.sleep(5)
    finally:
        redis_client.config_set("min-replicas-to-write", 0)
    assert store.wait(store.submit(tokens(3)).id, 30).status is JobStatus.SUCCEEDED
    assert process.poll() is None


def test_a_worker_whose_engine_stands_still_ends_and_another_does_its_jobs(
    redis_client: Any, settings: Callable[..., Settings], tmp_path: Path, start_worker: StartWorker
) -> None:
    model = f"simulated:step_ms=5,faults={tmp_path}"
    store = JobStore(redis_client, settings(model=model))
    frozen = start_worker(model=model)
    job = store.submit(tokens(1000))
    wait_for_state(store, job, JobStatus.RUNNING)
    (tmp_path / "freeze").touch()
    assert frozen.wait(timeout=40) == 70
    log = (tmp_path / "worker.log").read_text()
    assert "the engine has not moved for 10 s" in log
    assert "simulated.py" in log  # where it stands still
    start_worker(model=model)
    done = store.wait(job.id, 60)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2)
    store.close()


def test_a_job_that_kills_every_worker_ends_on_the_dead_list_and_others_succeed(
    redis_client: Any, settings: Callable[..., Settings], tmp_path: Path, start_worker: StartWorker
) -> None:
    model = f"simulated:step_ms=5,faults={tmp_path}"
    store = JobStore(redis_client, settings(model=model))
    killer, bystander = store.submit(request(CRASH)), store.submit(tokens(3))
    worker = start_worker(model=model)
    for _ in range(MAX_DEATHS - 1):
        worker.wait(timeout=30)
        redis_client.zadd(keys.leases(model), dict.fromkeys([killer.id, bystander.id], 1), xx=True)
        Sweeper(redis_client, model).sweep()
        redis_client.delete(keys.sweeper(model))
        worker = start_worker(model=model)
    worker.wait(timeout=30)
    redis_client.zadd(keys.leases(model), dict.fromkeys([killer.id, bystander.id], 1), xx=True)
    Sweeper(redis_client, model).sweep()
    error = store.get(killer.id).error
    assert error is not None
    assert error["type"].endswith(":poisoned")
    assert len({death["worker"] for death in error["history"]}) == MAX_DEATHS
    assert [entry.id for entry in DeadList(store).entries()] == [killer.id]
    start_worker(model=model)
    assert store.wait(bystander.id, 30).status is JobStatus.SUCCEEDED
    store.close()


def test_a_full_worker_still_answers_celery(
    store: JobStore, start_worker: StartWorker, worker_settings: Settings
) -> None:
    start_worker(max_rows=2)
    ids = store.submit_many([tokens(1000) for _ in range(9)])
    until(lambda: store.queue().running > 2)
    with make_celery(worker_settings) as celery:
        until(lambda: bool(celery.control.ping(timeout=1, limit=1)))
        assert store.queue().queued > 0
    for job_id in ids:
        store.cancel(job_id)


def test_a_worker_survives_messages_that_nobody_can_read(
    store: JobStore, start_worker: StartWorker, redis_client: Any
) -> None:
    process = start_worker()
    name = queue.queues(MODEL)["normal"]
    job = store.submit(tokens(3))
    good = redis_client.lrange(name, 0, -1)
    for message in (b"{", b"[]", b'{"headers": {"id": "x"}}', b"\xff"):
        redis_client.lpush(name, message)
    assert store.wait(job.id, 30).status is JobStatus.SUCCEEDED
    assert len(good) <= 1
    until(lambda: redis_client.llen(name) == 0)
    assert store.wait(store.submit(tokens(3)).id, 30).status is JobStatus.SUCCEEDED
    assert process.poll() is None


def test_sigterm_finishes_what_fits_and_hands_back_the_rest_unattempted(
    store: JobStore, start_worker: StartWorker
) -> None:
    process = start_worker(drain_s=2)
    fits, rest = store.submit(tokens(100)), store.submit(tokens(1000))
    wait_for_state(store, fits, JobStatus.RUNNING)
    wait_for_state(store, rest, JobStatus.RUNNING)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert store.get(fits.id).status is JobStatus.SUCCEEDED
    handed_back = store.get(rest.id)
    assert (handed_back.status, handed_back.attempt) == (JobStatus.QUEUED, 0)
    assert store.workers() == []
    start_worker()
    assert store.wait(rest.id, 30).status is JobStatus.SUCCEEDED


def test_the_jobs_of_a_killed_worker_are_done_by_another(
    store: JobStore, start_worker: StartWorker, redis_client: Any
) -> None:
    first = start_worker()
    ids = store.submit_many([tokens(500) for _ in range(20)])
    until(lambda: store.queue().running == 20)
    first.kill()
    start_worker()
    for job_id in ids:
        job = store.wait(job_id, 60)
        assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 2)
    assert redis_client.hget(keys.job(ids[0]), "deaths") == b"1"


def test_a_worker_told_to_stop_while_redis_is_away_stops_in_good_order(
    start_worker: StartWorker, redis_client: Any, tmp_path: Path
) -> None:
    proxy = Proxy(redis_client.get_connection_kwargs()["port"])
    process = start_worker(redis_url=f"redis://127.0.0.1:{proxy.port}/0", drain_s=0)
    log = tmp_path / "worker.log"
    until(lambda: "ready." in log.read_text())
    proxy.close()
    until(lambda: "Trying again" in log.read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
