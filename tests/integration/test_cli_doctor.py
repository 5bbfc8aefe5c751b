"""`distilq doctor` and Redis that is as it should be, and that is not."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from distilq.cli.checks import Check
from distilq.cli.checks_redis import redis_checks
from distilq.cli.ports import free_port
from distilq.cli.redis_address import written_address
from distilq.cli.redis_server import answers
from distilq.settings import Settings

Start = Callable[..., str]
KEPT = ("--appendonly", "yes", "--maxmemory-policy", "noeviction")


@pytest.fixture
def start(redis_server_binary: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a Redis with these options; its address."""
    with ExitStack() as servers:

        def start(*options: str) -> str:
            port = free_port()
            command = [str(redis_server_binary), "--port", str(port), "--bind", "127.0.0.1"]
            command += ["--dir", str(tmp_path), "--save", "", *options]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            servers.callback(server.wait)
            servers.callback(server.kill)
            url = f"redis://127.0.0.1:{port}/0"
            ready = answers(url)
            end = time.monotonic() + 20
            while not ready():
                assert time.monotonic() < end
                time.sleep(0.02)
            return url

        yield start


def found(url: str, **settings: Any) -> list[Check]:
    return list(redis_checks(Settings(redis_url=url, **settings)))


def bad(checks: list[Check]) -> list[tuple[str, str]]:
    return [(check.state, check.said) for check in checks if check.state != "ok"]


def test_a_redis_as_it_should_be(start: Start) -> None:
    checks = found(start(*KEPT))
    assert bad(checks) == []
    assert [check.said.split()[0] for check in checks] == ["version", "keeps", "uses"]


def test_one_that_loses_or_drops_jobs_fails_unless_it_is_allowed(start: Start) -> None:
    url = start("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    said = [
        "it keeps no append-only file: jobs die with it",
        "maxmemory-policy is allkeys-lru: it drops jobs",
    ]
    assert bad(found(url)) == [("fail", each) for each in said]
    assert bad(found(url, allow_volatile=True)) == [("warn", each) for each in said]
    assert all("redis-cli config set" in c.advice for c in found(url) if c.state == "fail")


def test_one_that_is_nearly_full_warns(start: Start) -> None:
    url = start(*KEPT)
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", int(client.info()["used_memory"] * 1.05))
    (state, said) = bad(found(url))[0]
    assert state == "warn"
    assert "of maxmemory" in said


def test_one_that_cannot_write_its_file_fails(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = start(*KEPT)
    with redis.Redis.from_url(url) as client:
        info: Any = client.info()
    assert info["aof_last_write_status"] == "ok"
    full = {**info, "aof_last_write_status": "err"}
    monkeypatch.setattr("distilq.cli.checks_redis._info", lambda url: full)
    assert bad(found(url)) == [("fail", "aof_last_write_status is err")]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "http://127.0.0.1:1", "sentinel://x"])
def test_one_that_is_not_there_fails_without_its_password(url: str) -> None:
    (check,) = found(url.replace("://", "://me:secret@"))
    assert check.state == "fail"
    assert "secret" not in check.said


def test_that_of_a_running_up_is_found(start: Start, tmp_path: Path) -> None:
    url = start(*KEPT)
    with written_address(tmp_path, url):
        checks = list(redis_checks(Settings(data_dir=tmp_path)))
    assert bad(checks) == []
    assert url in checks[0].said
    (check,) = redis_checks(Settings(data_dir=tmp_path))
    assert check.state == "skip"
