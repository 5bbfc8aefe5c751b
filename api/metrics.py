"""GET /metrics: the whole cluster in one scrape, read from Redis when it is asked for.

Any API process gives the same figures, so one is enough to scrape, and none keeps files of its own.
prometheus_client writes the format; names and units follow Prometheus' conventions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from flask import Blueprint, Response, request
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from distilq.cluster import QueueState, WorkerState
from distilq.histograms import BOUNDS, Histogram
from distilq.jobs import FINAL
from distilq.store import Jobs, Observed

from .context import store
from .status import version

blueprint = Blueprint("metrics", __name__)

HELP = {
    "queue_time": ("distilq_queue_time_seconds", "From a job's submission to its last start"),
    "time_to_first_token": (
        "distilq_time_to_first_token_seconds",
        "From a job's submission to the first token of its last attempt",
    ),
    "time_between_tokens": (
        "distilq_time_between_tokens_seconds",
        "From one token of a sequence to the next",
    ),
    "end_to_end": ("distilq_end_to_end_seconds", "From a job's submission to its end"),
    "batch_rows": ("distilq_batch_rows", "Sequences that were decoded together, per step"),
}


@blueprint.get("/metrics")
def metrics() -> Response:
    registry = CollectorRegistry()
    registry.register(Snapshot(store()))
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encode(registry), content_type=content_type)


class Snapshot(Collector):
    """What is in Redis now, as metric families."""

    def __init__(self, jobs: Jobs) -> None:
        self._observed, self._queue, self._workers = jobs.observed(), jobs.queue(), jobs.workers()

    def collect(self) -> Iterable[Metric]:
        yield from _totals(self._observed)
        yield from _queue(self._queue)
        yield from _workers(self._workers)
        for name, (metric, words) in HELP.items():
            found = [each for each in self._observed.histograms if each.name == name]
            yield _histogram(metric, words, found)
        build = GaugeMetricFamily("distilq_build_info", "Version; always 1", labels=["version"])
        build.add_metric([version()], 1)
        yield build


def _totals(observed: Observed) -> Iterator[Metric]:
    totals = observed.totals
    yield CounterMetricFamily(
        "distilq_jobs_submitted", "Jobs that were accepted", totals.get("submitted", 0)
    )
    ended = CounterMetricFamily("distilq_jobs", "Jobs that have ended", labels=["status"])
    for status in sorted(FINAL):
        ended.add_metric([status.value], totals.get(status.value, 0))
    yield ended
    yield CounterMetricFamily(
        "distilq_generated_tokens",
        "Tokens of jobs that have ended",
        totals.get("generated_tokens", 0),
    )
    yield GaugeMetricFamily(
        "distilq_dead_jobs", "Entries of the dead list: see `distilq dead`", observed.dead
    )


def _queue(queue: QueueState) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("distilq_queue_depth", "Queued jobs", labels=["priority"])
    tokens = GaugeMetricFamily(
        "distilq_queue_tokens", "Tokens charged to queued jobs", labels=["priority"]
    )
    age = GaugeMetricFamily(
        "distilq_queue_oldest_age_seconds",
        "Age of the oldest queued job; 0 if there is none",
        labels=["priority"],
    )
    paused = GaugeMetricFamily(
        "distilq_queue_paused", "1: no worker takes jobs of it", labels=["priority"]
    )
    for priority, level in queue.priorities.items():
        jobs.add_metric([priority], level.jobs)
        tokens.add_metric([priority], level.tokens)
        age.add_metric([priority], level.oldest_age_s or 0)
        paused.add_metric([priority], priority in [each.value for each in queue.paused])
    yield from (jobs, tokens, age, paused)
    yield GaugeMetricFamily("distilq_running_jobs", "Jobs that workers hold", queue.running)
    yield GaugeMetricFamily("distilq_workers", "Workers that take jobs", queue.workers)


def _workers(workers: list[WorkerState]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "distilq_worker_info",
        "What a worker is; always 1",
        labels=["worker", "host", "device", "model", "precision", "source"],
    )
    gauges = {
        "rows": "Sequences in its batch",
        "rows_max": "Most sequences in its batch",
        "waiting_jobs": "Jobs it holds that wait for room",
        "kv_tokens": "Tokens in its KV cache",
        "kv_capacity_tokens": "Tokens that its KV cache holds",
        "draining": "1: it takes no more jobs",
    }
    families = {
        name: GaugeMetricFamily(f"distilq_worker_{name}", words, labels=["worker"])
        for name, words in gauges.items()
    }
    seen = GaugeMetricFamily(
        "distilq_worker_heartbeat_timestamp_seconds", "Its last heartbeat", labels=["worker"]
    )
    for worker in workers:
        info.add_metric(
            [worker.id, worker.host, worker.device, worker.model, worker.precision, worker.source],
            1,
        )
        seen.add_metric([worker.id], worker.seen_at.timestamp())
        for name, value in (
            ("rows", worker.rows),
            ("rows_max", worker.max_rows),
            ("waiting_jobs", worker.waiting),
            ("kv_tokens", worker.kv_tokens),
            ("kv_capacity_tokens", worker.kv_capacity),
            ("draining", worker.draining),
        ):
            families[name].add_metric([worker.id], value)
    yield from (info, seen, *families.values())


def _histogram(metric: str, words: str, found: list[Histogram]) -> Metric:
    labels = ["priority"] if any(each.label for each in found) else []
    family = HistogramMetricFamily(metric, words, labels=labels)
    for each in found:
        bounds = [*(f"{bound:g}" for bound in BOUNDS[each.name]), "+Inf"]
        buckets = list(zip(bounds, accumulate(each.counts), strict=True))
        family.add_metric([each.label] if labels else [], buckets, each.sum)
    return family
