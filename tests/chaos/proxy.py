"""A TCP proxy in front of Redis that breaks what passes it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

#: Close with a reset: no goodbye, as from a router that has forgotten the connection.
RESET = struct.pack("ii", 1, 0)


class Link:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        #: Nothing gets through any more, and neither end hears of it: half-open. For good, as a
        #: stream that lost bytes in its middle is none that TCP would hand on.
        self.dead = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Listens on a port of its own; `faults` says which methods break things and for how long."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._links: set[Link] = set()
        self._lock = threading.Lock()
        self._swallows = False
        self._delay_s = 0.0
        #: Tells of a piece from the server whether the connection breaks in place of it.
        self.cuts: Callable[[bytes], bool] = lambda piece: False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="proxy").start()

    def drop(self) -> None:
        """Reset every connection."""
        for link in self._all():
            link.close()

    def half_close(self) -> None:
        """Tell every client that the server has nothing more to say, and go on listening to it."""
        for link in self._all():
            with suppress(OSError):
                link.client.shutdown(socket.SHUT_WR)

    def swallow(self, seconds: float) -> None:
        """Let connections that exist or come in this time lead nowhere."""
        self._swallows = True
        for link in self._all():
            link.dead = True
        time.sleep(seconds)
        self._swallows = False

    def delay(self, seconds: float, each_s: float) -> None:
        """Hold up every piece of what passes in this time."""
        self._delay_s = each_s
        time.sleep(seconds)
        self._delay_s = 0.0

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self.drop()

    def _all(self) -> list[Link]:
        with self._lock:
            return list(self._links)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=2)
            except OSError:  # Redis is down: the client must see that too
                client.close()
                continue
            server.settimeout(None)
            self._join(Link(client, server))

    def _join(self, link: Link) -> None:
        link.dead = self._swallows
        with self._lock:
            self._links.add(link)
        for ends in ((link.client, link.server), (link.server, link.client)):
            threading.Thread(target=self._pump, args=(link, *ends), daemon=True).start()

    def _pump(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if self._delay_s:
                    time.sleep(self._delay_s)
                if source is link.server and self.cuts(data):
                    break
                if not link.dead:
                    sink.sendall(data)
        link.close()
        with self._lock:
            self._links.discard(link)
