"""Calls of one Lua script, each under way while its caller prepares the next.

One thread, not two: a second one that only sends and waits gets Python's lock every 5 ms at best,
for which time Redis would have nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from redis.commands.core import Script
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as TooLate
from typing_extensions import Self

from distilq.connection import RedisClient


class Ahead:
    """A connection that has one call under way at most; leave it only after `wait`."""

    def __init__(self, redis: RedisClient, script: Script, keys: Sequence[str]) -> None:
        self._pool = redis.connection_pool
        self._script = script
        self._keys = keys
        self._under_way: list[str | int] | None = None

    def __enter__(self) -> Self:
        self._connection = self._pool.get_connection()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._under_way is not None:  # its answer is nobody else's
            self._connection.disconnect()
        self._pool.release(self._connection)

    def call(self, args: list[str | int]) -> None:
        """Wait for the last call, and send this one. It has to bear being sent twice.

        Raises:
            redis.RedisError: of the last call.
        """
        self.wait()
        self._under_way = args
        try:
            command = ("EVALSHA", self._script.sha, len(self._keys), *self._keys, *args)
            self._connection.send_command(*command)
        except (Lost, TooLate):
            self._again()

    def wait(self) -> None:
        """Until there is no call under way; raises what the last one did."""
        if self._under_way is None:
            return
        try:
            self._connection.read_response()
            self._under_way = None
        except (Lost, TooLate, NoScriptError):
            self._again()

    def _again(self) -> None:
        """Have the client make the call, which connects anew and loads the script."""
        self._connection.disconnect()
        args, self._under_way = self._under_way, None
        self._script(keys=self._keys, args=args)
