"""How many jobs per second a worker process serves out of a full queue, ours or stock Celery's."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from distilq import keys
from distilq.connection import connect
from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from distilq.settings import Settings
from distilq.store import JobStore

from .service import Running, Service
from .stock_app import BROKER_DB, RESULTS_DB, generate, make_app

TEXT = "Once upon a time"
MODEL = "simulated:step_ms=0"

#: Jobs per call of `submit_many`, the most that the API takes at once.
BATCH = 10_000

#: Seconds between two looks at how many are done.
LOOK_S = 0.01

#: Share of the jobs that are done before the clock starts: a worker's first ones are slower.
BEFORE = 0.1


@dataclass(frozen=True)
class Served:
    """What a run came to."""

    jobs_per_s: float
    #: Seconds of CPU per job, of the worker and of Redis; above its rate's inverse they overlap.
    worker_s: float
    redis_s: float


def rate(
    done: Callable[[], int], until: int, worker: Callable[[], float], redis: Callable[[], float]
) -> Served:
    """Watch jobs being done, from a tenth of `until` on."""
    first = _wait(done, int(until * BEFORE))
    start, spent = time.perf_counter(), (worker(), redis())
    last = _wait(done, until)
    seconds, jobs = time.perf_counter() - start, last - first
    return Served(jobs / seconds, (worker() - spent[0]) / jobs, (redis() - spent[1]) / jobs)


def _wait(done: Callable[[], int], until: int) -> int:
    while (count := done()) < until:
        time.sleep(LOOK_S)
    return count


def request(new_tokens: int = 1, text: str = TEXT) -> JobRequest:
    return JobRequest(inputs=text, parameters=Parameters(max_new_tokens=new_tokens))


def fill(store: JobStore, jobs: int, asked: JobRequest) -> None:
    """Queue jobs, the way the API's batches do."""
    while jobs > 0:
        store.submit_many([asked] * min(jobs, BATCH))
        jobs -= BATCH


def finished(store: JobStore) -> int:
    """Jobs that have succeeded since Redis was emptied."""
    return int(store.redis.hget(keys.TOTALS, "succeeded") or 0)


def by_distilq(service: Service, redis: Running, jobs: int) -> Served:
    settings = Settings(redis_url=service.redis_url, model=MODEL)
    store = JobStore(service.client(), settings)
    store.redis.flushall()
    fill(store, jobs, request())
    worker = service.start_worker(settings)
    try:
        return rate(lambda: finished(store), jobs, worker.cpu_s, redis.cpu_s)
    finally:
        service.stop(worker)
        store.close()


def by_celery(service: Service, redis: Running, jobs: int, pool: str, concurrency: int) -> Served:
    address = service.redis_url.rpartition("/")[0]
    broker, results = (connect(f"{address}/{db}") for db in (BROKER_DB, RESULTS_DB))
    broker.flushall()
    with make_app(address) as app, app.producer_pool.acquire() as producer:
        for _ in range(jobs):
            app.send_task(generate.name, args=[TEXT], producer=producer)
    command = [
        *(sys.executable, "-m", "celery", "-q", "-A", "benchmarks.stock_app", "worker"),
        *("--pool", pool, "--concurrency", str(concurrency), "--loglevel", "ERROR"),
        *("--without-gossip", "--without-mingle"),
    ]
    worker = service.start("stock", command, os.environ | {"STOCK_REDIS_URL": address})
    try:
        return rate(results.dbsize, jobs, worker.cpu_s, redis.cpu_s)
    finally:
        service.stop(worker)
