"""Bytes of Redis per job: queued, finished, and gone but for its tombstone."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from distilq import keys
from distilq.claims import Claims
from distilq.cli.redis_server import COMPACT
from distilq.jobs import Metrics, Outcome, Sequence, Usage
from distilq.settings import Settings
from distilq.store import JobStore

from .served import redis_alone, request

#: Ten tokens, and thirty new ones, of GPT-2's vocabulary.
PROMPT = "The old lighthouse keeper had never once seen a ship"
TEXT = (
    " come so close to the rocks, and yet here it was, drifting without a light in the fog,"
    " as though nobody aboard knew that the shore was near"
)
SERVED_BY = {"precision": "float16", "revision": "2290a62682d06624634c1f46a6ad5be0f47f38aa"}
REDIS_DEFAULTS = {"hash-max-ziplist-value": "64", "list-compress-depth": "0"}

#: Bytes that a million finished jobs may take.
BUDGET = 1.5e9


def run(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "as distilq up starts it": _measured(options.jobs, COMPACT),
        "with Redis' defaults": _measured(options.jobs, REDIS_DEFAULTS),
    }


def _measured(jobs: int, config: Mapping[str, str]) -> dict[str, Any]:
    with redis_alone() as service:
        redis = service.client()
        for name, value in config.items():
            redis.config_set(name, value)
        store = JobStore(redis, Settings(redis_url=service.redis_url, model="bundled"))
        claims = Claims(redis, "bundled", "w")
        empty = _used(redis)

        def growth() -> float:
            return (_used(redis) - empty) / jobs

        ids: list[str] = []
        while len(ids) < jobs:
            asked = [request(30, PROMPT)] * min(10_000, jobs - len(ids))
            ids += store.submit_many(asked)
        queued = {"all": growth(), "keys": _keys(redis, jobs, ids[0])}
        while claimed := claims.take(64):
            claims.finish([(claim, _outcome()) for claim in claimed], SERVED_BY)
        finished = {"all": growth(), "keys": _keys(redis, jobs, ids[0])}
        for start in range(0, jobs, 1000):  # what Redis does when their time has come
            redis.delete(*(keys.job(job_id) for job_id in ids[start : start + 1000]))
        tombstone = {"all": growth(), "keys": _keys(redis, jobs, None)}
        store.close()
        return {"queued": queued, "finished": finished, "tombstone": tombstone}


def _used(redis: Any) -> int:
    redis.execute_command("MEMORY", "PURGE")
    return int(redis.info("memory")["used_memory"])


def _keys(redis: Any, jobs: int, job_id: str | None) -> dict[str, float]:
    """Bytes per job by key, as Redis accounts for each."""
    shared = {
        "message": keys.queue("bundled", "normal"),
        "index of its status": keys.INDEX_PREFIX
        + ("queued" if redis.exists(keys.queue("bundled", "normal")) else "succeeded"),
        "tombstone": keys.EXPIRY,
    }
    found = {name: (redis.memory_usage(key, samples=0) or 0) / jobs for name, key in shared.items()}
    record = redis.memory_usage(keys.job(job_id)) if job_id else 0
    return {"record": record, **found}


def _outcome() -> Outcome:
    text = Sequence(
        generated_text=PROMPT + TEXT, finish_reason="length", generated_tokens=30, seed=2**52 + 1
    )
    return Outcome(
        result=[[text]],
        usage=Usage(prompt_tokens=10, generated_tokens=30),
        metrics=Metrics(
            run_ms=812.345, time_to_first_token_ms=31.201, tokens_per_s=36.93, batch_size=47.233
        ),
    )


def tables(found: dict[str, Any]) -> str:
    lines = [
        "| bytes of Redis per job | all | record | message | index | expiry, tombstone |"
        " a million |",
        "|---|---|---|---|---|---|---|",
    ]
    for config, states in found.items():
        for state, each in states.items():
            cells = " | ".join(f"{size:,.0f}" for size in each["keys"].values())
            lines.append(
                f"| {state}, {config} | {each['all']:,.0f} | {cells} |"
                f" {each['all'] / 1000:,.2f} GB |"
            )
    finished = next(iter(found.values()))["finished"]["all"] * 1e6
    lines += ["", f"A million finished jobs: {finished / BUDGET:.0%} of {BUDGET / 1e9:.1f} GB."]
    return "\n".join(lines) + "\n"
