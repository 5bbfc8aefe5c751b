"""How many jobs per second a worker process serves out of a full queue, ours or stock Celery's."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distilq import keys
from distilq.cli.redis_server import COMPACT
from distilq.connection import RedisClient, connect
from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from distilq.settings import Settings
from distilq.store import JobStore

from .service import Service
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
    """What a run came to: its rate, and the CPU time per job of the worker and of Redis."""

    jobs_per_s: float
    worker_us: float
    redis_us: float

    def record(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def redis_alone() -> Iterator[Service]:
    """A Redis as `distilq up` starts it, which further programs of the service join."""
    with tempfile.TemporaryDirectory(prefix="distilq-bench-") as folder:
        service = Service(Path(folder))
        try:
            service.start_redis()
            # No rewrite of its append-only file may fall into somebody's turn.
            for name, value in (COMPACT | {"auto-aof-rewrite-percentage": "0"}).items():
                service.client().config_set(name, value)
            yield service
        finally:
            service.stop_all()


def rate(
    done: Callable[[], int], until: int, worker: Callable[[], float], redis: Callable[[], float]
) -> Served:
    """Watch jobs being done, from a tenth of `until` on."""
    first = _wait(done, int(until * BEFORE))
    start, spent = time.perf_counter(), (worker(), redis())
    last = _wait(done, until)
    seconds, jobs = time.perf_counter() - start, last - first
    worker_s, redis_s = worker() - spent[0], redis() - spent[1]
    return Served(jobs / seconds, 1e6 * worker_s / jobs, 1e6 * redis_s / jobs)


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


def redis_cpu_s(redis: RedisClient) -> float:
    """Seconds of CPU of Redis itself, without a child that rewrites its append-only file."""
    used = redis.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def by_distilq(service: Service, jobs: int) -> Served:
    settings = Settings(redis_url=service.redis_url, model=MODEL)
    store = JobStore(service.client(), settings)
    store.redis.flushall()
    fill(store, jobs, request())
    worker = service.start_worker(settings)
    try:
        return rate(lambda: finished(store), jobs, worker.cpu_s, lambda: redis_cpu_s(store.redis))
    finally:
        service.stop(worker)
        store.close()


def by_celery(service: Service, jobs: int, pool: str, concurrency: int) -> Served:
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
        return rate(results.dbsize, jobs, worker.cpu_s, lambda: redis_cpu_s(results))
    finally:
        service.stop(worker)
