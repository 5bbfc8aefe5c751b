"""The turns of benchmarks/submission.py: so many operations, the seconds and the CPU they took."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from distilq import keys, record
from distilq.claims import Claims
from distilq.cli import programs
from distilq.cli.ports import free_port
from distilq.jobs import MAX_STATUS_IDS, Metrics, Outcome, Usage
from distilq.jobs import Sequence as Text
from distilq.settings import Settings

from . import redis_peer
from .http_load import Connection, body_of, hammer, post
from .service import Running, Service, listens

MODEL = "random:distilgpt2"
PROMPT = "Once upon a time, in a land far away"
JOB = json.dumps({"inputs": PROMPT, "parameters": {"max_new_tokens": 30}})

#: Operations, and the seconds that they took.
Took = tuple[int, float]


@dataclass
class Bench:
    service: Service
    options: argparse.Namespace
    api: Running
    port: int
    empty: Running
    empty_port: int
    finished: list[str] = field(default_factory=list)
    #: Microseconds of CPU per operation, by subject and program, a value per round.
    cpu_us: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._redis = self.service.client()

    def subject(self, name: str, turn: Callable[[], Took]) -> Callable[[], float]:
        """Operations per second of a turn, whose CPU is noted under this name."""

        def measured() -> float:
            before = self._cpu_s()
            count, seconds = turn()
            for program, spent in self._cpu_s().items():
                each = self.cpu_us.setdefault(name, {}).setdefault(program, [])
                each.append(1e6 * (spent - before[program]) / count)
            if not self.finished:  # those are looked at again and again
                self._redis.flushall()
            return count / seconds

        return measured

    def _cpu_s(self) -> dict[str, float]:
        redis = self._redis.info("cpu")
        client = time.process_time()
        return {
            "api": self.api.cpu_s() + self.empty.cpu_s(),  # one of them rests
            "redis": redis["used_cpu_user"] + redis["used_cpu_sys"],
            "client": client,
        }

    def empty_view(self, connections: int) -> Took:
        return self._hammered(self.empty_port, "/", connections)

    def jobs(self, connections: int) -> Took:
        return self._hammered(self.port, "/v1/jobs", connections)

    def _hammered(self, port: int, path: str, connections: int) -> Took:
        requests = itertools.repeat(post(path, JOB.encode()))
        load = hammer(port, requests, connections, self.options.seconds)
        if load.refused:
            raise RuntimeError(f"{load.refused} requests to {path} were refused")
        return len(load.latencies), load.seconds

    def batch(self) -> Took:
        jobs = ",".join([JOB] * self.options.batch)
        return self._asked("/v1/jobs:batch", f'{{"jobs":[{jobs}]}}', self.options.batch)

    def status(self) -> Took:
        return self._asked(
            "/v1/jobs:status", json.dumps({"ids": self.finished}), len(self.finished)
        )

    def _asked(self, path: str, body: str, each: int) -> Took:
        connection, request = Connection(self.port), post(path, body.encode())
        start = time.perf_counter()
        for _ in range(self.options.repeats):
            answer = connection.ask(request)
            if answer[9:10] != b"2":
                raise RuntimeError(f"{path}: {body_of(answer).decode()}")
        seconds = time.perf_counter() - start
        connection.close()
        return each * self.options.repeats, seconds

    def lpush(self, hiredis: bool) -> Took:
        values = [JOB] * self.options.batch
        return self._peer(len(values), {"hiredis": hiredis, "lpush": values})

    def hmget(self, hiredis: bool) -> Took:
        fields = [name.decode() for name in record.READ]
        asked = [[keys.job(job_id) for job_id in self.finished], fields]
        return self._peer(len(self.finished), {"hiredis": hiredis, "hmget": asked})

    def _peer(self, each: int, asked: dict[str, Any]) -> Took:
        with_url = {"url": self.service.redis_url, **asked}
        seconds = sum(redis_peer.seconds(with_url) for _ in range(self.options.repeats))
        return each * self.options.repeats, seconds

    def finish_some(self) -> None:
        """Have as many finished jobs as one look may ask for."""
        jobs = ",".join([JOB] * MAX_STATUS_IDS)
        connection = Connection(self.port)
        answer = connection.ask(post("/v1/jobs:batch", f'{{"jobs":[{jobs}]}}'.encode()))
        connection.close()
        self.finished = [job["id"] for job in json.loads(body_of(answer))["jobs"]]
        claims = Claims(self._redis, MODEL, "benchmark")
        while claimed := claims.take(200):
            claims.finish([(claim, _outcome()) for claim in claimed], {"precision": "float16"})


def _outcome() -> Outcome:
    text = Text(
        generated_text=4 * PROMPT, finish_reason="length", generated_tokens=30, seed=2**52 + 1
    )
    return Outcome(
        result=[[text]],
        usage=Usage(prompt_tokens=9, generated_tokens=30),
        metrics=Metrics(run_ms=81.2, time_to_first_token_ms=4.1, tokens_per_s=369.5, batch_size=64),
    )


def begin(service: Service, options: argparse.Namespace) -> Bench:
    """The API and the empty view, both warm."""
    settings = Settings(
        redis_url=service.redis_url,
        model=MODEL,
        max_queued_jobs=10**9,
        max_queued_tokens=10**12,
    )
    api, port = service.start_api(settings)
    empty_port = free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "-c", "python:benchmarks.empty"),
        *("benchmarks.empty:app", "-b", f"127.0.0.1:{empty_port}", "--log-level", "warning"),
    ]
    empty = service.start("empty", command, programs.environment(settings))
    service.until(empty, lambda: listens(empty_port))
    for path, to in (("/", empty_port), ("/v1/jobs", port)):
        hammer(to, itertools.repeat(post(path, JOB.encode())), 16, 0.5)
    return Bench(service, options, api, port, empty, empty_port)
