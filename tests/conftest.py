"""Fixtures that every kind of test may use: a private Redis, settings, a whole service."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from distilq.cli.ports import free_port
from distilq.cli.redis_binary import find_redis_server
from distilq.settings import Settings
from tests.e2e.running import Running, launch

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick ones first, so that what is broken is known soon."""
    kinds = ("integration", "e2e", "browser", "chaos")
    items.sort(key=lambda item: [kind in item.path.parts for kind in reversed(kinds)])


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    """A DISTILQ_* variable of the developer's shell must not change what is tested."""
    for name in [name for name in os.environ if name.startswith("DISTILQ_")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def redis_server_binary() -> Path:
    """A redis-server; without one a test is skipped here and fails in CI."""
    binary = find_redis_server()
    if binary is None:
        message = "needs a redis-server 6.2 or newer"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return binary


@pytest.fixture(scope="session")
def redis_url(redis_server_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this test session alone, with an append-only file, as in production."""
    port = free_port()
    command = [
        *(str(redis_server_binary), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
        *("--dir", str(tmp_path_factory.mktemp("redis")), "--appendonly", "yes"),
        *("--appendfsync", "everysec", "--maxmemory-policy", "noeviction"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            _wait_until_it_answers(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()


def _wait_until_it_answers(port: int) -> None:
    with redis.Redis(port=port) as client:
        for _ in range(500):
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.02)
            else:
                return
    raise RuntimeError("redis-server does not answer")


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of an empty database; what it returns are bytes."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def settings(redis_url: str) -> Callable[..., Settings]:
    """Settings of the bundled model on this session's Redis; keyword arguments change them."""

    def make(**changes: Any) -> Settings:
        return Settings(**{"redis_url": redis_url, "model": "bundled", **changes})

    return make


@pytest.fixture(scope="session")
def service(
    redis_server_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A running `distilq up` with the bundled model in float32, where seeds promise their text."""
    running = launch(tmp_path_factory.mktemp("up"), "--model", "bundled", "--precision", "float32")
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture
def http(service: Running) -> Iterator[httpx.Client]:
    """A client of that service."""
    with httpx.Client(base_url=service.url, timeout=90, trust_env=False) as client:
        yield client


@pytest.fixture
def start(redis_server_binary: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a `distilq up` of the test's own; all of one test share a data directory."""
    started: list[Running] = []

    def start(*options: str, **variables: str) -> Running:
        started.append(launch(tmp_path, "--model", "bundled", *options, **variables))
        started[-1].wait_until_ready()
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the documentation as `make docs` builds it, nothing in it broken.

    Without Zensical a test is skipped here and, where there is one for this Python, fails in CI.
    """
    if importlib.util.find_spec("zensical") is None:
        if os.environ.get("CI") and sys.version_info >= (3, 11):
            pytest.fail("needs zensical, which the group docs has")
        pytest.skip("needs zensical, which needs Python 3.11")
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "docs.building", str(folder)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    return folder
