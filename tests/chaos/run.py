"""One run: a fleet under load, faults by a schedule, a verdict."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from redis.exceptions import RedisError

from tests.chaos import checker, load, texts
from tests.chaos.fleet import MAX_ROWS, Fleet, add_distilq, faketime, redis_and_proxy
from tests.chaos.ledger import Asked, Ledger
from tests.chaos.schedule import Chaos, Step
from worker.simulated import CRASH

#: Seconds; generous, as other programs may use the machine too.
READY_S, DRAINED_S = 120, 400

#: Jobs that a worker holds at most: its rows and an eighth.
HELD = MAX_ROWS + MAX_ROWS // 8

#: What workers and API processes may end with: killed, told to, the watchdog.
ENDS = {-9, 0, 70}


@dataclass(frozen=True)
class Plan:
    """What is run; the schedule and the load follow from the seed."""

    seed: int
    steps: list[Step]
    rate: float = 30
    workers: int = 2
    clients: int = 6
    crashing_jobs: int = 0
    bundled: bool = False
    skew_s: int = 90


@dataclass
class Report:
    plan: Plan
    verdict: checker.Verdict
    faults: dict[str, int]
    kills: int
    seconds: float
    answers: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def run(plan: Plan, folder: Path, binary: Path) -> Report:
    with redis_and_proxy(folder, binary) as fleet:
        model = "bundled" if plan.bundled else fleet.model
        add_distilq(fleet, plan.workers, model, plan.skew_s)
        _until_ready(fleet)
        begun = time.monotonic()
        ledger = Ledger(texts.SameEachTime() if plan.bundled else texts.simulated)
        chaos = Chaos(fleet, plan.steps)
        _disturbed(plan, fleet, ledger, chaos)
        _settle(fleet, ledger)
        verdict = _judged(fleet, ledger, model, chaos, plan)
        return Report(
            plan=plan,
            verdict=verdict,
            faults=dict(chaos.done),
            kills=chaos.kills,
            seconds=round(time.monotonic() - begun, 1),
            answers=dict(ledger.answers),
            notes=_notes(plan),
        )


def _disturbed(plan: Plan, fleet: Fleet, ledger: Ledger, chaos: Chaos) -> None:
    draw = load.draw_bundled if plan.bundled else load.draw_simulated
    clients = [
        load.Client(fleet.api_urls, ledger, random.Random(f"{plan.seed} {n}"), draw)
        for n in range(plan.clients)
    ]
    crash = {"inputs": CRASH, "priority": "interactive"}
    for _ in range(plan.crashing_jobs):
        clients[0].accept([Asked(crash, crashes=True)], threading.Event())
    with load.load(clients, plan.rate):
        chaos.run()
    for client in clients:
        client.close()


def _settle(fleet: Fleet, ledger: Ledger) -> None:
    """Undo what faults may have left, and look until every accepted job is final, then once more.

    The second look, at all of them at both instances, finds states that have changed.
    """
    for fault in fleet.faults.iterdir():
        fault.unlink(missing_ok=True)
    _until(lambda: _mended(fleet), READY_S)
    with closing(_looker(fleet.api_urls, ledger)) as looker:
        end = time.monotonic() + DRAINED_S
        while (left := ledger.unfinished()) and time.monotonic() < end:
            looker.look(left[:500])
            time.sleep(0.5)
    for url in fleet.api_urls:
        with closing(_looker([url], ledger)) as looker:
            ids = list(ledger.asked)
            for start in range(0, len(ids), 500):
                looker.look(ids[start : start + 500])


def _looker(urls: list[str], ledger: Ledger) -> load.Client:
    return load.Client(urls, ledger, random.Random(0), load.draw_simulated)


def _mended(fleet: Fleet) -> bool:
    with suppress(RedisError), fleet.client() as redis:
        redis.config_set("maxmemory", 0)
        redis.config_set("appendfsync", "everysec")
        return True
    return False


def _judged(fleet: Fleet, ledger: Ledger, model: str, chaos: Chaos, plan: Plan) -> checker.Verdict:
    with fleet.client() as redis:
        left = checker.until_nothing_is_left(lambda: checker.leftovers(redis, model), DRAINED_S)
        for end in fleet.supervisor.ends:
            if end.name != "redis" and end.status not in ENDS:
                ledger.wrong(f"{end.name} ended with {end.status}")
        verdict = checker.judge(ledger, left, checker.totals(redis))
    most = HELD * chaos.workers_broken + 5 * plan.crashing_jobs * HELD
    if verdict.extra_executions > most:
        verdict.complaints.append(f"{verdict.extra_executions} extra executions, at most {most}")
    return verdict


def _notes(plan: Plan) -> list[str]:
    if not plan.skew_s:
        return []
    if faketime() is None:
        return ["no clock was off: libfaketime is not installed"]
    return [f"the clock of worker {plan.workers - 1} was {plan.skew_s:+d} s off"]


def _until_ready(fleet: Fleet) -> None:
    def ready() -> bool:
        with suppress(httpx.HTTPError):
            return all(
                httpx.get(f"{url}/readyz", timeout=5, trust_env=False).is_success
                for url in fleet.api_urls
            )
        return False

    _until(ready, READY_S)


def _until(condition: Callable[[], Any], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s} s")
        time.sleep(0.2)
