"""Rates, quantiles and holes of the last hour."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime, timedelta, timezone
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilq.histograms import BOUNDS, Histogram, Name, quantile
from distilq.stats import STEP_S, Sample, points_of, stats_of, times_of

START = datetime(2024, 1, 1, tzinfo=timezone.utc)
NAME: Name = "time_between_tokens"
BUCKETS = len(BOUNDS[NAME]) + 1


def sample(at_s: float, times: list[int] | None = None, **counts: int) -> Sample:
    every: dict[str, Any] = {"running": 0, "workers": 1, "rows": 0}
    every |= {"succeeded": 0, "failed": 0, "tokens": 0} | counts
    at = START + timedelta(seconds=at_s)
    found = times_of([]) | ({} if times is None else {NAME: times})
    return Sample(at=at, queued={"bulk": 2}, oldest_age_s={"bulk": 1.5}, times=found, **every)


def filled(**buckets: int) -> list[int]:
    return [buckets.get(f"b{n}", 0) for n in range(BUCKETS)]


def test_rates_are_of_the_time_that_has_passed_since_the_sample_before() -> None:
    first, second = points_of(
        [sample(0.5, succeeded=7, tokens=100), sample(10, succeeded=26, failed=1, tokens=480)]
    )
    assert (first.jobs_per_s, first.failed_per_s, first.tokens_per_s) == (None, None, None)
    assert (second.jobs_per_s, second.failed_per_s, second.tokens_per_s) == (2, 0.105, 40)
    assert (second.queued, second.oldest_age_s, second.workers) == ({"bulk": 2}, {"bulk": 1.5}, 1)


def test_a_hole_is_no_point_and_the_rates_behind_it_are_unknown() -> None:
    points = points_of(
        [sample(0), sample(10, tokens=5), sample(40, tokens=9), sample(50, tokens=9)]
    )
    assert [(point.at - START).seconds for point in points] == [0, 10, 40, 50]
    assert [point.tokens_per_s for point in points] == [None, 0.5, None, 0]


def test_a_count_that_went_back_has_no_rate() -> None:
    points = points_of([sample(0, tokens=9, succeeded=1), sample(10, tokens=3, succeeded=2)])
    assert (points[1].tokens_per_s, points[1].jobs_per_s) == (None, 0.1)


def test_quantiles_are_of_what_was_added_also_since_the_last_sample() -> None:
    samples = [sample(0, filled(b0=1_000)), sample(10, filled(b0=1_000, b4=50))]
    now = sample(12, filled(b0=1_000, b4=50, b5=50))
    found = stats_of(samples, now)
    assert (found.now, found.step_s, len(found.points)) == (now.at, STEP_S, 2)
    between = found.latency.time_between_tokens
    assert between.count == 100
    assert between.p50 == BOUNDS[NAME][4] == 0.02
    assert between.p95 == pytest.approx(0.02 + 0.9 * 0.01)
    assert found.latency.end_to_end.model_dump() == {
        "p50": None,
        "p95": None,
        "p99": None,
        "count": 0,
    }


def test_what_was_added_before_and_after_a_count_went_back_is_counted() -> None:
    samples = [
        sample(0),
        sample(10, filled(b2=3)),
        sample(20, filled(b2=1)),
        sample(30, filled(b2=5)),
    ]
    assert stats_of(samples, samples[-1]).latency.time_between_tokens.count == 3 + 4


def test_samples_with_other_bounds_are_left_out() -> None:
    samples = [sample(0, [0, 0]), sample(10, [4, 0]), sample(20, filled(b0=1))]
    assert stats_of(samples, sample(21, filled(b0=2))).latency.time_between_tokens.count == 1


def test_without_samples_there_is_nothing_to_tell() -> None:
    found = stats_of([], sample(0, filled(b0=9)))
    assert (found.points, found.latency.time_between_tokens.count) == ([], 0)


def test_priorities_are_added_up() -> None:
    counts = tuple(range(len(BOUNDS["queue_time"]) + 1))
    found = times_of([Histogram("queue_time", p, counts, 1.0) for p in ("normal", "bulk")])
    assert found["queue_time"] == [2 * n for n in counts]
    assert "batch_rows" not in found


@pytest.mark.parametrize(
    ("counts", "q", "value"),
    [
        ([0, 0, 0], 0.5, None),
        ([4, 0, 0], 0.5, 0.5),
        ([0, 4, 0], 0.25, 1.25),
        ([1, 1, 0], 0.5, 1.0),
        ([0, 0, 4], 0.5, 2.0),
        ([1, 0, 1], 0.99, 2.0),
    ],
)
def test_a_quantile_lies_within_its_bucket(
    counts: list[int], q: float, value: float | None
) -> None:
    assert quantile((1.0, 2.0), counts, q) == value


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0.01, 0.99))
def test_a_quantile_is_in_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    bounds = BOUNDS[NAME]
    counts = [0] * BUCKETS
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    found = quantile(bounds, counts, q)
    true = bisect_left(bounds, sorted(values)[ceil(q * len(values)) - 1])
    assert found is not None
    assert (0.0, *bounds)[true] <= found <= (*bounds, bounds[-1])[true]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(-5, 50)), min_size=2, max_size=30))
def test_the_rates_of_a_run_without_holes_add_up_to_what_was_made(
    steps: list[tuple[int, int]],
) -> None:
    at, tokens, samples = 0, 100, []
    for pause, more in steps:
        at, tokens = at + pause * STEP_S, tokens + more
        samples.append(sample(at, tokens=tokens))
    points = points_of(samples)
    made = sum((point.tokens_per_s or 0) * STEP_S for point in points)
    assert made == sum(more for pause, more in steps[1:] if pause == 1 and more > 0)
    assert all(point.tokens_per_s is None or point.tokens_per_s >= 0 for point in points)
