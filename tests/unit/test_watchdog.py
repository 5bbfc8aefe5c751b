from __future__ import annotations

import faulthandler

import pytest

from worker.watchdog import FROZEN_S, MOST_PER_LOOK_S, Watchdog


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("worker.watchdog.time.monotonic", lambda: now[0])
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *_, **__: None)
    return now


def test_an_engine_that_moves_is_left_alone(clock: list[float]) -> None:
    moves, deaths = [0.0], list[float]()
    dog = Watchdog(lambda: moves[0], lambda: deaths.append(clock[0]))
    for _ in range(100):
        clock[0] += 1
        moves[0] += 1
        assert dog.look()
        assert not dog.look()
    assert deaths == []


def test_an_engine_that_stands_still_ends_its_process(clock: list[float]) -> None:
    deaths = list[float]()
    dog = Watchdog(lambda: 7, lambda: deaths.append(clock[0]))
    while not deaths:
        clock[0] += 1
        dog.look()
    assert deaths == [FROZEN_S]


def test_time_in_which_the_whole_process_stood_still_does_not_count(clock: list[float]) -> None:
    deaths = list[float]()
    dog = Watchdog(lambda: 7, lambda: deaths.append(clock[0]))
    for _ in range(int(FROZEN_S / MOST_PER_LOOK_S) - 1):
        clock[0] += 3600
        dog.look()
    assert deaths == []
