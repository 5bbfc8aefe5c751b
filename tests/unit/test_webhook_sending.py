"""The way to a receiver: resolved once, checked, and then by address alone."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterable
from typing import Any

import anyio
import httpcore
import pytest

from distilq.webhooks import sending
from distilq.webhooks.dispatcher import AT_ONCE
from distilq.webhooks.rules import Rules
from distilq.webhooks.sending import (
    Answer,
    CheckedBackend,
    Resolve,
    Sender,
    system_resolver,
    trouble_of,
)

URL = "https://hooks.example.com:8443/a"
RULES = Rules(("hooks.example.com",))


class Recorder(httpcore.AsyncNetworkBackend):
    """Notes where somebody wants to connect to, and lets nobody."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.asked.append((host, port))
        raise httpcore.ConnectError


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(httpcore, "AnyIOBackend", lambda: recorder)
    return recorder


def answering(*answers: list[str]) -> Resolve:
    """A resolver that gives these in turn, and fails when it is asked once more."""
    left = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return left.pop(0)

    return resolve


def post(sender: Sender, url: str = URL) -> Answer:
    return anyio.run(sender.post, url, {"webhook-id": "1"}, b"{}")


def test_a_name_that_turns_private_between_check_and_connect_makes_no_difference(
    recorder: Recorder,
) -> None:
    sender = Sender(RULES, answering(["8.8.8.8"], ["127.0.0.1"]))
    assert post(sender).trouble == "not_connected"
    assert recorder.asked == [("8.8.8.8", 8443)], "resolved once, and connected to what was checked"
    assert post(sender).trouble == "address_not_allowed"
    assert len(recorder.asked) == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["::ffff:8.8.8.8"],
        ["2606:4700::1", "fe80::1%eth0"],
        ["169.254.169.254"],
    ],
)
def test_one_private_address_among_others_is_enough_to_send_nothing(
    recorder: Recorder, addresses: list[str]
) -> None:
    assert post(Sender(RULES, answering(addresses))).trouble == "address_not_allowed"
    assert recorder.asked == []


def test_every_address_of_a_host_is_tried(recorder: Recorder) -> None:
    post(Sender(RULES, answering(["8.8.8.8", "2606:4700::1"])))
    assert recorder.asked == [("8.8.8.8", 8443), ("2606:4700::1", 8443)]


@pytest.mark.parametrize("error", [OSError("no such name"), UnicodeError("label too long")])
def test_a_name_that_nobody_knows_is_a_trouble_like_others(
    recorder: Recorder, error: Exception
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise error

    assert post(Sender(RULES, resolve)).trouble == "name_not_resolved"
    assert post(Sender(RULES, answering([]))).trouble == "name_not_resolved"


@pytest.mark.parametrize(
    "url",
    ["https://other.example/", "http://hooks.example.com/", "https://u@hooks.example.com/", "x"],
)
def test_the_rules_are_asked_again_before_anything_is_resolved(
    recorder: Recorder, url: str
) -> None:
    assert post(Sender(RULES, answering()), url).trouble == "host_not_allowed"


def test_a_name_server_that_hangs_costs_an_attempt_and_no_more(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(sending, "ATTEMPT_S", 0.05)
    assert post(Sender(RULES, resolve)).trouble == "timed_out"


def test_name_servers_that_hang_hold_up_no_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, answered = threading.Semaphore(0), threading.Event()

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        if host != "good":
            hanging.release()
            answered.wait()
        return [(None, None, None, "", ("8.8.8.8", 443))]

    found = system_resolver()

    async def hang() -> None:
        await found("bad", 443)

    async def resolve() -> list[str]:
        good: list[str] = []
        async with anyio.create_task_group() as tasks:
            try:
                for _ in range(AT_ONCE - 1):
                    tasks.start_soon(hang)
                for _ in range(AT_ONCE - 1):
                    assert await anyio.to_thread.run_sync(hanging.acquire, True, 5)
                good += await found("good", 443)
            finally:
                answered.set()
        return good

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert anyio.run(resolve) == ["8.8.8.8"]


def test_nothing_goes_by_another_way_than_tcp() -> None:
    async def connect() -> None:
        await CheckedBackend(True, answering()).connect_unix_socket("/run/redis.sock")

    with pytest.raises(NotImplementedError):
        anyio.run(connect)


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (TimeoutError(), "timed_out"),
        (httpcore.ConnectTimeout(), "timed_out"),
        (httpcore.ReadTimeout(), "timed_out"),
        (because(httpcore.ConnectError(), ConnectionRefusedError("10.1.2.3")), "not_connected"),
        (
            because(httpcore.ConnectError(), ssl.SSLCertVerificationError("of hr.corp")),
            "tls_failed",
        ),
        (httpcore.RemoteProtocolError("what an inner server said"), "no_answer"),
        (httpcore.ReadError(), "no_answer"),
        (ValueError("a mistake of ours"), "no_answer"),
    ],
)
def test_of_what_went_wrong_only_the_category_is_told(error: Exception, word: str) -> None:
    assert trouble_of(error) == word
