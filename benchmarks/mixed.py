"""Mixed traffic: what is served, and how soon, beside Celery workers around transformers.

    python -m benchmarks.mixed
    python -m benchmarks.mixed --full

Poisson arrivals of prompts of 5 to 200 tokens that ask for 5 to 120 new ones, put into Redis by one
client. Capacity is what a full queue is served at, and loads are shares of it. distilq's are beyond
what the peers can serve; in the full mode these have loads of their own capacity. The time between
tokens is measured in the engine alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from distilq.settings import Settings

from . import measure
from .mixed_gaps import LONG_PER_S, Gaps, beside_long_prompts, under_load
from .mixed_report import plots, tables
from .mixed_subjects import CeleryPeer, Ours, Subject, play
from .mixed_traffic import Arrival, Served, all_at_once, poisson, tokens_per_s
from .peers.process import PeerFailed
from .service import Service, started
from .subjects import Terms, own_engine

__all__ = ["main", "plots", "tables"]

#: Shares of a subject's capacity.
LOADS = (0.5, 0.8, 0.95, 1.2)
#: Of seconds: how long a load lasts before it is looked at, and then. Of jobs: a full queue.
SHORT: dict[str, Any] = {
    "rounds": 1,
    "ours": {"jobs": 160, "loads": LOADS, "settle": 3.0, "seconds": 4.0},
    "batches": {"jobs": 32, "loads": (), "settle": 0.0, "seconds": 0.0},
    "pipeline": {"jobs": 12, "loads": (), "settle": 0.0, "seconds": 0.0},
    "gaps": {"settle": 1.0, "seconds": 2.5},
}
FULL: dict[str, Any] = {
    "rounds": 2,
    "ours": {"jobs": 300, "loads": LOADS, "settle": 10.0, "seconds": 40.0},
    "batches": {"jobs": 64, "loads": LOADS, "settle": 30.0, "seconds": 60.0},
    "pipeline": {"jobs": 24, "loads": LOADS, "settle": 15.0, "seconds": 60.0},
    "gaps": {"settle": 3.0, "seconds": 15.0},
}
#: The best found for each peer: docs/performance.md has what was tried.
FLUSH_EVERY = 32
PROCESSES = {"batches": 1, "pipeline": 2}
PARTS = ("ours", *PROCESSES, "gaps")

Figures = dict[str, Any]


def round_of(subject: Subject, plan: Mapping[str, Any], seed: int) -> Figures:
    """A subject's capacity, and then its loads, the lower ones first and without a pause."""
    _, of_full_queue = play(subject, all_at_once(plan["jobs"], seed))
    capacity = subject.capacity(of_full_queue)
    arrivals, windows = loads(capacity, plan, seed)
    start, served = play(subject, arrivals)
    return {
        "capacity": capacity,
        "seconds": plan["seconds"],
        "loads": {
            str(load): seen(served, start + begin, start + end)
            for load, (begin, end) in windows.items()
        },
    }


def loads(
    capacity: float, plan: Mapping[str, Any], seed: int
) -> tuple[list[Arrival], dict[float, tuple[float, float]]]:
    """Arrivals of one load after the other, and when each is looked at."""
    arrivals: list[Arrival] = []
    windows, at = {}, 0.0
    for number, load in enumerate(plan["loads"]):
        for part, seconds in enumerate((plan["settle"], plan["seconds"])):
            own = 100 * seed + 10 * number + part
            arrivals += poisson(load * capacity, at, seconds, own)
            windows[load] = (at, at + seconds)
            at += seconds
    return arrivals, windows


def seen(served: Sequence[Served], start: float, end: float) -> Figures:
    """Of the jobs that arrived in a window: how long each took. Of all: what came within it."""
    mine = [job for job in served if start <= job.due < end]
    return {
        "offered": sum(job.tokens for job in mine) / (end - start),
        "served": tokens_per_s(served, start, end),
        "latency_s": [round(job.ended - job.due, 3) for job in mine],
        "first_token_s": [round(job.first - job.due, 3) for job in mine],
    }


def gaps_of(options: argparse.Namespace, capacity: float, plan: Mapping[str, Any]) -> Figures:
    """Between tokens at every load, and beside long prompts."""
    engine = own_engine(options.precision, Terms(options.threads, options.rows))
    gaps, found = Gaps(engine), {}
    for number, load in enumerate(LOADS):
        for part, seconds in enumerate((plan["settle"], plan["seconds"])):
            own = 10 * number + part
            gaps.forget()
            under_load(gaps, engine, poisson(load * capacity, 0, seconds, own), seconds)
        found[str(load)] = gaps.taken()
    for name, per_s in (("short", 0.0), ("long", LONG_PER_S)):
        gaps.clear()
        found[name] = beside_long_prompts(gaps, per_s, plan["settle"], 2 * plan["seconds"])
    return found


def run(options: argparse.Namespace, plan: Mapping[str, Any]) -> Figures:
    """The parts that are asked for; others stay as the last run left them."""
    found = _kept(options.parts)
    rounds = found["rounds"]
    with started() as service, ExitStack() as stack:
        subjects, found["absent"] = _started(service, options)
        for subject in subjects.values():
            stack.enter_context(closing(subject))
        for seed in range(1, options.rounds + 1):
            for name, subject in subjects.items():
                rounds.setdefault(name, []).append(round_of(subject, plan[name], seed))
                print(f"{name}, round {seed}: measured", file=sys.stderr, flush=True)
    if "gaps" in options.parts:
        found["gaps"] = gaps_of(options, rounds["ours"][-1]["capacity"], plan["gaps"])
    return found


def _kept(parts: Sequence[str]) -> Figures:
    """What the last run found of other parts than these."""
    if set(parts) == set(PARTS):
        return {"rounds": {}}
    found: Figures = measure.read("mixed")["found"]
    found["rounds"] = {n: each for n, each in found["rounds"].items() if n not in parts}
    return found


def _started(
    service: Service, options: argparse.Namespace
) -> tuple[dict[str, Ours | CeleryPeer], dict[str, str]]:
    """Side by side: one that has nothing to do takes next to no time of the others."""
    subjects: dict[str, Ours | CeleryPeer] = {}
    absent: dict[str, str] = {}
    for name, processes in PROCESSES.items():
        threads = max(1, options.threads // processes)
        try:
            if name in options.parts:
                subjects[name] = CeleryPeer(service, name, processes, threads, FLUSH_EVERY)
        except PeerFailed as error:
            absent[name] = str(error)
    if "ours" in options.parts:
        subjects = {"ours": Ours(service, _settings(service, options)), **subjects}
    for subject in subjects.values():
        subject.ready()
    return subjects, absent


def _settings(service: Service, options: argparse.Namespace) -> Settings:
    return Settings(
        redis_url=service.redis_url,
        model="random:distilgpt2",
        precision=options.precision,
        max_rows=options.rows,
        threads=options.threads,
        drain_s=0,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="every load of all, for longer")
    parser.add_argument("--precision", default="float16")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--settle", type=float, help="seconds of a load before it is looked at")
    parser.add_argument("--seconds", type=float, help="in which it is looked at")
    words = "measured anew; of the others the last run's figures stay"
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help=words)
    options = parser.parse_args(arguments)
    plan = dict(FULL if options.full else SHORT)
    options.rounds = options.rounds or plan["rounds"]
    for part in PARTS:
        given = {"settle": options.settle, "seconds": options.seconds}
        plan[part] = plan[part] | {name: s for name, s in given.items() if s is not None}
    measure.write("mixed", run(options, plan), vars(options) | {"plan": plan})
    print(tables(measure.read("mixed")))


if __name__ == "__main__":
    main()
