"""Who serves the mixed traffic: distilq's worker and two Celery workers, on one Redis.

All of them are given jobs on Redis' side, without HTTP, and all keep their results in Redis.
"""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Protocol

from celery import Celery

from distilq import keys
from distilq.connection import connect
from distilq.jobs import Job, JobRequest, JobStatus
from distilq.parameters import Parameters
from distilq.settings import Settings
from distilq.store import JobStore

from .mixed_traffic import Arrival, Ask, Served, tokens_per_s
from .peers import conversion
from .peers.celery_worker import BROKER_DB, RESULTS_DB
from .peers.process import PeerFailed
from .service import Running, Service

#: Seconds between two looks at how many are done, and without one more until a subject is stuck.
LOOK_S, STUCK_S = 0.2, 180.0


class Subject(Protocol):
    def send(self, ask: Ask) -> str:
        """Queue a job; its id."""

    def finished(self, job_ids: Sequence[str]) -> int:
        """How many of them have ended."""

    def served(self, due: Mapping[str, float]) -> list[Served]:
        """What became of jobs that have all ended."""

    def capacity(self, served: Sequence[Served]) -> float:
        """Tokens per second out of a queue that was full."""


def play(subject: Subject, arrivals: Sequence[Arrival]) -> tuple[float, list[Served]]:
    """Send each job at its time, whatever has become of the others; when it began, all jobs."""
    due: dict[str, float] = {}
    start = time.time()
    for arrival in arrivals:
        time.sleep(max(0.0, start + arrival.at - time.time()))
        due[subject.send(arrival.ask)] = start + arrival.at
    _until_finished(subject, list(due))
    return start, subject.served(due)


def _until_finished(subject: Subject, job_ids: Sequence[str]) -> None:
    if not job_ids:
        return
    before, since = -1, time.monotonic()
    while (count := subject.finished(job_ids)) < len(job_ids):
        if count > before:
            before, since = count, time.monotonic()
        elif time.monotonic() - since > STUCK_S:
            raise RuntimeError(f"{len(job_ids) - count} jobs do not end")
        time.sleep(LOOK_S)


class Ours:
    def __init__(self, service: Service, settings: Settings) -> None:
        self._rows = settings.max_rows
        self._store = JobStore(service.client(), settings)
        self._sent = 0
        service.start_worker(settings)

    def ready(self) -> None:
        """It is: `start_worker` waits for the worker, which warms up its engine."""

    def send(self, ask: Ask) -> str:
        self._sent += 1
        asked = Parameters(
            max_new_tokens=ask.new_tokens, top_k=50, seed=self._sent, return_full_text=False
        )
        return self._store.submit(
            JobRequest(inputs=ask.prompt, parameters=asked, timeout_s=3600)
        ).id

    def finished(self, job_ids: Sequence[str]) -> int:
        pipe = self._store.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hget(keys.job(job_id), "status")
        return sum(JobStatus(status.decode()).final for status in pipe.execute())

    def served(self, due: Mapping[str, float]) -> list[Served]:
        return [_served(job, due[job.id]) for job in self._jobs(list(due))]

    def capacity(self, served: Sequence[Served]) -> float:
        """From when the rows no longer go in step until none waits for a row."""
        begun = sorted(job.began for job in served)
        return tokens_per_s(served, begun[self._rows * 5 // 4], begun[-1])

    def _jobs(self, job_ids: Sequence[str]) -> list[Job]:
        return [job for job in self._store.get_many(job_ids) if isinstance(job, Job)]

    def close(self) -> None:
        self._store.close()


def _served(job: Job, due: float) -> Served:
    first = job.metrics.time_to_first_token_ms
    if job.status is not JobStatus.SUCCEEDED or job.completed_at is None or first is None:
        raise RuntimeError(f"a job is {job.status.value}: {job.error}")
    begun = job.created_at.timestamp() + first / 1000
    return Served(due, begun, begun, job.completed_at.timestamp(), job.usage.generated_tokens)


class CeleryPeer:
    """A Celery worker of `benchmarks/peers`; `ready` waits until it serves."""

    def __init__(
        self, service: Service, name: str, processes: int, threads: int, flush_every: int
    ) -> None:
        self._service, self._name = service, name
        address = service.redis_url.rpartition("/")[0]
        self._results = connect(f"{address}/{RESULTS_DB}")
        self._app = Celery(broker=f"{address}/{BROKER_DB}", set_as_current=False)
        terms = {
            "PEER_REDIS_URL": address,
            "PEER_THREADS": str(threads),
            "PEER_FLUSH_EVERY": str(flush_every),
            "OMP_NUM_THREADS": str(threads),
        }
        self._worker = self._started(processes, terms)

    def _started(self, processes: int, terms: Mapping[str, str]) -> Running:
        python = conversion.PEERS / "bin/python"
        if not python.exists():
            raise PeerFailed("not installed: make peers")
        pool = ("prefork", str(processes)) if processes > 1 else ("solo", "1")
        command = [
            *(str(python), "-m", "celery", "-q"),
            *("-A", f"benchmarks.peers.celery_{self._name}_app", "worker", "-Q", self._name),
            *("--pool", pool[0], "--concurrency", pool[1], "--loglevel", "ERROR"),
            *("--without-gossip", "--without-mingle", "-n", f"{self._name}@%h"),
        ]
        environment = {
            "HF_HUB_OFFLINE": "1",
            "PEER_CHECKPOINT": str(conversion.checkpoint()),
            "PEER_PACKAGES": os.pathsep.join(p for p in sys.path if p.endswith("site-packages")),
        }
        return self._service.start(self._name, command, {**os.environ, **environment, **terms})

    def ready(self) -> None:
        """Serve one job, which loads what is loaded late."""
        job_id = self.send(Ask((1, 2, 3), 2))
        self._service.until(self._worker, lambda: self.finished([job_id]) == 1)

    def send(self, ask: Ask) -> str:
        job_id = str(uuid.uuid4())
        self._app.send_task(
            self._name, args=[ask.prompt, ask.new_tokens], task_id=job_id, queue=self._name
        )
        return job_id

    def finished(self, job_ids: Sequence[str]) -> int:
        return int(self._results.exists(*map(_key, job_ids)))

    def served(self, due: Mapping[str, float]) -> list[Served]:
        found = self._results.mget([_key(job_id) for job_id in due]) if due else []
        return [
            _served_by_celery(json.loads(each), when)
            for each, when in zip(found, due.values(), strict=True)
        ]

    def capacity(self, served: Sequence[Served]) -> float:
        start, end = min(job.began for job in served), max(job.ended for job in served)
        return tokens_per_s(served, start, end)

    def close(self) -> None:
        self._app.close()


def _key(job_id: str) -> str:
    return f"celery-task-meta-{job_id}"


def _served_by_celery(meta: dict[str, Any], due: float) -> Served:
    """Nothing of it can be read before all of it is there."""
    if meta["status"] != "SUCCESS":
        raise RuntimeError(f"a task is {meta['status']}: {meta['result']}")
    ended = datetime.fromisoformat(meta["date_done"])
    if ended.tzinfo is None:
        ended = ended.replace(tzinfo=timezone.utc)
    done, result = ended.timestamp(), meta["result"]
    return Served(due, result["began"], done, done, len(result["tokens"]))
