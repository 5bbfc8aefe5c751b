"""A Redis that Sentinel watches: its master dies, and the work goes on with the other."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from distilq.cli.ports import free_port
from distilq.connection import SentinelGroup, broker_url, connect
from distilq.errors import StoreUnavailable
from distilq.jobs import JobRequest, JobStatus
from distilq.settings import Settings
from distilq.store import JobStore

ROOT = Path(__file__).parents[2]
MODEL = "simulated:step_ms=5"


@dataclass
class Watched:
    """A master, a replica and one Sentinel that may decide alone."""

    master: subprocess.Popen[bytes]
    url: str


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def answers(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.fixture
def watched(redis_server_binary: Path, tmp_path: Path) -> Iterator[Watched]:
    ports = [free_port() for _ in range(3)]
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, port: int, *options: str) -> subprocess.Popen[bytes]:
        folder = tmp_path / name
        folder.mkdir()
        command = [str(redis_server_binary), *options, "--port", str(port), "--dir", str(folder)]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        until(lambda: answers(port))
        return processes[-1]

    kept = ("--appendonly", "yes", "--save", "", "--bind", "127.0.0.1")
    master = start("master", ports[0], *kept)
    start("replica", ports[1], *kept, "--replicaof", "127.0.0.1", str(ports[0]))
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"sentinel monitor texts 127.0.0.1 {ports[0]} 1\n"
        "sentinel down-after-milliseconds texts 1000\n"
        "sentinel failover-timeout texts 5000\n"
    )
    start("sentinel", ports[2], str(config), "--sentinel")
    with redis.Redis(port=ports[1]) as replica:
        until(lambda: replica.info("replication")["master_link_status"] == "up")
    with redis.Redis(port=ports[2]) as sentinel:
        until(lambda: replicas_known_to(sentinel) == 1)
    yield Watched(master, f"sentinel://127.0.0.1:{ports[2]}/texts/0")
    for process in processes:
        process.kill()
        process.wait()


def replicas_known_to(sentinel: Any) -> int:
    return int(sentinel.sentinel_master("texts")["num-slaves"])


@pytest.fixture
def settings(watched: Watched) -> Settings:
    return Settings(redis_url=watched.url, model=MODEL)


@pytest.fixture
def worker(settings: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {f"DISTILQ_{name.upper()}": str(value) for name, value in settings}
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-n", "w@%h"]
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | env, stdout=out, stderr=out)
    yield process
    process.kill()
    process.wait()
    print(log.read_text()[-20_000:])  # shown with a failed test


def test_jobs_are_served_before_and_after_a_failover(
    watched: Watched, settings: Settings, worker: subprocess.Popen[bytes]
) -> None:
    store = JobStore(connect(watched.url), settings)
    request = JobRequest.model_validate({"inputs": "a", "parameters": {"max_new_tokens": 5}})
    assert store.wait(store.submit(request).id, 30).status is JobStatus.SUCCEEDED

    long = JobRequest.model_validate({"inputs": "a", "parameters": {"max_new_tokens": 800}})
    running = store.submit(long)
    until(lambda: store.get(running.id).status is JobStatus.RUNNING)
    store.redis.wait(1, 5000)  # acknowledged by the replica: replication is asynchronous
    watched.master.kill()

    def submits() -> bool:
        try:
            return store.wait(store.submit(request).id, 20).status is JobStatus.SUCCEEDED
        except StoreUnavailable:
            return False

    until(submits)
    until(lambda: store.get(running.id).status is JobStatus.SUCCEEDED)
    assert worker.poll() is None
    store.close()
    store.redis.close()


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://h/1", "redis://h/1"),
        ("sentinel://a:1,b/texts/3", "sentinel://a:1/3;sentinel://b:26379/3"),
        ("sentinel://u:p%2F@a/texts", "sentinel://u:p%2F@a:26379/0"),
    ],
)
def test_an_address_is_handed_to_celery_in_its_own_form(url: str, broker: str) -> None:
    assert broker_url(url) == broker


@pytest.mark.parametrize("url", ["sentinel://", "sentinel://host", "sentinel:///master"])
def test_a_sentinel_address_names_hosts_and_a_master(url: str) -> None:
    with pytest.raises(ValueError, match="sentinel://host"):
        SentinelGroup.parse(url)
