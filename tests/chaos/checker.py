"""The verdict on a run: four counters, and whether anything was left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from distilq import keys
from tests.chaos.ledger import FINAL, Ledger
from tests.chaos.processes import ROOT


@dataclass
class Verdict:
    """Counts as Jepsen counts; what is wrong in words."""

    accepted: int = 0
    lost: int = 0
    duplicated: int = 0
    unexpected: int = 0
    #: Ended, though no client ever learned their ids: the answer was lost.
    recovered: int = 0
    extra_executions: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.unexpected or self.complaints)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"complaints": self.complaints[:50]}


def judge(ledger: Ledger, leftovers: Iterable[str], totals: dict[str, int]) -> Verdict:
    """`totals` are the store's own counts, of all jobs that ever were."""
    lost, seen = ledger.unfinished(), ledger.seen.values()
    complaints = [f"{job_id} is lost" for job_id in lost]
    complaints += [f"{job_id} changed: {how}" for job_id, how in ledger.duplicated.items()]
    ended = sum(totals.get(status, 0) for status in FINAL)
    twice = max(0, ended - totals.get("submitted", 0))
    if ended != totals.get("submitted", 0):
        complaints.append(f"{totals.get('submitted')} jobs submitted, {ended} ended")
    return Verdict(
        accepted=len(ledger.asked),
        lost=len(lost),
        duplicated=len(ledger.duplicated) + twice,
        unexpected=len(ledger.unexpected),
        recovered=totals.get("submitted", 0) - len(ledger.asked),
        extra_executions=sum(max(0, job["attempt"] - 1) for job in seen),
        statuses=dict(Counter(job["status"] for job in seen)),
        complaints=[*complaints, *ledger.unexpected, *leftovers],
    )


def totals(redis: Any) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in redis.hgetall(keys.TOTALS).items()}


def leftovers(redis: Any, model: str) -> list[str]:
    """What should be gone when nothing is queued or runs any more."""
    held = {name.decode(): int(v) for name, v in redis.hgetall(keys.counters(model)).items()}
    queued = {n: v for n, v in held.items() if n.split(":")[0] in ("jobs", "tokens") and v}
    found = [f"counter {name} is {value}" for name, value in queued.items()]
    found += [f"{redis.zcard(keys.leases(model))} leases"] * redis.exists(keys.leases(model))
    found += ["jobs among the suspects"] * redis.exists(keys.suspects(model))
    for priority in keys.PRIORITIES:
        found += [f"messages of {priority}"] * redis.exists(keys.queue(model, priority))
    for status in ("queued", "running", "canceling"):
        found += [f"{status} jobs in the index"] * redis.exists(keys.INDEX_PREFIX + status)
    return found + _held_by_celery(redis, model)


def _held_by_celery(redis: Any, model: str) -> list[str]:
    """Requests that a worker's Celery still takes for active or reserved."""
    port = redis.get_connection_kwargs()["port"]
    env = {"DISTILQ_REDIS_URL": f"redis://127.0.0.1:{port}/0", "DISTILQ_MODEL": model}
    found = []
    for kind in ("active", "reserved"):
        # A process of its own: kombu leaves its sockets to the collector.
        command = [sys.executable, "-m", "celery", "-A", "distilq.celery_app", "inspect", kind]
        said = subprocess.run(
            [*command, "--json", "--timeout", "5"],
            env=os.environ | env,
            cwd=ROOT,
            capture_output=True,
            check=False,  # 69 if no worker answers in time: it is asked again
        )
        if said.returncode != 0:
            found.append(f"no worker says what is {kind}: {said.stderr.decode()[-300:]}")
            continue
        answers = json.loads(said.stdout)
        found += [f"{len(held)} {kind} in Celery of {w}" for w, held in answers.items() if held]
    return found


def until_nothing_is_left(found: Callable[[], Sequence[str]], timeout_s: float) -> list[str]:
    """Wait for it; what is left all the same."""
    end = time.monotonic() + timeout_s
    while (left := list(found())) and time.monotonic() < end:
        time.sleep(1)
    return left
