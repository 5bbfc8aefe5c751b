"""Does this Redis keep what it is given?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.exceptions import BusyLoadingError

from distilq.connection import RedisClient
from distilq.errors import VolatileStore


def why_volatile(info: Mapping[str, Any]) -> str | None:
    """Why jobs may be lost there, from what INFO says; None if they are kept."""
    if not info.get("aof_enabled"):
        return "it keeps no append-only file (set appendonly yes)"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return f"it evicts keys when memory is short (maxmemory-policy is {policy}, set noeviction)"
    return None


def require(redis: RedisClient) -> None:
    """Refuse a Redis that may lose jobs.

    Raises:
        VolatileStore: with the reason, and what would help.
        redis.RedisError: it does not answer, or has not read its file yet.
    """
    info = redis.info()
    if info.get("loading"):  # then INFO says that it had no append-only file, whatever it has
        raise BusyLoadingError("Redis is loading the dataset in memory")
    if why := why_volatile(info):
        raise VolatileStore(
            f"this Redis may lose jobs: {why}. Change that,"
            " or set DISTILQ_ALLOW_VOLATILE=true to use it all the same"
        )
