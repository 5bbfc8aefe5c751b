"""The Redis client of every process, with finite timeouts.

`redis://` and `rediss://` (TLS) are redis-py's addresses; one of our own finds the master of a
Sentinel group:

    sentinel://[user:password@]host[:port][,host[:port]…]/MASTER[/DB]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar
from urllib.parse import quote, unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from distilq.errors import StoreFull, StoreUnavailable

P = ParamSpec("P")
R = TypeVar("R")

#: redis-py types each answer as a union over sync, async, str and bytes: nothing to check against.
RedisClient: TypeAlias = Any

#: Seconds without an answer after which Redis counts as gone; the default waits for ever.
TIMEOUT_S, CONNECT_TIMEOUT_S = 5, 2

#: One per thread that talks at the same moment; more than any process here has.
MAX_CONNECTIONS = 2_048

SENTINEL_PORT = 26_379


@dataclass(frozen=True)
class SentinelGroup:
    """What a `sentinel://` address says."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> SentinelGroup:
        """Raises ValueError on an address that names no host or no master."""
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        master, _, db = parts.path.strip("/").partition("/")
        if not hosts or not master:
            raise ValueError("an address is sentinel://host[:port][,host[:port]…]/MASTER[/DB]")
        return cls(
            hosts=tuple(_host_and_port(host) for host in hosts.split(",")),
            master=master,
            db=int(db or 0),
            username=unquote(user) or None,
            password=unquote(password) or None,
        )

    @property
    def broker_url(self) -> str:
        """The same as kombu writes it: an address per Sentinel, the master's name left out."""
        login = ""
        if self.password:
            login = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        return ";".join(f"sentinel://{login}{host}:{port}/{self.db}" for host, port in self.hosts)


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or SENTINEL_PORT


def is_sentinel(url: str) -> bool:
    return url.startswith("sentinel://")


def broker_url(url: str) -> str:
    """The address as Celery takes it."""
    return SentinelGroup.parse(url).broker_url if is_sentinel(url) else url


def connect(url: str) -> RedisClient:
    """A client that answers in bytes and tries a broken connection once more.

    Every call of this project may be sent twice: submissions by job id, the rest by fence.
    """
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "max_connections": MAX_CONNECTIONS,
        "retry": Retry(NoBackoff(), 1),
    }
    if not is_sentinel(url):
        return Redis.from_url(url, **options)
    group = SentinelGroup.parse(url)
    login = {"db": group.db, "username": group.username, "password": group.password}
    timeouts = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": CONNECT_TIMEOUT_S}
    # redis-py leaves this module without types.
    sentinel: Any = Sentinel(list(group.hosts), sentinel_kwargs=timeouts)  # type: ignore[no-untyped-call]
    return sentinel.master_for(group.master, **login, **options)


def database(url: str) -> int:
    """The number of the database that an address names. Raises ValueError: it is no address."""
    if is_sentinel(url):
        return SentinelGroup.parse(url).db
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
