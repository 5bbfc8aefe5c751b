"""Stock Celery under the same faults and the same load, for comparison.

It has no API, so nobody is killed there, and nothing is canceled: both in its favour.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from tests.chaos import checker
from tests.chaos.fleet import Fleet, redis_and_proxy
from tests.chaos.ledger import Asked, Json, Ledger
from tests.chaos.run import HELD, Plan, Report
from tests.chaos.schedule import Chaos
from tests.chaos.stock_app import VISIBILITY_S, generate, make_app

STATUSES = {"SUCCESS": "succeeded", "FAILURE": "failed", "REVOKED": "canceled"}

#: Seconds without a new result after which the rest counts as lost: three times the timeout after
#: which Celery delivers again, and five minutes at most.
QUIET_S, LONGEST_S = 3 * VISIBILITY_S, 300


def run(plan: Plan, folder: Path, binary: Path) -> Report:
    with redis_and_proxy(folder, binary) as fleet:
        _add_workers(fleet, plan.workers)
        time.sleep(10)
        begun = time.monotonic()
        ledger, chaos = Ledger(_check_text), Chaos(fleet, plan.steps)
        with _load(fleet, ledger, plan):
            chaos.run()
        _settle(fleet, ledger)
        for end in fleet.supervisor.ends:
            if end.name != "redis" and end.status not in (-9, 0):
                ledger.wrong(f"{end.name} ended with {end.status}")
        verdict = checker.judge(ledger, [], {})
        verdict.recovered = 0
        verdict.extra_executions = _extra(fleet)
        seconds = round(time.monotonic() - begun, 1)
        return Report(plan, verdict, dict(chaos.done), chaos.kills, seconds, dict(ledger.answers))


def _add_workers(fleet: Fleet, workers: int) -> None:
    for number in range(workers):
        command = [sys.executable, "-m", "celery", "-A", "tests.chaos.stock_app", "worker"]
        command += ["--pool", "threads", "-c", str(HELD), "-n", f"w{number}@%h"]
        env = {"STOCK_REDIS_URL": fleet.address(number), "STOCK_FAULTS": str(fleet.faults)}
        fleet.add_worker(number, [*command, "--loglevel", "WARNING"], env)


@contextmanager
def _load(fleet: Fleet, ledger: Ledger, plan: Plan) -> Iterator[None]:
    stopped = threading.Event()
    threads = [
        threading.Thread(
            target=_submit,
            args=(fleet.address(n), ledger, random.Random(f"{plan.seed} {n}")),
            kwargs={"rate": plan.rate / plan.clients, "stopped": stopped},
        )
        for n in range(plan.clients)
    ]
    threads.append(threading.Thread(target=_look, args=(fleet, ledger, stopped)))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _submit(
    url: str, ledger: Ledger, rng: random.Random, *, rate: float, stopped: threading.Event
) -> None:
    app = make_app(url)
    due = time.monotonic()
    while not stopped.wait(max(0.0, due - time.monotonic())):
        due = max(due, time.monotonic() - 5) + 1 / rate
        job_id, steps = str(uuid.uuid4()), rng.choice([1, 5, 10, 20, 40, 80])
        asked = {"text": f"chaos {rng.getrandbits(20)} ", "steps": steps}
        try:
            app.send_task(generate.name, kwargs=asked, task_id=job_id, retry=False)
        except Exception as error:  # whatever Celery makes of it, the client was told
            ledger.count(type(error).__name__)
        else:
            ledger.accept(job_id, Asked(asked))


def _look(fleet: Fleet, ledger: Ledger, stopped: threading.Event) -> None:
    while not stopped.wait(1):
        _see(fleet, ledger, ledger.unfinished())


def _see(fleet: Fleet, ledger: Ledger, ids: Sequence[str]) -> None:
    try:
        for start in range(0, len(ids), 1000):
            part = ids[start : start + 1000]
            with fleet.client() as redis:
                found = redis.mget([f"celery-task-meta-{job_id}" for job_id in part])
            for job_id, raw in zip(part, found, strict=True):
                if raw is not None:
                    ledger.see(_as_job(job_id, json.loads(raw)))
    except RedisError as error:
        ledger.count(type(error).__name__)


def _as_job(job_id: str, meta: Json) -> Json:
    status = STATUSES.get(meta["status"], "running")
    return {**meta, "id": job_id, "status": status, "attempt": 1, "error": meta["result"]}


def _settle(fleet: Fleet, ledger: Ledger) -> None:
    for fault in fleet.faults.iterdir():
        fault.unlink(missing_ok=True)
    with fleet.client() as redis:
        redis.config_set("maxmemory", 0)
    begun = last = time.monotonic()
    before = -1
    while (left := len(ledger.unfinished())) and time.monotonic() - begun < LONGEST_S:
        if left != before:
            before, last = left, time.monotonic()
        if time.monotonic() - last > QUIET_S:
            break
        _see(fleet, ledger, ledger.unfinished())
        time.sleep(1)
    _see(fleet, ledger, list(ledger.seen))


def _extra(fleet: Fleet) -> int:
    """Starts of a job beyond its first."""
    starts = Counter((fleet.folder / "starts").read_text().split())
    return sum(count - 1 for count in starts.values())


def _check_text(request: Json, job: dict[str, Any]) -> str | None:
    expected = request["text"] * request["steps"]
    return None if job["result"] == expected else "another text than asked for"
