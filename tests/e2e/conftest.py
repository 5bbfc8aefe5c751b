"""The service that all end-to-end tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.running import Running, launch


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
