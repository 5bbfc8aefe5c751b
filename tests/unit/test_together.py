from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import NoScriptError

from distilq.together import MOST, Together


class FakeRedis:
    """A server whose one script returns its argument; the first call waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.first_may_end = threading.Event()
        self.first_is_there = threading.Event()
        self.knows_script = True
        self.lost = False

    sha = "5ca1ab1e"

    def __call__(self, args: Sequence[Any]) -> Any:
        self.batches.append(1)
        if not self.first_is_there.is_set():
            self.first_is_there.set()
            assert self.first_may_end.wait(30)
        return args[0]

    def pipeline(self, transaction: bool) -> FakePipeline:
        assert not transaction
        return FakePipeline(self)


class FakePipeline:
    def __init__(self, redis: FakeRedis) -> None:
        self._redis = redis
        self._args: list[Any] = []

    def execute_command(self, *command: Any) -> None:
        assert command[:3] == ("EVALSHA", FakeRedis.sha, 0)
        self._args.append(command[3])

    def execute(self, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        if self._redis.lost:
            raise Lost("gone")
        self._redis.batches.append(len(self._args))
        return [arg if self._redis.knows_script else NoScriptError() for arg in self._args]


@pytest.fixture
def server() -> FakeRedis:
    return FakeRedis()


def answers_of(server: FakeRedis, callers: int) -> list[Any]:
    """What each of so many gets who call while the first call is under way."""
    together: Any = Together(server, server)  # type: ignore[arg-type]  # a fake of both

    def call(number: int) -> Any:
        try:
            return together([number])
        except Lost as error:
            return error

    with ThreadPoolExecutor(callers + 1) as threads:
        first = threads.submit(call, -1)
        assert server.first_is_there.wait(30)
        others = [threads.submit(call, number) for number in range(callers)]
        while len(together._waiting) < callers:
            pass
        server.first_may_end.set()
        assert first.result(30) == -1
        return [other.result(30) for other in others]


def test_who_comes_alone_makes_the_call_itself(server: FakeRedis) -> None:
    server.first_may_end.set()
    assert answers_of(server, 0) == []
    assert server.batches == [1]


def test_those_who_come_meanwhile_share_a_pipeline_and_get_their_own_answers(
    server: FakeRedis,
) -> None:
    assert answers_of(server, 20) == list(range(20))
    assert server.batches == [1, 20]


def test_a_pipeline_carries_no_more_than_its_share(server: FakeRedis) -> None:
    assert answers_of(server, MOST + 3) == list(range(MOST + 3))
    assert server.batches == [1, MOST, 3]


def test_a_server_that_has_forgotten_the_script_is_given_it_again(server: FakeRedis) -> None:
    server.knows_script = False
    assert answers_of(server, 3) == [0, 1, 2]
    assert server.batches == [1, 3, 1, 1, 1]  # the call of one, which loads it


def test_a_lost_connection_is_the_error_of_all_whom_it_carried(server: FakeRedis) -> None:
    server.lost = True
    assert all(isinstance(answer, Lost) for answer in answers_of(server, 3))
