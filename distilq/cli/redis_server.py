"""The Redis of `distilq up`: one of its own, or one that is there already."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from distilq.cli.errors import CannotRun
from distilq.cli.ports import free_port
from distilq.cli.redis_binary import ADVICE, MINIMUM, find_redis_server, version
from distilq.cli.supervisor import Program
from distilq.cli.table import without_password
from distilq.connection import connect
from distilq.durability import why_volatile

#: Seconds in which a Redis whose `distilq up` was killed lets go of its directory.
LOCK_PATIENCE_S = 3.0
STOP_S = 5.0
#: Warnings that Redis prints at every start and stop and that ask nothing of the user.
CHATTER = re.compile(
    r"overcommit_memory|Transparent Huge Pages|maximum number of open files|increased from|"
    r"TCP backlog|Redis is starting|Redis version|Configuration loaded|Server initialized|"
    r"signal.handler|User requested|Removing the pid|ready to exit|monotonic clock|"
    r"Ready to accept|Warning: no config file"
)


#: Records of up to 4 KB per field lie flat in memory, and messages in the queue are compressed: a
#: third of the memory per job, for a sixth more of Redis' time (docs/performance.md).
COMPACT = {"hash-max-ziplist-value": "4096", "list-compress-depth": "1"}


class OwnRedis:
    """A redis-server with an append-only file in `data_dir`, for this `distilq up` alone."""

    def __init__(self, data_dir: Path) -> None:
        self._binary = find_redis_server()
        if self._binary is None:
            raise CannotRun(ADVICE)
        self.data_dir = data_dir.absolute()
        self._lock = _lock(self.data_dir)
        if (version(self._binary) or MINIMUM) < (7,) and (data_dir / "appendonlydir").exists():
            raise CannotRun(
                f"{self.data_dir} was written by Redis 7 or newer, and {self._binary} is older:"
                " install redis-server 7, or choose another --data-dir"
            )
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def program(self) -> Program:
        command = [
            *(str(self._binary), "--port", str(self._port), "--bind", "127.0.0.1"),
            *("--dir", str(self.data_dir), "--appendonly", "yes", "--appendfsync", "everysec"),
            *("--save", "", "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
            *(word for name, value in COMPACT.items() for word in (f"--{name}", value)),
        ]
        # Redis holds the lock too: while it writes, no other may write there.
        return Program(
            "redis", command, os.environ, STOP_S, worth_showing_of_redis, pass_fds=[self._lock]
        )


def worth_showing_of_redis(line: str) -> bool:
    """Warnings ("PID:role date # text") other than the usual ones."""
    return (" # " in line or not re.match(r"\d+:[A-Z] ", line)) and not (
        CHATTER.search(line) or not line
    )


def _lock(data_dir: Path) -> int:
    """A file descriptor that holds the directory's lock until it is closed."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CannotRun(
            f"cannot write to the data directory {data_dir}: {error.strerror}"
        ) from None
    end = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                said = f"data directory {data_dir} is in use by another `distilq up`"
                raise CannotRun(said) from None
            time.sleep(0.1)
        else:
            return lock


def answers(url: str) -> Callable[[], bool]:
    """Whether the Redis at `url` answers; False too while it still loads its file."""
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)

    def ping() -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False

    return ping


def check_joined(url: str, allow_volatile: bool) -> None:
    """Refuse a Redis that is not there, is too old, or may lose jobs."""
    name = without_password(url)
    try:
        with connect(url) as client:
            info: dict[str, Any] = client.info()
    except ValueError as error:
        raise CannotRun(f"{name} is not the address of a Redis: {error}") from None
    except (redis.RedisError, OSError) as error:
        raise CannotRun(f"the Redis at {name} does not answer: {error}") from None
    found = str(info["redis_version"])
    if tuple(int(part) for part in found.split(".")[:2]) < MINIMUM:
        raise CannotRun(f"the Redis at {name} is version {found}; distilq needs 6.2 or newer")
    if info.get("loading"):
        raise CannotRun(f"the Redis at {name} is still reading its file; try again when it has")
    if not allow_volatile and (why := why_volatile(info)):
        raise CannotRun(
            f"the Redis at {name} may lose jobs: {why}."
            " Change that, or give --allow-volatile to use it all the same"
        )
