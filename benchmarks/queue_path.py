"""Jobs per second through a worker whose model costs nothing, beside stock Celery's pools.

    python -m benchmarks.queue_path [--full]

Each turn fills a queue, starts one worker process and times it from a tenth of the jobs on. Both
sides keep their results in the same Redis, with an append-only file.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from . import measure
from .served import Served, by_celery, by_distilq, redis_alone

OURS = "distilq"
POOLS = (("threads", 4), ("threads", 64))
FULL_POOLS = (
    *(("threads", 1), ("threads", 4), ("threads", 16), ("threads", 64)),
    *(("prefork", 2), ("solo", 1)),
)

Turn = Callable[[], Served]


def run(options: argparse.Namespace) -> dict[str, Any]:
    seen: dict[str, list[Served]] = {}

    def rate(name: str, turn: Turn) -> float:
        served = turn()
        seen.setdefault(name, []).append(served)
        return served.jobs_per_s

    with redis_alone() as service:
        turns: dict[str, Turn] = {
            OURS: functools.partial(by_distilq, service, options.jobs),
        }
        for pool, concurrency in FULL_POOLS if options.full else POOLS:
            turns[f"{pool} {concurrency}"] = functools.partial(
                by_celery, service, options.stock_jobs, pool, concurrency
            )
        subjects = {name: functools.partial(rate, name, turn) for name, turn in turns.items()}
        rates = measure.interleaved(subjects, options.rounds)
    return {
        name: spread.record() | {"turns": [served.record() for served in seen[name]]}
        for name, spread in rates.items()
    }


def tables(record: dict[str, Any]) -> str:
    found = record["found"]
    ours = found[OURS]["median"]
    lines = [
        "| worker process | jobs/s, median | lowest to highest | distilq's multiple |"
        " worker CPU per job | Redis CPU per job |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        label = name if name == OURS else f"stock Celery, `--pool {name.replace(' ', ' -c ')}`"
        cpu = [
            statistics.median(turn[of] for turn in each["turns"])
            for of in ("worker_us", "redis_us")
        ]
        lines.append(
            f"| {label} | {each['median']:,.0f} | {each['low']:,.0f} to {each['high']:,.0f} |"
            f" {ours / each['median']:.1f} | {cpu[0]:,.0f} µs | {cpu[1]:,.0f} µs |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="every pool, and five rounds")
    parser.add_argument("--jobs", type=int, default=12_000, help="ours per turn")
    parser.add_argument("--stock-jobs", type=int, default=2_000, help="stock Celery's per turn")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (5 if options.full else 2)
    measure.write("queue_path", run(options), vars(options))
    print(tables(measure.read("queue_path")))


if __name__ == "__main__":
    main()
