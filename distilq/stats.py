"""The last hour of one model's service: what was sampled, and what that tells.

A sample has counts since the first start; rates and quantiles are of what was added from one to the
next. Where a count went back, as after a failover of Redis, they are unknown, never negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from pydantic import BaseModel, Field

from distilq.cluster import QueueState, WorkerState
from distilq.histograms import BOUNDS, Histogram, Name, quantile

#: Seconds from one sample to the next, and for how many of them samples are shown.
STEP_S, WINDOW_S = 10, 3_600

#: Histograms that a sample has.
TIMES: tuple[Name, ...] = ("queue_time", "time_to_first_token", "time_between_tokens", "end_to_end")


class Sample(BaseModel):
    """How it stood at one moment, and counts since the first start."""

    at: datetime
    queued: dict[str, int]
    oldest_age_s: dict[str, float | None]
    running: int
    workers: int
    rows: int
    succeeded: int
    failed: int
    tokens: int
    #: Observations per bucket, of all priorities together.
    times: dict[str, list[int]]

    @property
    def step(self) -> int:
        """The number of the step that it is the sample of."""
        return int(self.at.timestamp() // STEP_S)


class Point(BaseModel):
    """One sample, and what happened since the one before; null where that is not known."""

    at: datetime
    queued: dict[str, int] = Field(description="jobs by priority")
    oldest_age_s: dict[str, float | None] = Field(description="null when nothing waits")
    running: int
    workers: int
    rows: int = Field(description="sequences in the batches of all workers")
    jobs_per_s: float | None = Field(description="jobs that succeeded")
    failed_per_s: float | None
    tokens_per_s: float | None = Field(description="new tokens, as they are made")


class Quantiles(BaseModel):
    """Seconds; estimated from buckets, as Prometheus' histogram_quantile does."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int = Field(description="observations that they are of")


class Latency(BaseModel):
    queue_time: Quantiles
    time_to_first_token: Quantiles
    time_between_tokens: Quantiles
    end_to_end: Quantiles


class Stats(BaseModel):
    now: datetime
    step_s: int
    points: list[Point] = Field(description="oldest first; nothing where nobody sampled")
    latency: Latency = Field(description="of what ended within the last hour")


class Snapshot(BaseModel):
    """How it stands now."""

    queue: QueueState
    workers: list[WorkerState]
    point: Point | None = Field(description="the newest")
    dead: int | None = Field(description="entries of the dead list; null for who is no admin")


def stats_of(samples: Sequence[Sample], now: Sample) -> Stats:
    """What samples tell, oldest first; `now` is how it stands, whether it is kept or not."""
    return Stats(
        now=now.at,
        step_s=STEP_S,
        points=points_of(samples),
        latency=Latency(**{name: _quantiles(name, [*samples, now]) for name in TIMES}),
    )


def points_of(samples: Sequence[Sample]) -> list[Point]:
    """One per sample; rates only where the one before is of the step before."""
    before = [None, *samples[:-1]] if samples else []
    return [_point(early, late) for early, late in zip(before, samples, strict=True)]


def times_of(histograms: Sequence[Histogram]) -> dict[str, list[int]]:
    """The counts of TIMES, of all labels together."""
    found = {name: [0] * (len(BOUNDS[name]) + 1) for name in TIMES}
    for each in histograms:
        if each.name in found:
            found[each.name] = [a + b for a, b in zip(found[each.name], each.counts, strict=True)]
    return {str(name): counts for name, counts in found.items()}


def _point(before: Sample | None, sample: Sample) -> Point:
    follows = before is not None and sample.step - before.step == 1
    return Point(
        **sample.model_dump(include={"at", "queued", "oldest_age_s", "running", "workers", "rows"}),
        jobs_per_s=_rate(before, sample, "succeeded") if follows else None,
        failed_per_s=_rate(before, sample, "failed") if follows else None,
        tokens_per_s=_rate(before, sample, "tokens") if follows else None,
    )


def _rate(before: Sample | None, sample: Sample, count: str) -> float | None:
    if before is None:
        return None
    added = getattr(sample, count) - getattr(before, count)
    passed_s = (sample.at - before.at).total_seconds()
    return round(added / passed_s, 3) if added >= 0 and passed_s > 0 else None


def _quantiles(name: Name, samples: Sequence[Sample]) -> Quantiles:
    counts = [0] * (len(BOUNDS[name]) + 1)
    for before, after in pairwise(samples):
        for bucket, more in enumerate(_added(name, before.times, after.times)):
            counts[bucket] += more
    p50, p95, p99 = (quantile(BOUNDS[name], counts, q) for q in (0.5, 0.95, 0.99))
    return Quantiles(p50=p50, p95=p95, p99=p99, count=sum(counts))


def _added(
    name: Name, before: Mapping[str, Sequence[int]], after: Mapping[str, Sequence[int]]
) -> list[int]:
    """What came into each bucket; nothing if one went back, or was sampled with other bounds."""
    early, late = before.get(name, ()), after.get(name, ())
    if not len(early) == len(late) == len(BOUNDS[name]) + 1:
        return []
    added = [b - a for a, b in zip(early, late, strict=True)]
    return added if min(added) >= 0 else []
