"""What can happen to a fleet: one function per fault. Each undoes what it did before it returns."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from redis.exceptions import RedisError

from tests.chaos.fleet import Fleet
from tests.chaos.processes import Program

#: Seconds; a lease lives 15.
BELOW_LEASE, BEYOND_LEASE = (2.0, 8.0), (17.0, 22.0)


#: Seconds that a worker gets to stop: to drain, and twice that for a Redis that is away.
STOP_S = 40.0


@dataclass(frozen=True)
class Fault:
    """`breaks` workers at most lose what they hold, so that it is executed once more."""

    name: str
    do: Callable[[Fleet, random.Random], None]
    breaks: int = 0
    #: Whether it is one of the kills that are counted.
    kills: bool = False


def _one_worker(fleet: Fleet, rng: random.Random) -> Program:
    return rng.choice(fleet.workers)


def _kill_worker(fleet: Fleet, rng: random.Random) -> None:
    _one_worker(fleet, rng).kill()


def _restart_worker(fleet: Fleet, rng: random.Random) -> None:
    """By SIGTERM, and SIGKILL after STOP_S, as supervisors do."""
    program = _one_worker(fleet, rng)
    before, end = program.starts, time.monotonic() + STOP_S
    program.send(signal.SIGTERM)
    while program.starts == before and time.monotonic() < end:
        time.sleep(0.1)
    if program.starts == before:
        program.kill()


def _pause(program: Program, seconds: float) -> None:
    program.send(signal.SIGSTOP)
    time.sleep(seconds)
    program.send(signal.SIGCONT)


def _pause_worker(fleet: Fleet, rng: random.Random) -> None:
    _pause(_one_worker(fleet, rng), rng.uniform(*BELOW_LEASE))


def _pause_worker_long(fleet: Fleet, rng: random.Random) -> None:
    _pause(_one_worker(fleet, rng), rng.uniform(*BEYOND_LEASE))


def _freeze_engine(fleet: Fleet, rng: random.Random) -> None:
    (fleet.faults / "freeze").touch()


def _crash_engine(fleet: Fleet, rng: random.Random) -> None:
    (fleet.faults / "crash").touch()


def _kill_api(fleet: Fleet, rng: random.Random) -> None:
    if fleet.apis:
        rng.choice(fleet.apis).kill()


def _cut_clients(fleet: Fleet, rng: random.Random) -> None:
    with fleet.client() as redis:
        for kind in ("normal", "pubsub"):
            redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def _kill_redis(fleet: Fleet, rng: random.Random) -> None:
    """By SIGKILL; it starts again on its append-only file.

    With `everysec` Redis answers before it writes while an fsync is under way, so a kill may lose
    what it acknowledged in the last second or two: documented, and no promise of ours. Therefore
    `always` from a moment before.
    """
    with fleet.client() as redis:
        redis.config_set("appendfsync", "always")
    time.sleep(rng.uniform(0.05, 0.3))
    fleet.redis.kill(down_s=rng.uniform(0.2, 4))


def _stop_redis(fleet: Fleet, rng: random.Random) -> None:
    _pause(fleet.redis, rng.uniform(1, 12))


def _fill_redis(fleet: Fleet, rng: random.Random) -> None:
    with fleet.client() as redis:
        redis.config_set("maxmemory", 1)
        time.sleep(rng.uniform(2, 6))
        redis.config_set("maxmemory", 0)


def _drop(fleet: Fleet, rng: random.Random) -> None:
    fleet.proxy.drop()


def _half_close(fleet: Fleet, rng: random.Random) -> None:
    fleet.proxy.half_close()


def _swallow(fleet: Fleet, rng: random.Random) -> None:
    fleet.proxy.swallow(rng.uniform(1, 20))


def _delay(fleet: Fleet, rng: random.Random) -> None:
    fleet.proxy.delay(rng.uniform(2, 8), each_s=rng.uniform(0.05, 0.6))


#: Behind the proxy stand half of the workers, two at most.
PROXIED = 2

FAULTS = {
    fault.name: fault
    for fault in (
        Fault("worker SIGKILL", _kill_worker, breaks=1, kills=True),
        Fault("worker SIGTERM", _restart_worker),
        Fault("worker SIGSTOP below a lease", _pause_worker, breaks=1),
        Fault("worker SIGSTOP beyond a lease", _pause_worker_long, breaks=1),
        Fault("engine frozen", _freeze_engine, breaks=1),
        Fault("engine crashed", _crash_engine, breaks=1, kills=True),
        Fault("API SIGKILL", _kill_api, kills=True),
        Fault("CLIENT KILL of all", _cut_clients),
        Fault("Redis SIGKILL", _kill_redis, kills=True),
        Fault("Redis SIGSTOP", _stop_redis),
        Fault("Redis full", _fill_redis),
        Fault("connections reset", _drop),
        Fault("connections half-closed", _half_close),
        Fault("connections swallowed", _swallow, breaks=PROXIED),
        Fault("connections slow", _delay, breaks=PROXIED),
    )
}


def do(fault: Fault, fleet: Fleet, seed: int) -> None:
    """Redis may be gone already, by another fault: then this one has nothing to do."""
    with suppress(RedisError, OSError):
        fault.do(fleet, random.Random(seed))
