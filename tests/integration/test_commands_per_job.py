"""How many commands a job costs Redis: as many whatever the depth of the queue, few per step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distilq.claims import FINISHED_PER_CALL, Claims
from distilq.jobs import JobRequest, Outcome, Sequence, Webhook
from distilq.store import JobStore

ASKED = JobRequest(inputs="Once upon a time,")
DONE = Outcome(
    result=[[Sequence(generated_text="a", finish_reason="length", generated_tokens=1, seed=7)]]
)

Counts = dict[str, int]
Count = Callable[[Callable[[], object]], Counts]


@pytest.fixture
def count(redis_client: Any) -> Count:
    """Calls it and counts what Redis did meanwhile, within scripts too, by command."""

    def counted(act: Callable[[], object]) -> Counts:
        redis_client.config_resetstat()
        act()
        stats = redis_client.info("commandstats")
        calls = {name: each["calls"] for name, each in stats.items()}
        return {name: n for name, n in calls.items() if "config" not in name}

    return counted


def a_round(store: JobStore, claims: Claims, count: Count) -> list[Counts]:
    """One job in, then eight from claim to end."""
    held = claims.take(0)
    return [
        count(lambda: store.submit(ASKED)),
        count(lambda: held.extend(claims.take(8))),
        count(lambda: claims.renew(dict.fromkeys(held, (1, 0)))),
        count(lambda: claims.finish([(claim, DONE) for claim in held], {})),
    ]


def test_a_job_costs_the_same_commands_in_a_short_queue_and_in_a_deep_one(
    store: JobStore, claims: Claims, count: Count
) -> None:
    store.submit_many([ASKED] * 20)
    a_round(store, claims, count)  # loads the scripts
    short = a_round(store, claims, count)
    store.submit_many([ASKED] * 5_000)
    assert a_round(store, claims, count) == short


def test_the_jobs_that_finish_in_a_step_are_written_in_one_round_trip(
    store: JobStore, claims: Claims, count: Count
) -> None:
    store.submit_many([ASKED] * (FINISHED_PER_CALL + 1))
    claims.finish([(claim, DONE) for claim in claims.take(1)], {})
    held = claims.take(FINISHED_PER_CALL)
    counts = count(lambda: claims.finish([(claim, DONE) for claim in held], {}))
    assert counts["cmdstat_evalsha"] == 1
    assert "cmdstat_script" not in counts
    assert store.queue().running == 0


def test_a_step_in_which_no_job_finishes_writes_nothing(claims: Claims, count: Count) -> None:
    assert "cmdstat_evalsha" not in count(lambda: claims.finish([], {}))


def test_a_job_without_a_webhook_costs_nothing_for_those_that_have_one(
    store: JobStore, claims: Claims, count: Count
) -> None:
    def finished(asked: JobRequest) -> Counts:
        store.submit_many([asked] * 9)
        claims.finish([(claim, DONE) for claim in claims.take(1)], {})  # loads the script
        held = claims.take(8)
        assert len(held) == 8
        return count(lambda: claims.finish([(claim, DONE) for claim in held], {}))

    plain = finished(ASKED)
    told = finished(ASKED.replaced(webhook=Webhook(url="https://hooks.example.com/")))
    own = {"cmdstat_hset": 8, "cmdstat_pexpireat": 8, "cmdstat_zadd": 2 * 8}
    assert told == {name: n + own.get(name, 0) for name, n in plain.items()}
