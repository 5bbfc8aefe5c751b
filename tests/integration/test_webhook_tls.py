"""A receiver's certificate has to be that of the name in its address, whoever answers there."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from distilq.webhooks.rules import Rules
from distilq.webhooks.sending import Answer, Sender

RULES = Rules(("localhost", "other.example"), allow_private=True)
BODY = b"{}"


class TlsReceiver:
    """Answers 204 on one port; notes the names that were asked for."""

    def __init__(self, certificate: Path) -> None:
        self.names: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._context.sni_callback = lambda _, name, __: self.names.append(name)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self.listening.accept()
            with connection:
                if connection.recv(1, socket.MSG_PEEK) == b"x":
                    return
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with self._context.wrap_socket(connection, server_side=True) as tls:
                asked = more = tls.recv(65_536)
                while more and not asked.endswith(
                    BODY
                ):  # what is left unread takes the answer along
                    more = tls.recv(65_536)
                    asked += more
                tls.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        except OSError:  # whom it does not please hangs up
            pass

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"x")
        self.thread.join()
        self.listening.close()


@pytest.fixture
def receiver(certificate: Path) -> Iterator[TlsReceiver]:
    receiver = TlsReceiver(certificate)
    yield receiver
    receiver.close()


def post(receiver: TlsReceiver, host: str) -> Answer:
    async def resolve(_: str, __: int) -> list[str]:
        return ["127.0.0.1"]

    return anyio.run(
        Sender(RULES, resolve).post, f"https://{host}:{receiver.port}/", {"a": "b"}, BODY
    )


def test_a_receiver_that_is_who_it_says_is_told(
    receiver: TlsReceiver, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert post(receiver, "localhost").status == 204
    assert receiver.names == ["localhost"]


def test_the_certificate_of_another_name_is_refused(
    receiver: TlsReceiver, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert post(receiver, "other.example").trouble == "tls_failed"
    assert receiver.names == ["other.example"]


def test_a_certificate_that_nobody_vouches_for_is_refused(receiver: TlsReceiver) -> None:
    assert post(receiver, "localhost").trouble == "tls_failed"
