"""The healthchecks of the images ask the real thing."""

from __future__ import annotations

import threading
from collections.abc import Callable

from redis import Redis
from werkzeug.serving import make_server

from api import alive as api_alive
from api.app import create_app
from distilq import keys
from distilq.claims import Claims
from distilq.cli.ports import free_port
from distilq.connection import connect
from distilq.settings import Settings
from distilq.store import JobStore
from distilq.testing import FAKE_WORKER, MemoryRing
from worker import alive as worker_alive

MakeSettings = Callable[..., Settings]


def test_a_worker_is_healthy_while_its_host_beats(
    redis_client: Redis, settings: MakeSettings
) -> None:
    mine = settings()
    with connect(mine.redis_url) as redis:
        state = FAKE_WORKER.model_copy(update={"host": "here", "model": mine.model})
        Claims(redis, mine.model, state.id).beat(state)
        assert worker_alive.why_not(mine, "here") is None
        assert worker_alive.why_not(mine, "there") == "no heartbeat from there within 15 s"
        redis.zadd(keys.WORKERS, {state.id: (redis.time()[0] - keys.HEARTBEAT_S - 1) * 1000})
        assert worker_alive.why_not(mine, "here")


def test_a_worker_whose_redis_is_away_is_not_healthy() -> None:
    away = Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert "Redis does not answer" in str(worker_alive.why_not(away, "here"))


def test_an_api_is_healthy_while_it_answers(store: JobStore) -> None:
    app = create_app(Settings(auth="on", model=store.model), store, MemoryRing())
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert api_alive.why_not(port=server.server_port) is None
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "no answer" in str(api_alive.why_not(port=server.server_port))
