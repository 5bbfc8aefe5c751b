"""Redis, the API and workers as `distilq up` starts them, for benchmarks that need the whole."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis

from distilq.cli import programs
from distilq.cli.ports import free_port
from distilq.cli.redis_binary import find_redis_server
from distilq.connection import connect
from distilq.settings import Settings
from distilq.store import JobStore

ROOT = Path(__file__).parent.parent

#: Seconds in which a program has to be there: a worker loads torch and a model first.
START_S = 120.0
STOP_S = 20.0


class Running:
    """One program and what it costs."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self.process = process

    def cpu_s(self) -> float:
        """Seconds of CPU so far, its children's with it."""
        main = psutil.Process(self.process.pid)
        spent = [p.cpu_times() for p in [main, *main.children(recursive=True)]]
        return float(sum(times.user + times.system for times in spent))


class Service:
    """Programs of one Redis; they end with the `with` block that `started` opens."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Running] = []
        self.redis_url = ""

    def start(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> Running:
        log = self._folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self._running.append(Running(name, process, log))
        return self._running[-1]

    def start_redis(self) -> Running:
        """With an append-only file, as in production."""
        binary, port = find_redis_server(), free_port()
        if binary is None:
            raise SystemExit("needs a redis-server 6.2 or newer")
        data = self._folder / "redis"
        data.mkdir()
        command = [
            *(str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec"),
            *("--maxmemory-policy", "noeviction", "--loglevel", "warning"),
        ]
        server = self.start("redis", command)
        self.redis_url = f"redis://127.0.0.1:{port}/0"
        client = connect(self.redis_url)
        self.until(server, lambda: _answers(client))
        return server

    def start_api(self, settings: Settings) -> tuple[Running, int]:
        """The API and the port on which it listens."""
        port = free_port()
        program = programs.api(settings, "127.0.0.1", port)
        api = self.start("api", program.command, program.env)
        self.until(api, lambda: listens(port))
        return api, port

    def start_worker(self, settings: Settings) -> Running:
        """A worker that has loaded its model."""
        program = programs.worker(settings, 1, 1, 0)
        worker = self.start("worker", program.command, program.env)
        store = JobStore(connect(settings.redis_url), settings)
        self.until(worker, lambda: bool(store.workers()))
        return worker

    def until(self, running: Running, ready: Callable[[], bool]) -> None:
        """Wait for a program to be ready; its log is the error if it ends instead."""
        deadline = time.monotonic() + START_S
        while not ready():
            if running.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{running.name} is not there: {running.log.read_text()}")
            time.sleep(0.05)

    def stop(self, running: Running) -> None:
        self._running.remove(running)
        running.process.terminate()
        try:
            running.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()

    def stop_all(self) -> None:
        for running in reversed(list(self._running)):
            self.stop(running)

    def client(self) -> Any:
        return connect(self.redis_url)


@contextmanager
def started() -> Iterator[Service]:
    """A service that consists of a Redis, so far."""
    with tempfile.TemporaryDirectory(prefix="distilq-bench-") as folder:
        service = Service(Path(folder))
        try:
            service.start_redis()
            yield service
        finally:
            service.stop_all()


def listens(port: int) -> bool:
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
