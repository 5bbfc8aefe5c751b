"""The Redis client of every process, with finite timeouts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry

from distilq.errors import StoreFull, StoreUnavailable

P = ParamSpec("P")
R = TypeVar("R")

#: redis-py types each answer as a union over sync, async, str and bytes: nothing to check against.
RedisClient: TypeAlias = Any

#: Seconds without an answer after which Redis counts as gone; the default waits for ever.
TIMEOUT_S, CONNECT_TIMEOUT_S = 5, 2

#: One per thread that talks at the same moment; more than any process here has.
MAX_CONNECTIONS = 2_048


def connect(url: str) -> RedisClient:
    """A client that answers in bytes and tries a broken connection once more.

    Every call of this project may be sent twice: submissions by job id, the rest by fence.
    """
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_keepalive=True,
        health_check_interval=15,
        max_connections=MAX_CONNECTIONS,
        retry=Retry(NoBackoff(), 1),
    )


def database(url: str) -> int:
    """The number of the database that an address names. Raises ValueError: it is no address."""
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    return int(options.get("db", 0))


def reaches_redis(method: Callable[P, R]) -> Callable[P, R]:
    """A method that raises StoreFull and StoreUnavailable rather than redis-py's errors."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except ResponseError as error:
            # From a script of Redis 6.2 the code is amid the message, not in front of it.
            full = isinstance(error, OutOfMemoryError) or "OOM command not allowed" in str(error)
            raise (StoreFull() if full else StoreUnavailable(f"Redis: {error}")) from error
        except RedisError as error:
            raise StoreUnavailable(f"Redis: {error}") from error

    return call
