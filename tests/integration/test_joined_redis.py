from __future__ import annotations

import pytest
import redis

from distilq.cli.errors import CannotRun
from distilq.cli.redis_server import answers, check_joined


def test_a_redis_with_a_log_that_never_evicts_is_joined(redis_url: str) -> None:
    check_joined(redis_url, allow_volatile=False)
    assert answers(redis_url)()


def test_a_redis_without_a_log_is_refused_unless_told(
    redis_client: redis.Redis, redis_url: str
) -> None:
    redis_client.config_set("appendonly", "no")
    try:
        with pytest.raises(CannotRun, match=r"append-only file.*--allow-volatile"):
            check_joined(redis_url, allow_volatile=False)
        check_joined(redis_url, allow_volatile=True)
    finally:
        redis_client.config_set("appendonly", "yes")


def test_a_redis_that_evicts_is_refused(redis_client: redis.Redis, redis_url: str) -> None:
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(CannotRun, match="maxmemory-policy is allkeys-lru"):
            check_joined(redis_url, allow_volatile=False)
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_is_not_there_is_said_without_its_password() -> None:
    with pytest.raises(CannotRun, match=r"redis://:\*\*\*@127.0.0.1:1/0 does not answer"):
        check_joined("redis://:secret@127.0.0.1:1/0", allow_volatile=True)


def test_what_is_no_address_is_said() -> None:
    with pytest.raises(CannotRun, match="localhost is not the address of a Redis"):
        check_joined("localhost", allow_volatile=True)
