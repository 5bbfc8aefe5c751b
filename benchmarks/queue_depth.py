"""What a job costs in a shallow queue and in a deep one: claim, lease renewal, finish, and all.

    python -m benchmarks.queue_depth [--full]

The scripts' cost is Redis' own account of them (`INFO commandstats`); the rate is that of a worker
whose model costs nothing, over the jobs that it serves before the queue is a tenth shallower.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

from distilq import keys
from distilq.claims import Claim, Claims
from distilq.jobs import Metrics, Outcome, Priority, Usage
from distilq.jobs import Sequence as Text
from distilq.settings import Settings
from distilq.store import JobStore

from . import measure
from .served import MODEL, TEXT, fill, finished, rate, redis_alone, redis_cpu_s, request
from .service import Service

DEPTHS, FULL_DEPTHS = (1_000, 100_000), (1_000, 100_000, 1_000_000)

#: Jobs whose scripts are measured, a batch of a worker at a time.
JOBS, PER_CALL = 4_800, 48
#: Jobs that a worker serves per measurement.
SERVED = 6_000

DONE = Outcome(
    result=[
        [Text(generated_text=TEXT + "e", finish_reason="length", generated_tokens=1, seed=2**50)]
    ],
    usage=Usage(prompt_tokens=16, generated_tokens=1),
    metrics=Metrics(run_ms=1.234, time_to_first_token_ms=1.2, tokens_per_s=800.1, batch_size=20.5),
)


def scripts_us(store: JobStore, depth: int) -> dict[str, float]:
    """Microseconds per job of each script, each on a queue of this depth."""
    claims = Claims(store.redis, MODEL, "measuring")
    spent = {"claim": 0.0, "renew": 0.0, "finish": 0.0}
    for _ in range(JOBS // PER_CALL):
        for name, us in _through(store, claims).items():
            spent[name] += us
        fill(store, depth - _queued(store), request())
    return {name: us / JOBS for name, us in spent.items()}


def _through(store: JobStore, claims: Claims) -> dict[str, float]:
    """A batch from claim to end, and the microseconds of each script."""
    held: list[Claim] = []
    return {
        "claim": _script_us(store, lambda: held.extend(claims.take(PER_CALL))),
        "renew": _script_us(store, lambda: claims.renew(dict.fromkeys(held, (1, 0)))),
        "finish": _script_us(store, lambda: claims.finish([(claim, DONE) for claim in held], {})),
    }


def _script_us(store: JobStore, act: Callable[[], Any]) -> float:
    before = _evalsha_us(store)
    act()
    return _evalsha_us(store) - before


def _evalsha_us(store: JobStore) -> float:
    stats = store.redis.info("commandstats")
    return float(stats.get("cmdstat_evalsha", {"usec": 0})["usec"])


def _queued(store: JobStore) -> int:
    return int(store.redis.hget(keys.counters(MODEL), "jobs") or 0)


def served(service: Service, store: JobStore, depth: int) -> list[float]:
    """Jobs per second that a worker serves of a queue of this depth."""
    rates = []
    store.pause(Priority.NORMAL)
    worker = service.start_worker(store.settings)
    some = min(SERVED, depth * 9 // 10)
    for _ in range(max(3, min(10, SERVED // some))):
        fill(store, depth - _queued(store), request())
        before = finished(store)
        store.resume(Priority.NORMAL)
        found = rate(
            lambda before=before: finished(store) - before,  # type: ignore[misc]
            some,
            worker.cpu_s,
            lambda: redis_cpu_s(store.redis),
        )
        store.pause(Priority.NORMAL)
        rates.append(found.jobs_per_s)
        while store.queue().running:
            time.sleep(0.05)
    service.stop(worker)
    store.resume(Priority.NORMAL)
    return rates


def run(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for depth in options.depths:
        with redis_alone() as service:
            settings = Settings(
                redis_url=service.redis_url,
                model=MODEL,
                max_queued_jobs=10**7,
                max_queued_tokens=10**9,
            )
            store = JobStore(service.client(), settings)
            fill(store, depth, request())
            cost = scripts_us(store, depth)
            memory = store.redis.info("memory")["used_memory"]
            rates = measure.Spread(tuple(served(service, store, depth)))
            found[str(depth)] = {"us": cost, "jobs_per_s": rates.record(), "redis_bytes": memory}
            store.close()
    return found


def tables(record: dict[str, Any]) -> str:
    lines = [
        "| jobs queued | claim, per job | renew a lease | finish | jobs/s served, median |"
        " lowest to highest | Redis' memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for depth, each in record["found"].items():
        costs = " | ".join(f"{us:.0f} µs" for us in each["us"].values())
        rates = each["jobs_per_s"]
        lines.append(
            f"| {int(depth):,} | {costs} | {rates['median']:,.0f} |"
            f" {rates['low']:,.0f} to {rates['high']:,.0f} | {each['redis_bytes'] / 1e6:,.0f} MB |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="a million queued jobs too")
    parser.add_argument("--depths", type=int, nargs="+")
    options = parser.parse_args(arguments)
    options.depths = options.depths or (FULL_DEPTHS if options.full else DEPTHS)
    measure.write("queue_depth", run(options), vars(options))
    print(tables(measure.read("queue_depth")))


if __name__ == "__main__":
    main()
