"""Whether a Redis keeps what it is given."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import RedisError

from distilq import durability
from distilq.errors import VolatileStore


class Says:
    def __init__(self, **info: Any) -> None:
        self._info = info

    def info(self) -> dict[str, Any]:
        return self._info


def test_a_redis_without_an_append_only_file_is_refused() -> None:
    with pytest.raises(VolatileStore, match="append-only file"):
        durability.require(Says(aof_enabled=0, loading=0))
    durability.require(Says(aof_enabled=1, loading=0, maxmemory_policy="noeviction"))


def test_a_redis_that_is_still_reading_its_file_is_waited_for() -> None:
    # Meanwhile it says that it has none.
    with pytest.raises(RedisError, match="loading"):
        durability.require(Says(aof_enabled=0, loading=1))
