"""A load generator that costs little: keep-alive connections of one thread, requests ready-made.

It writes bytes and reads to the end of each body, no more, some 90 microseconds per request: on two
cores it is not what is measured.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

RECEIVED_AT_ONCE = 1 << 20
END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Load:
    """What came of a run: one latency in seconds per answer, and how many had another status."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: int = 0

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """A POST of JSON as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._whole = -1  # bytes of the answer under way, as soon as its head is there
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self._received, self._whole = b"", -1
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The answer, once the last byte of it is there.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        part = self.socket.recv(RECEIVED_AT_ONCE)
        if not part:
            raise ConnectionError("the server closed the connection amid an answer")
        self._received += part
        if self._whole < 0:
            self._whole = answer_size(self._received)
        return self._received if 0 <= self._whole <= len(self._received) else None

    def ask(self, request: bytes) -> bytes:
        self.send(request)
        while (answer := self.receive()) is None:
            pass
        return answer

    def close(self) -> None:
        self.socket.close()


def answer_size(received: bytes) -> int:
    """Bytes of the answer that begins here; -1 while its head is not whole."""
    end = received.find(END_OF_HEAD)
    if end < 0:
        return -1
    head = received[:end].lower()
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return end + len(END_OF_HEAD) + (int(rest.split(b"\r\n", 1)[0]) if found else 0)


def body_of(answer: bytes) -> bytes:
    return answer.partition(END_OF_HEAD)[2]


def hammer(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> Load:
    """Keep every connection busy for so long: each asks again as soon as it is answered."""
    load = Load()
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            connection = Connection(port)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(requests))
        start = time.perf_counter()
        until, busy = start + seconds, connections
        while busy:
            for key, _ in selector.select():
                connection = key.data
                answer = connection.receive()
                if answer is None:
                    continue
                now = time.perf_counter()
                if answer[9:10] == b"2":
                    load.latencies.append(now - connection.sent_at)
                else:
                    load.refused += 1
                if now < until:
                    connection.send(next(requests))
                else:
                    busy -= 1
                    selector.unregister(connection.socket)
                    connection.close()
        load.seconds = time.perf_counter() - start
    return load
