"""Jobs per second of 1 to 16 workers on one Redis, whose models sleep as one on a GPU would.

    python -m benchmarks.scale [--full]

Two kinds of jobs: `long` ones of 20 to 40 tokens, under whose load 16 workers fit into this
machine's processors, and `short` ones of 3 to 7, under which they do not. What a job costs Redis
from its submission to the reading of its result is measured apart, in processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from distilq.cli import programs
from distilq.jobs import JobRequest, Priority
from distilq.settings import Settings
from distilq.store import JobStore

from . import measure
from .scale_report import plot, tables
from .served import fill, finished, redis_alone, redis_cpu_s, request
from .service import Running, Service

STEP_MS = 20
MODEL = f"simulated:step_ms={STEP_MS}"
LOADS = {"long": range(20, 41), "short": range(3, 8)}
WORKERS, FULL_WORKERS = (1, 4, 8), (1, 2, 4, 8, 16)

#: Seconds after which every worker has filled its batch and its rows end at different steps.
WARM_S = 2.0


class Fleet:
    """Workers of one Redis, and how many jobs they have done."""

    def __init__(self, service: Service) -> None:
        self.settings = Settings(
            redis_url=service.redis_url, model=MODEL, max_queued_jobs=10**7, drain_s=0
        )
        self.store = JobStore(service.client(), self.settings)
        self.workers: list[Running] = []
        self._service = service

    def grow(self, to: int) -> None:
        """Start workers, one after another: each needs a processor for its start."""
        while len(self.workers) < to:
            number = len(self.workers) + 1
            program = programs.worker(self.settings, number, number, 0)
            worker = self._service.start(program.name, program.command, program.env)
            self.workers.append(worker)
            self._service.until(worker, lambda: len(self.store.workers()) == len(self.workers))

    def cpu(self) -> tuple[float, float]:
        """Seconds so far: of the workers, of Redis."""
        return sum(worker.cpu_s() for worker in self.workers), redis_cpu_s(self.store.redis)

    def serve(self, lengths: Sequence[int], seconds: float) -> dict[str, float]:
        """Jobs per second out of a queue that stays full, and the processors in use."""
        asked = [request(tokens) for tokens in lengths]
        self._fill(asked, seconds)
        self.store.resume(Priority.NORMAL)
        time.sleep(WARM_S)
        start, before, spent = time.perf_counter(), finished(self.store), self.cpu()
        psutil.cpu_percent()
        time.sleep(seconds)
        passed, jobs = time.perf_counter() - start, finished(self.store) - before
        busy, used = psutil.cpu_percent() / 100, self.cpu()
        if not self.store.queue().queued:
            raise RuntimeError("the queue ran empty amid the measurement")
        self._empty()
        return {
            "jobs_per_s": jobs / passed,
            "workers_cpu": (used[0] - spent[0]) / passed,
            "redis_cpu": (used[1] - spent[1]) / passed,
            "machine_busy": busy,
        }

    def _fill(self, asked: Sequence[JobRequest], seconds: float) -> None:
        """Queue more than the workers could serve if nothing held them up."""
        self.store.pause(Priority.NORMAL)
        steps = statistics.mean(each.parameters.new_tokens_at_most for each in asked)
        rate = len(self.workers) * self.settings.max_rows / (steps * STEP_MS / 1000)
        most = int(min(rate, 6_000) * (seconds + WARM_S) * 1.2) + 1_000
        for start in range(0, most, 10_000):
            part = [asked[n % len(asked)] for n in range(min(10_000, most - start))]
            self.store.submit_many(part)

    def _empty(self) -> None:
        self.store.pause(Priority.NORMAL)
        self.store.purge(Priority.NORMAL)
        while self.store.queue().running:
            time.sleep(0.05)
        self.store.redis.flushall()


def stages(fleet: Fleet, jobs: int) -> dict[str, float]:
    """Microseconds of Redis' processor time per job, of what clients do."""
    store, one = fleet.store, request(30)
    store.pause(Priority.NORMAL)

    def cost(act: Callable[[], Any]) -> float:
        before = redis_cpu_s(store.redis)
        act()
        return 1e6 * (redis_cpu_s(store.redis) - before) / jobs

    ids: list[str] = []
    found = {
        "submit, one by one": cost(lambda: ids.extend(store.submit(one).id for _ in range(jobs))),
        "submit, in batches": cost(lambda: fill(store, jobs, one)),
        "read, one by one": cost(lambda: [store.get(job_id) for job_id in ids]),
        "read, 1,000 at a time": cost(
            lambda: [store.get_many(ids[at : at + 1000]) for at in range(0, jobs, 1000)]
        ),
    }
    store.purge(Priority.NORMAL)
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    with redis_alone() as service:
        fleet = Fleet(service)
        clients = stages(fleet, options.jobs)
        loads: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in LOADS}
        for count in options.workers:
            fleet.grow(count)
            for _ in range(options.rounds):
                for name, lengths in LOADS.items():
                    figures = fleet.serve(lengths, options.seconds)
                    loads[name].setdefault(str(count), []).append(figures)
        fleet.store.close()
    return {"loads": loads, "client_stages_us": clients}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="16 workers too, and two rounds")
    parser.add_argument("--workers", type=int, nargs="+")
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--jobs", type=int, default=5_000, help="for the cost of clients' calls")
    options = parser.parse_args(arguments)
    options.workers = options.workers or (FULL_WORKERS if options.full else WORKERS)
    options.seconds = options.seconds or (8.0 if options.full else 2.0)
    options.rounds = options.rounds or (2 if options.full else 1)
    asked = vars(options) | {"step_ms": STEP_MS, "rows": Settings().max_rows}
    measure.write("scale", run(options), asked)
    record = measure.read("scale")
    print(tables(record))
    if options.full:
        plot(record)


if __name__ == "__main__":
    main()
