"""What the store must hold, kept beside it in plain Python; the state machine compares the two."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from distilq import keys
from distilq.claims import Claim
from distilq.jobs import FINAL

MODEL = "bundled"
HOST = "hooks.example.com"
FINAL_NAMES = {status.value for status in FINAL}
LIVE = ("queued", "running", "canceling")


@dataclass
class Known:
    """One job, as it must stand."""

    id: str
    owner: str
    priority: str
    cost: int
    expires: bool
    status: str = "queued"
    worker: str = ""
    deaths: int = 0
    attempt: int = 0
    #: Every claim there ever was of it; the last one is valid while it runs.
    claims: list[Claim] = field(default_factory=list)
    deleted: bool = False
    #: The final states that its webhook asks for.
    tells: tuple[str, ...] = ()
    #: How telling it stands, once it is to be told: pending or delivered.
    delivery: str = "pending"
    #: The whole record, from when it was first seen in a final state.
    final: dict[bytes, bytes] | None = None

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def runs(self) -> bool:
        return self.status in ("running", "canceling")

    @property
    def suspect(self) -> bool:
        return self.deaths >= 2


def of_status(jobs: Iterable[Known], *statuses: str) -> list[Known]:
    return [job for job in jobs if job.status in statuses]


def check(redis: Any, jobs: list[Known]) -> None:
    """Everything in Redis that can be told from the jobs is as they say."""
    _check_records(redis, jobs)
    _check_counters(redis, jobs)
    _check_indexes(redis, jobs)
    _check_messages(redis, of_status(jobs, "queued"))
    assert members(redis, keys.leases(MODEL)) == {job.id for job in jobs if job.runs}
    _check_outbox(redis, jobs)
    due = {job.id for job in of_status(jobs, "queued") if job.expires and not job.claims}
    assert due <= members(redis, keys.deadlines(MODEL))


def members(redis: Any, key: str) -> set[str]:
    return {member.decode() for member in redis.zrange(key, 0, -1)}


def _check_records(redis: Any, jobs: list[Known]) -> None:
    pipe = redis.pipeline(transaction=False)
    for job in jobs:
        pipe.hgetall(keys.job(job.id))
    for job, record in zip(jobs, pipe.execute(), strict=True):
        if job.deleted:
            assert not record
            continue
        assert record[b"status"].decode() == job.status
        assert int(record.get(b"attempt", 0)) == job.attempt
        assert int(record.get(b"deaths", 0)) == job.deaths
        assert int(record.get(b"fence", 0)) == (job.claims[-1].fence if job.claims else 0)
        if not job.live:
            job.final = job.final or record
            assert record == job.final, "a final state has changed"


def _check_counters(redis: Any, jobs: list[Known]) -> None:
    expected: Counter[str] = Counter()
    for job in of_status(jobs, "queued"):
        mine = ["", f":{job.priority}"] + ([f"@{job.owner}"] if job.owner else [])
        expected.update(f"jobs{of}" for of in mine)
        expected.update({f"tokens{of}": job.cost for of in mine})
        expected.update([f"jobs:{job.priority}@{job.owner}"] if job.owner else [])
    found = {name.decode(): value for name, value in redis.hgetall(keys.counters(MODEL)).items()}
    held = {n: int(v) for n, v in found.items() if n.startswith(("jobs", "tokens")) and int(v)}
    assert held == dict(expected)
    flight = {o.decode(): int(n) for o, n in redis.hgetall(keys.FLIGHT).items() if int(n)}
    assert flight == dict(Counter(job.owner for job in jobs if job.live and job.owner))
    totals = {name.decode(): int(n) for name, n in redis.hgetall(keys.TOTALS).items()}
    assert totals.get("submitted", 0) == len(jobs)
    ended = Counter(job.status for job in jobs if not job.live)
    assert {name: n for name, n in totals.items() if name in FINAL_NAMES} == dict(ended)


def _check_indexes(redis: Any, jobs: list[Known]) -> None:
    for status in (*LIVE, *FINAL_NAMES):
        here = [job for job in of_status(jobs, status) if not job.deleted]
        assert members(redis, keys.INDEX_PREFIX + status) == {job.id for job in here}
        for owner in {job.owner for job in jobs if job.owner}:
            mine = {job.id for job in here if job.owner == owner}
            assert members(redis, f"{keys.INDEX_PREFIX}{status}@{owner}") == mine


def _check_outbox(redis: Any, jobs: list[Known]) -> None:
    """Those that have ended as their webhook asks for are there until they are told."""
    told = [job for job in jobs if job.status in job.tells and not job.deleted]
    waiting = members(redis, keys.outbox(HOST))
    assert {job.id for job in told if job.delivery == "pending"} <= waiting
    assert waiting <= {job.id for job in jobs if job.status in job.tells}
    assert not waiting & {job.id for job in told if job.delivery == "delivered"}
    if waiting:  # or nobody would come to look
        [(_, first)] = redis.zrange(keys.outbox(HOST), 0, 0, withscores=True)
        assert redis.zscore(keys.OUTBOXES, HOST) <= max(first, time.time() * 1000)
    pipe = redis.pipeline(transaction=False)
    for job in jobs:
        pipe.hget(keys.delivery(job.id), "state")
    states = {job.id: state for job, state in zip(jobs, pipe.execute(), strict=True) if state}
    assert states == {job.id: job.delivery.encode() for job in told}


def _check_messages(redis: Any, queued: list[Known]) -> None:
    """Each queued job has one message, where a worker would look for it."""
    suspects = b"\n".join(redis.lrange(keys.suspects(MODEL), 0, -1))
    lists: dict[tuple[str, str], bytes] = {}
    for job in queued:
        where = job.priority, job.owner
        if where not in lists:
            lists[where] = b"\n".join(redis.lrange(keys.queue(MODEL, *where), 0, -1))
        in_suspects, in_queue = (
            text.count(f'"delivery_tag": "{job.id}"'.encode()) for text in (suspects, lists[where])
        )
        assert (in_suspects, in_queue) == ((1, 0) if job.suspect else (0, 1))
        if not job.suspect:
            assert job.owner in members(redis, keys.ring(MODEL, job.priority))
