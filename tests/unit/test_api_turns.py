"""Large requests take turns, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest
from flask import Flask

from api import turns
from api.app import create_app
from api.context import LARGE_AT_ONCE, large_turns
from distilq.settings import Settings
from distilq.testing import MemoryStore

SOON_S = 30


@pytest.fixture
def app() -> Flask:
    return create_app(Settings(auth="off"), MemoryStore())


def test_no_more_than_a_few_large_requests_are_worked_on_at_once(app: Flask) -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    full = threading.Event()

    def work() -> None:
        nonlocal under_way, most
        with app.app_context(), turns.turn(large=True):
            with lock:
                under_way += 1
                most = max(most, under_way)
            if under_way == LARGE_AT_ONCE:
                full.set()
            assert full.wait(SOON_S)
            with lock:
                under_way -= 1

    threads = [threading.Thread(target=work) for _ in range(4 * LARGE_AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON_S)
    assert (most, under_way) == (LARGE_AT_ONCE, 0)


def test_others_need_no_turn_and_patience_ends(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", 0.01)
    gone_through = []
    with app.app_context():
        held = [turns.turn(large=True) for _ in range(LARGE_AT_ONCE)]
        for each in held:
            each.__enter__()
        for large in (False, True):
            with turns.turn(large):
                gone_through.append(large)
        for each in held:
            each.__exit__(None, None, None)
        left = [large_turns().acquire(blocking=False) for _ in range(LARGE_AT_ONCE + 1)]
    assert gone_through == [False, True]
    assert left == [True] * LARGE_AT_ONCE + [False]
