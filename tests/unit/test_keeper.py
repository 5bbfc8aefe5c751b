"""The threads that keep a worker's jobs, with a Redis that comes and goes."""

from __future__ import annotations

import threading
from typing import Any

import redis

from distilq.histograms import Observations
from distilq.testing import FAKE_WORKER
from worker.lease import Holdings, Keeper
from worker.watchdog import Watchdog


class Claims:
    """Of a Redis that is away until it has been asked once."""

    asked_to_empty = False

    def __init__(self) -> None:
        self.beats = 0
        self.heard = threading.Event()

    def beat(self, state: Any, observed: Any) -> None:
        self.beats += 1
        if self.beats == 1:
            raise redis.ConnectionError("Redis went away while the model was loaded")
        self.heard.set()

    def next_cancel(self, timeout_s: float) -> None:
        threading.Event().wait(0.01)


def test_a_worker_starts_though_redis_went_away_while_its_model_was_loaded() -> None:
    claims: Any = Claims()
    keeper = Keeper(
        Holdings(claims, max_rows=8, max_tokens=1024),
        progress=dict,
        stop_job=lambda claim, why: None,
        state=lambda: FAKE_WORKER,
        observations=Observations(),
        watchdog=Watchdog(lambda: 0.0, lambda: None),
    )
    keeper.start()
    assert claims.heard.wait(30)
    keeper.stop()
