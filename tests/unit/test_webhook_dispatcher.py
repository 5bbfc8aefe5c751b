"""The dispatcher goes on, whatever Redis does."""

from __future__ import annotations

from typing import Any, cast

import anyio
import pytest
from redis.exceptions import ConnectionError as RedisGone

from distilq.webhooks import dispatcher
from distilq.webhooks.dispatcher import PER_HOST, Dispatcher
from distilq.webhooks.outbox import Entry, Message, Outbox
from distilq.webhooks.rules import Rules
from distilq.webhooks.schedule import Next
from distilq.webhooks.sending import Answer, Sender

ENTRY = Entry("0" * 32, 1, 1, "hooks.example.com")


class Stub:
    """An outbox with one entry, and a receiver; each call fails once before it succeeds."""

    def __init__(self, stop: anyio.Event) -> None:
        self.stop = stop
        self.failed: set[str] = set()
        self.noted: list[str] = []

    def fail_once(self, name: str, error: Exception) -> None:
        if name not in self.failed:
            self.failed.add(name)
            raise error

    def take(self, *_: Any) -> list[Entry]:
        self.fail_once("take", RedisGone("away"))
        return [] if self.noted else [ENTRY]

    def message(self, entry: Entry) -> Message:
        self.fail_once("message", RedisGone("away"))
        return Message("msg_1", "https://hooks.example.com/", b"{}")

    async def post(self, *_: Any) -> Answer:
        self.fail_once("post", RuntimeError("a mistake of ours"))
        return Answer(at_ms=0, duration_ms=0, status=200)

    def end(self, entry: Entry, answer: Answer, then: Next) -> str:
        self.fail_once("end", RedisGone("away"))
        self.noted.append(then.state)
        anyio.from_thread.run_sync(self.stop.set)
        return then.state


def test_it_goes_on_after_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "ERROR_S", 0)

    async def serve() -> Stub:
        stop = anyio.Event()
        stub = Stub(stop)
        await Dispatcher(cast(Outbox, stub), cast(Sender, stub), [b"k" * 32]).run(stop)
        return stub

    stub = anyio.run(serve)
    assert stub.failed == {"take", "message", "post", "end"}
    assert stub.noted
    assert set(stub.noted) == {"delivered"}


@pytest.mark.parametrize(
    ("answer", "places"),
    [
        (Answer(0, 100, status=204), PER_HOST),
        (Answer(0, 100, status=500), PER_HOST),
        (Answer(0, 14_000, status=204), 1),
        (Answer(0, 100, trouble="not_connected"), 1),
    ],
)
def test_who_does_not_answer_soon_has_one_place_next(answer: Answer, places: int) -> None:
    async def note() -> int:
        stub = Stub(anyio.Event())
        stub.failed.add("end")
        found = Dispatcher(cast(Outbox, stub), Sender(Rules()), [b"k" * 32])
        await found._note(ENTRY, answer)
        return found._places(ENTRY.host)

    assert anyio.run(note) == places


def test_what_it_remembers_of_silent_hosts_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "MOST_SILENT", 3)
    found = Dispatcher(cast(Outbox, None), Sender(Rules()), [b"k" * 32])
    for n in range(10):
        found._remember(f"host-{n}", silent=True)
    assert len(found._silent) == 3
