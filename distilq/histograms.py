"""How long things took, counted in buckets by each worker, and added up for all of them in Redis.

Whoever observes keeps counts in memory and gives them away once a second, so that a job costs Redis
nothing for them. What a killed worker had not given away is lost: a second's worth at most.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Name = Literal[
    "queue_time", "time_to_first_token", "time_between_tokens", "end_to_end", "batch_rows"
]

#: Upper bounds of buckets, in seconds; a last one has no bound. From a step of a small model to the
#: longest that a job may run.
JOB_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 5)
BOUNDS: dict[Name, tuple[float, ...]] = {
    "queue_time": JOB_SECONDS,
    "time_to_first_token": JOB_SECONDS,
    "time_between_tokens": TOKEN_SECONDS,
    "end_to_end": JOB_SECONDS,
    "batch_rows": (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024),
}

#: A sum is kept in millionths: Redis adds integers exactly.
UNIT = 1_000_000


@dataclass(frozen=True)
class Histogram:
    """One of the histograms, as it is in Redis."""

    name: Name
    #: What it is of: a priority, or everything.
    label: str
    #: Observations per bucket, one more than there are bounds.
    counts: tuple[int, ...]
    sum: float


class Observations:
    """What has been observed and not given away; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fields: Counter[str] = Counter()

    def observe(self, name: Name, value: float, label: str = "", times: int = 1) -> None:
        """Seconds, or rows."""
        bucket = bisect_left(BOUNDS[name], value)
        with self._lock:
            self._fields[f"{name}:{label}:{bucket}"] += times
            self._fields[f"{name}:{label}:sum"] += round(value * UNIT) * times

    def count(self, name: str, times: int) -> None:
        """What only its number matters of."""
        with self._lock:
            self._fields[f"{name}::total"] += times

    def take(self) -> dict[str, int]:
        """All of it: what is to be added to each field of the hash."""
        with self._lock:
            taken, self._fields = self._fields, Counter()
        return dict(taken)

    def give_back(self, fields: Mapping[str, int]) -> None:
        """It could not be added."""
        with self._lock:
            self._fields.update(fields)


def total(fields: Mapping[bytes, bytes], name: str) -> int:
    """How much has been counted under a name."""
    return int(fields.get(f"{name}::total".encode(), 0))


def quantile(bounds: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """What a share `q` of the observations is at most, `counts` in all; None if there are none.

    As Prometheus' histogram_quantile has it: linear within a bucket, the first of which begins at
    0; of the bucket without a bound its lower bound.
    """
    rank, below = q * sum(counts), 0
    for bucket, count in enumerate(counts):
        if count and below + count >= rank:
            if bucket == len(bounds):
                return float(bounds[-1])
            lower = bounds[bucket - 1] if bucket else 0.0
            return lower + (bounds[bucket] - lower) * (rank - below) / count
        below += count
    return None


def read(fields: Mapping[bytes, bytes]) -> list[Histogram]:
    """The histograms that a hash of such fields holds."""
    found: dict[tuple[Name, str], dict[str, int]] = {}
    for field, value in fields.items():
        name, label, part = field.decode().split(":")
        for known in BOUNDS:
            if known == name:
                found.setdefault((known, label), {})[part] = int(value)
    return [
        Histogram(
            name,
            label,
            tuple(parts.get(str(bucket), 0) for bucket in range(len(BOUNDS[name]) + 1)),
            parts.get("sum", 0) / UNIT,
        )
        for (name, label), parts in sorted(found.items())
    ]
