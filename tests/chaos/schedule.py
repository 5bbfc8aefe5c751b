"""Which fault comes when: drawn from a seed, so that a run can be run again."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos import faults
from tests.chaos.fleet import Fleet

#: How often each comes in a long run, relative to the others.
WEIGHTS = {
    "worker SIGKILL": 48,
    "worker SIGTERM": 8,
    "worker SIGSTOP below a lease": 4,
    "worker SIGSTOP beyond a lease": 4,
    "engine frozen": 3,
    "engine crashed": 5,
    "API SIGKILL": 7,
    "CLIENT KILL of all": 4,
    "Redis SIGKILL": 5,
    "Redis SIGSTOP": 2,
    "Redis full": 3,
    "connections reset": 3,
    "connections half-closed": 3,
    "connections swallowed": 3,
    "connections slow": 2,
}


@dataclass(frozen=True)
class Step:
    at_s: float
    fault: str
    seed: int


def each_once(seed: int, seconds: float, leave_out: Sequence[str] = ()) -> list[Step]:
    """Every fault once, in an order that the seed says."""
    names = [name for name in faults.FAULTS if name not in leave_out]
    random.Random(seed).shuffle(names)
    return _steps(seed, seconds, names)


def weighted(seed: int, seconds: float, every_s: float) -> list[Step]:
    """As many faults as there is time for, one every so many seconds on the mean."""
    rng, count = random.Random(seed), int(seconds / every_s)
    names = rng.choices(list(WEIGHTS), weights=list(WEIGHTS.values()), k=count)
    return _steps(seed, seconds, names)


def _steps(seed: int, seconds: float, names: Sequence[str]) -> list[Step]:
    rng = random.Random(seed)
    width = seconds / len(names)
    return [
        Step(round((n + rng.random()) * width, 2), name, rng.getrandbits(32))
        for n, name in enumerate(names)
    ]


class Chaos:
    """Carries a schedule out; a fault that lasts runs beside those that follow."""

    def __init__(self, fleet: Fleet, steps: Sequence[Step]) -> None:
        self._fleet = fleet
        self._steps = steps
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Returns when the last fault is over."""
        begun, threads = time.monotonic(), []
        for step in self._steps:
            time.sleep(max(0.0, begun + step.at_s - time.monotonic()))
            fault = faults.FAULTS[step.fault]
            thread = threading.Thread(target=faults.do, args=(fault, self._fleet, step.seed))
            thread.start()
            threads.append(thread)
            self.done[step.fault] += 1
        for thread in threads:
            thread.join()

    @property
    def kills(self) -> int:
        return sum(n for name, n in self.done.items() if faults.FAULTS[name].kills)

    @property
    def workers_broken(self) -> int:
        """How many times at most a worker lost what it held."""
        return sum(n * faults.FAULTS[name].breaks for name, n in self.done.items())
