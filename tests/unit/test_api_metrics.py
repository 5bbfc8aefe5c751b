"""GET /metrics, read as Prometheus reads it."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from distilq.errors import GenerationFailed
from distilq.jobs import JobRequest, Priority
from distilq.testing import FAKE_WORKER, MemoryStore
from tests.unit.api_client import make_client


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(client: FlaskClient, name: str, **labels: str) -> float:
    return samples(client.get("/metrics").text)[name, tuple(sorted(labels.items()))]


def test_jobs_are_counted_by_how_they_ended(client: FlaskClient, store: MemoryStore) -> None:
    ids = [store.submit(JobRequest(inputs="a")).id for _ in range(4)]
    for job_id in ids[:3]:
        store.start(job_id)
    tokens = sum(store.finish(job_id).usage.generated_tokens for job_id in ids[:2])
    store.fail(ids[2], GenerationFailed())
    assert value(client, "distilq_jobs_submitted_total") == 4
    assert value(client, "distilq_jobs_total", status="succeeded") == 2
    assert value(client, "distilq_jobs_total", status="failed") == 1
    assert value(client, "distilq_jobs_total", status="canceled") == 0
    assert value(client, "distilq_generated_tokens_total") == tokens > 0


def test_a_worker_that_is_drained_does_not_count(client: FlaskClient, store: MemoryStore) -> None:
    store.alive = [FAKE_WORKER]
    store.drain_worker("worker-1")
    assert value(client, "distilq_workers") == 0
    assert value(client, "distilq_worker_draining", worker="worker-1") == 1


def test_the_queue_by_priority(client: FlaskClient, store: MemoryStore) -> None:
    store.submit(JobRequest(inputs="a", priority=Priority.BULK))
    store.pause(Priority.BULK)
    assert value(client, "distilq_queue_depth", priority="bulk") == 1
    assert value(client, "distilq_queue_depth", priority="normal") == 0
    assert value(client, "distilq_queue_paused", priority="bulk") == 1
    assert value(client, "distilq_queue_tokens", priority="bulk") > 0
    assert value(client, "distilq_workers") == 0


def test_each_worker_has_its_gauges(client: FlaskClient, store: MemoryStore) -> None:
    store.alive = [FAKE_WORKER.model_copy(update={"rows": 3})]
    assert value(client, "distilq_worker_rows", worker="worker-1") == 3
    assert value(client, "distilq_worker_rows_max", worker="worker-1") == FAKE_WORKER.max_rows
    assert value(client, "distilq_workers") == 1


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ],
)
def test_in_whichever_format_it_is_asked_for(
    client: FlaskClient, accept: str, content_type: str
) -> None:
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.mimetype == content_type
    if content_type.startswith("application"):
        parse: Any = openmetrics.text_string_to_metric_families
        assert list(parse(answer.text))


def test_without_redis_there_are_none(client: FlaskClient, store: MemoryStore) -> None:
    store.down = True
    assert client.get("/metrics").status_code == 503
