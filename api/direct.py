"""A client's connection, written to by whichever thread has something for it.

Waking the thread of a request for each token costs more than all else that is done for it. So the
one that reads tokens from Redis writes them itself, where the connection takes them at once.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from distilq.events import Event

Shown = Callable[[list[Event]], Iterator[str]]


class Direct:
    """Chunks of an HTTP/1.1 answer that has begun. One thread at a time, see `Reader.take`."""

    def __init__(self, environ: dict[str, Any], shown: Shown) -> None:
        self._connection = _plain(environ)
        self._shown = shown
        self._begun = False
        self._rest = b""
        self._error: Exception | None = None
        #: When something was written, by time.monotonic.
        self.written_at = 0.0

    def begin(self) -> None:
        """The server has written the head of the answer, and a chunk."""
        self._begun = True

    def tell(self, events: list[Event]) -> bool:
        """Write them without waiting; False if they are to go the ordinary way."""
        if not self._begun or self._connection is None or self._rest or self._error:
            return False
        try:
            if text := "".join(self._shown(events)):
                self._write(self._connection, text.encode())
        except Exception as error:  # the thread of the request raises it
            self._error = error
        return True

    def settle(self) -> None:
        """Write what the connection did not take at once; raise what came of `tell`."""
        if self._error:
            raise self._error
        if self._rest and self._connection is not None:
            rest, self._rest = self._rest, b""
            self._connection.sendall(rest)

    def _write(self, connection: socket.socket, data: bytes) -> None:
        chunk = b"%X\r\n%b\r\n" % (len(data), data)
        try:
            sent = connection.send(chunk, socket.MSG_DONTWAIT)
        except OSError:  # full, or gone: `settle` will see
            sent = 0
        self._rest = chunk[sent:]
        self.written_at = time.monotonic()


def _plain(environ: dict[str, Any]) -> socket.socket | None:
    """The connection of the request, unless it is encrypted or its server does not show it."""
    connection = environ.get("gunicorn.socket")
    plain = type(connection) is socket.socket and environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
    return connection if plain else None
