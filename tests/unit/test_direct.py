"""Events that are written to a client's connection by the thread that reads them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from api.direct import Direct
from distilq.errors import GenerationFailed
from distilq.events import Came, Event, Place, Token


def token(text: str) -> list[Event]:
    return [Came(Place(1, 1), Token(0, 0, 0, 65, text))]


def texts(events: list[Event]) -> Iterator[str]:
    yield from (event.token.text for event in events if isinstance(event, Came))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    server, client = socket.socketpair()
    with server, client:
        client.settimeout(10)
        yield server, client


def direct(connection: Any, shown: Any = texts, protocol: str = "HTTP/1.1") -> Direct:
    return Direct({"gunicorn.socket": connection, "SERVER_PROTOCOL": protocol}, shown)


def test_tokens_are_written_as_chunks(pair: tuple[socket.socket, socket.socket]) -> None:
    server, client = pair
    written = direct(server)
    written.begin()
    assert written.tell(token("seventeen letters"))
    assert written.tell(token(""))  # an empty chunk would end the answer
    written.settle()
    assert client.recv(100) == b"11\r\nseventeen letters\r\n"
    assert written.written_at > 0


def test_nothing_is_written_before_the_head_of_the_answer(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    assert not direct(pair[0]).tell(token("a"))


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/2"])
def test_only_answers_in_chunks_are_written(
    pair: tuple[socket.socket, socket.socket], protocol: str
) -> None:
    other = direct(pair[0], protocol=protocol)
    other.begin()
    assert not other.tell(token("a"))


def test_other_servers_write_themselves() -> None:
    for environ in ({}, {"gunicorn.socket": object(), "SERVER_PROTOCOL": "HTTP/1.1"}):
        other = Direct(environ, texts)
        other.begin()
        assert not other.tell(token("a"))


def test_a_full_connection_gets_the_rest_later_and_in_order(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    server, client = pair
    written = direct(server)
    written.begin()
    told = 0
    while written.tell(token("x" * 5_000)):
        told += 1
    assert told > 0
    received = client.recv(1 << 24, socket.MSG_DONTWAIT)
    written.settle()
    assert written.tell(token("end"))
    server.shutdown(socket.SHUT_WR)
    while part := client.recv(1 << 20):
        received += part
    assert received == (b"1388\r\n" + b"x" * 5_000 + b"\r\n") * told + b"3\r\nend\r\n"


def test_a_client_that_is_gone_is_for_the_thread_of_the_request(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    server, client = pair
    client.close()
    written = direct(server)
    written.begin()
    assert written.tell(token("a"))
    with pytest.raises(OSError, match="pipe"):
        written.settle()


def test_what_cannot_be_shown_is_for_the_thread_of_the_request(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    def refuse(events: list[Event]) -> Iterator[str]:
        raise GenerationFailed("no log-probability")

    written = direct(pair[0], refuse)
    written.begin()
    assert written.tell(token("a"))
    assert not written.tell(token("b"))
    with pytest.raises(GenerationFailed):
        written.settle()
