"""The Redis of deploy/kubernetes, started with its own arguments and users."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from distilq import durability
from distilq.claims import Claims
from distilq.cli.ports import free_port
from distilq.connection import connect
from distilq.jobs import JobRequest
from distilq.settings import Settings
from distilq.store import JobStore
from tests.unit.manifests import container, of_kind, workloads


def secret(name: str, key: str) -> str:
    """What a Secret of the trial holds."""
    [found] = [v for k, v in of_kind("Secret", overlay="trial").items() if k.startswith(f"{name}-")]
    return base64.b64decode(found["data"][key]).decode()


@pytest.fixture
def port(redis_server_binary: Path, tmp_path: Path) -> Iterator[int]:
    users, port = tmp_path / "users.acl", free_port()
    users.write_text(secret("distilq-redis", "users.acl"))
    _, *arguments = container(workloads("trial")["distilq-redis"])["args"]
    arguments[arguments.index("--aclfile") + 1] = str(users)
    command = [str(redis_server_binary), *arguments, "--port", str(port), "--dir", str(tmp_path)]
    with subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL) as server:
        try:
            until_it_answers(port)
            yield port
        finally:
            server.kill()


def until_it_answers(port: int) -> None:
    deadline = time.monotonic() + 60
    with redis.Redis(port=port) as nobody:
        while time.monotonic() < deadline:
            with suppress(redis.ConnectionError):
                assert nobody.ping()
                return
            time.sleep(0.05)
    raise TimeoutError("Redis does not answer")


def as_user(name: str, port: int) -> Any:
    url = secret(name, "distilq_redis_url").strip()
    return connect(url.replace("distilq-redis:6379", f"127.0.0.1:{port}"))


def test_the_trials_redis_keeps_jobs_and_lets_its_users_in(port: int) -> None:
    with as_user("distilq-api", port) as api, as_user("distilq-worker", port) as worker:
        durability.require(api)
        store = JobStore(api, Settings(model="bundled"))
        job = store.submit(JobRequest(inputs=("Once",)))
        [claim] = Claims(worker, "bundled", "w1").take(1)
        store.close()
    assert claim.id == job.id
    with (
        redis.Redis(port=port) as nobody,
        pytest.raises(redis.ResponseError, match="permissions"),
    ):
        nobody.get("distilq:workers")
