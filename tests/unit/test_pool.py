"""EnginePool without Celery and without Redis: what it does with claims that come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from distilq.claims import Claim
from distilq.events import Token
from distilq.jobs import JobRequest, Outcome
from distilq.parameters import Parameters
from distilq.settings import Settings
from worker.lease import Holdings
from worker.pool import EnginePool

MODEL = "simulated:step_ms=20"


class FakeClaims:
    """Notes what is finished; nothing is ever claimed, canceled or lost by itself."""

    def __init__(self) -> None:
        self.asked_to_empty = False
        self.to_take: list[Claim] = []
        self.released: list[Claim] = []
        self.finished: list[tuple[Claim, Outcome]] = []
        self.writes: list[int] = []
        self.emitted: list[tuple[Claim, int, Sequence[Token]]] = []

    def take(self, rows: int, queues: Any = None, **_: Any) -> list[Claim]:
        taken, self.to_take = self.to_take, []
        return taken

    def emit(self, entries: Sequence[tuple[Claim, int, Sequence[Token]]]) -> None:
        self.emitted += entries

    def finish(self, done: Sequence[tuple[Claim, Outcome]], _: Mapping[str, str]) -> None:
        self.finished += done
        self.writes.append(len(done))

    def renew(self, progress: Mapping[Claim, tuple[int, int]]) -> dict[str, str]:
        return {}

    def next_cancel(self, timeout_s: float) -> None:
        time.sleep(timeout_s)

    def beat(self, state: Any, observed: Any) -> None: ...

    def release(self, claims: Any) -> None:
        self.released += claims

    def leave(self) -> None: ...


@pytest.fixture
def claims() -> FakeClaims:
    return FakeClaims()


@pytest.fixture
def pool(claims: FakeClaims) -> Iterator[EnginePool]:
    holdings = Holdings(claims, 8, 1024)  # type: ignore[arg-type]
    app = SimpleNamespace(
        distilq_settings=Settings(model=MODEL, drain_s=0),
        distilq_worker_id="w",
        distilq_sweeper=SimpleNamespace(start=lambda: None, stop=lambda: None),
        conf=SimpleNamespace(broker_transport_options={"holdings": holdings}),
    )
    pool = EnginePool(limit=8, app=app)
    pool.on_start()
    yield pool
    pool.on_stop()


def a_claim(fence: int, job_id: str = "j", *, stream: bool = False, **parameters: Any) -> Claim:
    asked = JobRequest(inputs="a", stream=stream, parameters=Parameters(**parameters))
    request = asked.resolved().model_dump_json().encode()
    return Claim(job_id, fence, 1, 51, "normal", False, request)


def deliver(pool: EnginePool, claim: Claim) -> None:
    pool.holdings._held[claim.id] = claim
    pool.on_apply(
        None, ("task", claim.id), callback=lambda _: None, accept_callback=lambda *_: None
    )


def test_a_job_that_is_no_longer_held_is_given_back_to_celery(pool: EnginePool) -> None:
    told: list[object] = []
    pool.on_apply(None, ("task", "x"), callback=told.append, accept_callback=lambda *_: None)
    assert told == [(0, None, 0.0)]
    assert pool._running == {}


def test_a_claim_that_never_comes_is_handed_back(pool: EnginePool, claims: FakeClaims) -> None:
    claim = a_claim(1)
    claims.to_take = [claim]
    assert pool.holdings.take() == [claim]
    pool.flush()
    assert claims.released == [claim]
    assert pool.holdings.all() == []


def test_a_job_lost_and_claimed_again_is_not_taken_for_canceled(
    pool: EnginePool, claims: FakeClaims
) -> None:
    first, second = a_claim(1), a_claim(2)
    deliver(pool, first)
    pool._stop_job(first, "lost")
    deliver(pool, second)  # before the engine has let go of the first
    deadline = time.monotonic() + 20
    while not any(claim == second for claim, _ in claims.finished):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [(c.fence, o.error) for c, o in claims.finished if c == second] == [(2, None)]
    assert pool._running == {}
    assert pool.holdings.all() == []


def test_results_are_written_once_per_step_that_ends_jobs_and_by_no_thread_of_their_own(
    pool: EnginePool, claims: FakeClaims
) -> None:
    ended: list[int] = []
    steps = 0
    step = pool.engine.step

    def noted() -> list[tuple[str, Outcome]]:
        nonlocal steps
        done = step()
        steps += 1
        ended.extend([len(done)] if done else [])
        return done

    pool.engine.step = noted  # type: ignore[method-assign]
    threads = threading.active_count()
    for number in range(30):
        deliver(pool, a_claim(1, f"j{number}", max_new_tokens=2 + 2 * (number % 5)))
    assert threading.active_count() == threads
    deadline = time.monotonic() + 20
    while len(claims.finished) < 30:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert claims.writes == ended
    assert len(ended) < min(steps, 30)


def test_a_step_tells_of_the_tokens_of_all_jobs_that_stream_in_one_call(
    pool: EnginePool, claims: FakeClaims
) -> None:
    deliver(pool, a_claim(1, "silent", max_new_tokens=5))
    for name in ("one", "two"):
        deliver(pool, a_claim(7, name, stream=True, max_new_tokens=3))
    deadline = time.monotonic() + 20
    while len(claims.finished) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for name in ("one", "two"):
        mine = [each for each in claims.emitted if each[0].id == name]
        assert [(claim.fence, number) for claim, number, _ in mine] == [(7, 1), (7, 2), (7, 3)]
        [outcome] = [outcome for claim, outcome in claims.finished if claim.id == name]
        [[text]] = outcome.result or []
        given = "".join(token.text for _, _, tokens in mine for token in tokens)
        assert "a" + given == text.generated_text
    assert {claim.id for claim, _, _ in claims.emitted} == {"one", "two"}
    assert pool._streams._jobs == {}
