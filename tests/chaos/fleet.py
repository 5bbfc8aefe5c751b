"""Everything that a service consists of, as processes that faults may be done to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from distilq.cli.ports import free_port
from tests.chaos.processes import Program, Supervisor
from tests.chaos.proxy import Proxy

#: Where Debian puts it; `DONT_FAKE_MONOTONIC`, as no clock that is set moves that one.
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"

#: libfaketime 0.9.10 shifts the deadline of clock_nanosleep, monotonic or not: time.sleep of
#: Python 3.11 fails with EINVAL; select sleeps by a span.
SLEEPS_BY_SELECT = (
    "import runpy, select, time\n"
    "time.sleep = lambda seconds: select.select([], [], [], seconds)\n"
    "runpy.run_module('celery', run_name='__main__')"
)

MAX_ROWS, DRAIN_S = 32, 5


@dataclass
class Fleet:
    """Redis, and those who speak to it: half of them through a proxy."""

    folder: Path
    redis_port: int
    supervisor: Supervisor
    proxy: Proxy
    redis: Program
    workers: list[Program] = field(default_factory=list)
    apis: list[Program] = field(default_factory=list)
    api_urls: list[str] = field(default_factory=list)

    @property
    def faults(self) -> Path:
        """Where the simulated model looks for faults of its own; its name is the model's slug."""
        return self.folder / "faults"

    @property
    def model(self) -> str:
        return f"simulated:step_ms=5,faults={self.faults}"

    def address(self, number: int) -> str:
        """Redis for the program of this number: every second one has the proxy in between."""
        port = self.proxy.port if number % 2 else self.redis_port
        return f"redis://127.0.0.1:{port}/0"

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A client of the harness' own, past the proxy."""
        with redis.Redis(port=self.redis_port, socket_timeout=30) as client:
            yield client
            client.connection_pool.disconnect()

    def add_worker(self, number: int, command: list[str], env: dict[str, str]) -> None:
        log = self.folder / f"worker-{number}.log"
        program = Program(f"worker-{number}", command, log, env)
        self.workers.append(self.supervisor.add(program))

    def add_api(self, number: int, command: list[str], env: dict[str, str], url: str) -> None:
        program = Program(f"api-{number}", command, self.folder / f"api-{number}.log", env)
        self.apis.append(self.supervisor.add(program))
        self.api_urls.append(url)


@contextmanager
def redis_and_proxy(folder: Path, binary: Path) -> Iterator[Fleet]:
    """A fleet that has no workers and no API yet."""
    (folder / "faults").mkdir()
    (folder / "redis").mkdir()
    port = free_port()
    command = [
        *(str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
        *("--dir", str(folder / "redis"), "--appendonly", "yes", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "noeviction"),
    ]
    supervisor, proxy = Supervisor(), Proxy(port)
    server = supervisor.add(Program("redis", command, folder / "redis.log"))
    try:
        yield Fleet(folder, port, supervisor, proxy, server)
    finally:
        supervisor.stop()
        proxy.close()


def add_distilq(fleet: Fleet, workers: int, model: str, skew_s: int = 0) -> None:
    """Two API instances and some workers of this project; the last worker's clock is off."""
    common = {
        "DISTILQ_MODEL": model,
        "DISTILQ_PRECISION": "float32",
        "DISTILQ_DRAIN_S": str(DRAIN_S),
        "DISTILQ_MAX_ROWS": str(MAX_ROWS),
        "DISTILQ_API_THREADS": "32",
        "DISTILQ_THREADS": "1",
    }
    for number in range(2):
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn_conf"]
        command += ["--bind", f"127.0.0.1:{port}", "api.wsgi:app"]
        env = common | {"DISTILQ_REDIS_URL": fleet.address(number)}
        fleet.add_api(number, command, env, f"http://127.0.0.1:{port}")
    for number in range(workers):
        program, env = ["-m", "celery"], common | {"DISTILQ_REDIS_URL": fleet.address(number)}
        if skew_s and number == workers - 1 and (off := skewed(skew_s)):
            program, env = ["-c", SLEEPS_BY_SELECT], env | off
        command = [sys.executable, *program, "-A", "worker.app", "worker"]
        command += ["-n", f"w{number}@%h", "--loglevel", "INFO"]
        fleet.add_worker(number, command, env)


def skewed(seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is off, where libfaketime is installed."""
    library = faketime()
    if library is None:
        return {}
    return {"LD_PRELOAD": library, "FAKETIME": f"{seconds:+d}s", "DONT_FAKE_MONOTONIC": "1"}


def faketime() -> str | None:
    """The library, or None where it is not installed."""
    found = sorted(Path("/").glob(FAKETIME.lstrip("/")))
    return str(found[0]) if found else None
