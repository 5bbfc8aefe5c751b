"""Tokens per second under saturation: of the engine alone, and of the service up to stored results.

Both run the same jobs, and both are timed by the tokens of finished jobs, between the moments at
which 15 % and 75 % of them had come: neither the start nor the emptying of the batch at the end
counts.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from distilq import keys
from distilq.jobs import JobRequest
from distilq.settings import Settings
from worker.engine import Engine
from worker.loading import load_engine

from .http_load import Connection, body_of, post
from .service import Service

FROM, TO = 0.15, 0.75

#: Seconds between two looks at the counter of stored tokens.
LOOK_S = 0.02

Json = dict[str, Any]
Submitted = Callable[[list[str]], None]


@dataclass
class Progress:
    """Tokens of finished jobs over time."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    def note(self, tokens: int) -> None:
        if not self.seen or tokens > self.seen[-1][1]:
            self.seen.append((time.perf_counter(), tokens))

    def rate(self) -> float:
        """Tokens per second between the two shares of them."""
        whole = self.seen[-1][1]
        inside = [each for each in self.seen if FROM * whole <= each[1] <= TO * whole]
        (start, first), (end, last) = inside[0], inside[-1]
        return (last - first) / (end - start)

    def whole_rate(self, since: float) -> float:
        """Tokens per second from then to the last of them."""
        at, tokens = self.seen[-1]
        return tokens / (at - since)


def drawn_jobs(count: int) -> list[Json]:
    """10-token prompts, 10 to 50 new tokens: rows end at different steps, as they would."""
    draw = random.Random(0)
    return [
        {
            "inputs": [draw.randrange(50_257) for _ in range(10)],
            "parameters": {"max_new_tokens": draw.randint(10, 50), "top_k": 50, "seed": number},
            "timeout_s": 600,
        }
        for number in range(count)
    ]


class Alone:
    """The engine in this process."""

    def __init__(self, settings: Settings) -> None:
        self._engine: Engine = load_engine(settings)

    def rate(self, jobs: Sequence[Json]) -> float:
        for number, job in enumerate(jobs):
            request = JobRequest.model_validate_json(json.dumps(job))
            self._engine.submit(str(number), request)
        progress, finished, tokens = Progress(), 0, 0
        while finished < len(jobs):
            done = self._engine.step()
            finished += len(done)
            tokens += sum(outcome.usage.generated_tokens for _, outcome in done)
            progress.note(tokens)
        return progress.rate()


class Served:
    """The same jobs over HTTP, through Redis, to a worker and into the record."""

    def __init__(self, service: Service, settings: Settings) -> None:
        self.worker = service.start_worker(settings)
        self.api, self.port = service.start_api(settings)
        self._service = service
        self._redis = service.client()
        self._connection = Connection(self.port)
        #: Cores that each program kept busy while the rate was taken, a value per turn.
        self.cores: dict[str, list[float]] = {}

    def rate(self, jobs: Sequence[Json], submitted: Submitted | None = None) -> float:
        """Tokens per second under saturation; `submitted` is told the ids at once."""
        return self._served(jobs, submitted)[0].rate()

    def whole_rate(self, jobs: Sequence[Json], submitted: Submitted | None = None) -> float:
        """The same from the submission to the last stored result."""
        progress, start = self._served(jobs, submitted)
        return progress.whole_rate(start)

    def _served(self, jobs: Sequence[Json], submitted: Submitted | None) -> tuple[Progress, float]:
        """What came, and when it began.

        Raises:
            RuntimeError: a job has not succeeded.
        """
        before = self._totals()
        cpu, start = self._cpu_s(), time.perf_counter()
        answer = self._connection.ask(post("/v1/jobs:batch", json.dumps({"jobs": jobs}).encode()))
        if answer[9:12] != b"202":
            raise RuntimeError(body_of(answer).decode())
        if submitted is not None:
            submitted([job["id"] for job in json.loads(body_of(answer))["jobs"]])
        progress = Progress()
        while (now := self._totals())["ended"] - before["ended"] < len(jobs):
            progress.note(now["tokens"] - before["tokens"])
            time.sleep(LOOK_S)
        progress.note(now["tokens"] - before["tokens"])
        if now["succeeded"] - before["succeeded"] != len(jobs):
            raise RuntimeError("not every job has succeeded")
        lasted = time.perf_counter() - start
        for name, spent in self._cpu_s().items():
            self.cores.setdefault(name, []).append((spent - cpu[name]) / lasted)
        return progress, start

    def _totals(self) -> dict[str, int]:
        names = ("generated_tokens", "succeeded", "failed", "canceled", "expired")
        tokens, *ended = (int(value or 0) for value in self._redis.hmget(keys.TOTALS, names))
        return {"tokens": tokens, "succeeded": ended[0], "ended": sum(ended)}

    def _cpu_s(self) -> dict[str, float]:
        redis = self._redis.info("cpu")
        return {
            "worker": self.worker.cpu_s(),
            "API": self.api.cpu_s(),
            "Redis": redis["used_cpu_user"] + redis["used_cpu_sys"],
            "client": time.process_time(),
        }

    def stop(self) -> None:
        self._connection.close()
        self._service.stop(self.api)
        self._service.stop(self.worker)
