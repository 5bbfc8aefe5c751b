"""Samples of the last hour, on a real Redis."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from distilq import keys
from distilq.claims import Claims
from distilq.connection import connect
from distilq.errors import GenerationFailed
from distilq.histograms import Observations
from distilq.jobs import JobRequest, Outcome, Priority, Sequence
from distilq.listing import LOOKED_AT
from distilq.samples import Samples
from distilq.scripts import Scripts
from distilq.settings import Settings
from distilq.stats import STEP_S, WINDOW_S
from distilq.store import JobStore
from distilq.sweeper import Sweeper
from distilq.testing import FAKE_WORKER

MODEL = "bundled"
KEY = keys.samples(MODEL)
TEXT = Sequence(generated_text="a", finish_reason="length", generated_tokens=1, seed=7)
DONE = Outcome(result=[[TEXT]])
FAILED = Outcome(error=GenerationFailed().problem())


@pytest.fixture
def samples(redis_client: Any) -> Samples:
    return Samples(redis_client, Scripts(redis_client), MODEL)


def turn_back(redis: Any, seconds: int) -> None:
    """As if all samples had been taken so many seconds earlier."""
    entries = redis.xrange(KEY)
    redis.delete(KEY)
    for entry_id, fields in entries:
        redis.xadd(KEY, fields, id=f"{at_ms(entry_id) - seconds * 1000}-0")


def a_step_apart(redis: Any) -> None:
    """As if there had been one in every step up to now."""
    entries = redis.xrange(KEY)
    redis.delete(KEY)
    first = redis.time()[0] - STEP_S * (len(entries) - 1)
    for number, (_, fields) in enumerate(entries):
        redis.xadd(KEY, fields, id=f"{(first + number * STEP_S) * 1000}-0")


def at_ms(entry_id: bytes) -> int:
    return int(entry_id.split(b"-")[0])


def steps(redis: Any) -> list[int]:
    return [at_ms(entry_id) // (1000 * STEP_S) for entry_id, _ in redis.xrange(KEY)]


def run(store: JobStore, claims: Claims, outcome: Outcome, jobs: int) -> None:
    store.submit_many([JobRequest(inputs="a")] * jobs)
    claims.finish([(claim, outcome) for claim in claims.take(jobs)], {})


def test_a_sample_has_queue_workers_and_what_was_done(
    redis_client: Any, samples: Samples, store: JobStore, claims: Claims
) -> None:
    assert samples.keep()
    turn_back(redis_client, STEP_S)
    run(store, claims, DONE, 3)
    run(store, claims, FAILED, 2)
    store.submit_many([JobRequest(inputs="a", priority=Priority.BULK)] * (LOOKED_AT + 1))
    store.cancel(store.submit(JobRequest(inputs="a")).id)
    claims.take(1)
    observed = Observations()
    observed.observe("queue_time", 0.3, "bulk", times=2)
    observed.count("generated_tokens", 50)
    state = FAKE_WORKER.model_copy(update={"id": "w1", "model": MODEL, "rows": 4})
    claims.beat(state, observed.take())
    assert samples.keep()
    a_step_apart(redis_client)
    early, late = store.stats().points
    assert (early.jobs_per_s, early.queued["bulk"], early.oldest_age_s["bulk"]) == (None, 0, None)
    assert late.queued == {"interactive": 0, "normal": 0, "bulk": LOOKED_AT}
    assert late.oldest_age_s["bulk"] is not None
    assert (late.running, late.workers, late.rows) == (1, 1, 4)
    assert (late.jobs_per_s, late.failed_per_s, late.tokens_per_s) == (0.3, 0.2, 5)
    queue_time = store.stats().latency.queue_time
    assert (queue_time.count, queue_time.p50) == (2, 0.375)


def test_of_many_that_sample_at_once_one_is_heard(redis_url: str, redis_client: Any) -> None:
    def sampler() -> Samples:
        client = connect(redis_url)
        return Samples(client, Scripts(client), MODEL)

    for _ in range(5):
        redis_client.delete(KEY)
        with ThreadPoolExecutor(8) as threads:
            kept = sum(threads.map(Samples.keep, [sampler() for _ in range(8)]))
        found = steps(redis_client)
        assert kept == len(found) == len(set(found)) >= 1


def test_a_step_is_sampled_once_by_whichever_process_comes_first(
    redis_client: Any, sweeper: Sweeper, samples: Samples
) -> None:
    now_s = 1_700_000_000.0
    redis_client.xadd(KEY, {"sample": samples.take().model_dump_json(exclude={"at"})}, id="1-0")
    assert samples.keep_if_due(now_s)
    assert not samples.keep_if_due(now_s + 1), "it has done that step"
    sweeper.in_touch()
    sweeper._sample()
    found = steps(redis_client)
    assert len(found) == len(set(found)) >= 1
    assert 0 not in found, "what is too old is forgotten"


def test_a_user_that_may_not_sample_sweeps_all_the_same(
    redis_client: Any, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One that `distilq acl` has made for an earlier version."""
    rules = ("reset", "on", ">secret", "~*", "&*", "+@all", "-xrevrange")
    redis_client.execute_command("ACL", "SETUSER", "earlier", *rules)
    sweeper = Sweeper(connect(redis_url.replace("//", "//earlier:secret@")), MODEL)
    sweeper.in_touch()
    sweeper._sample()
    assert "not sampled" in caplog.text
    assert sweeper.sweep() == 0
    assert sweeper._in_touch_since is not None
    redis_client.execute_command("ACL", "DELUSER", "earlier")


def test_what_is_older_than_an_hour_is_neither_shown_nor_kept(
    redis_client: Any, samples: Samples, store: JobStore
) -> None:
    for age_s, shown, kept in ((0, 1, 1), (WINDOW_S + 1, 1, 2), (STEP_S, 2, 2)):
        turn_back(redis_client, age_s)
        samples.keep()
        assert (len(store.stats().points), redis_client.xlen(KEY)) == (shown, kept)
    turn_back(redis_client, WINDOW_S + 1)
    assert store.stats().points == []
    samples.keep()
    assert 0 < redis_client.pttl(KEY) <= (WINDOW_S + STEP_S) * 1000, "without a sampler it goes"


def test_a_clock_that_was_set_back_begins_anew(
    redis_client: Any, samples: Samples, store: JobStore
) -> None:
    samples.keep()
    turn_back(redis_client, -86_400)
    assert samples.keep()
    assert len(store.stats().points) == redis_client.xlen(KEY) == 1


def test_samples_of_another_version_are_left_out(
    redis_client: Any, samples: Samples, store: JobStore
) -> None:
    samples.keep()
    turn_back(redis_client, STEP_S)
    for entry in ({"sample": "{}"}, {"sample": "["}, {"sample": "7"}, {"other": "1"}):
        redis_client.xadd(KEY, entry)
    assert len(store.stats().points) == 1
    assert store.snapshot().point is None


def test_counts_are_of_one_model(
    redis_client: Any, settings: Callable[..., Settings], samples: Samples
) -> None:
    other = JobStore(redis_client, settings(model="other"))
    run(other, Claims(redis_client, "other", "w2"), DONE, 2)
    other.close()
    assert samples.take().succeeded == 0


def test_a_redis_that_is_full_still_takes_samples(redis_client: Any, samples: Samples) -> None:
    redis_client.config_set("maxmemory", 1)
    try:
        assert samples.keep()
    finally:
        redis_client.config_set("maxmemory", 0)


def test_a_snapshot_is_of_now(
    redis_client: Any, store: JobStore, claims: Claims, samples: Samples
) -> None:
    assert store.snapshot().point is None
    samples.keep()
    store.submit(JobRequest(inputs="a"))
    claims.beat(FAKE_WORKER.model_copy(update={"model": MODEL}))
    redis_client.zadd(keys.dead(MODEL), {"a": 1})
    found = store.snapshot()
    assert (found.queue.queued, found.queue.workers, found.dead) == (1, 1, 1)
    assert [worker.id for worker in found.workers] == ["worker-1"]
    assert found.point is not None
    assert found.point.queued["normal"] == 0
