"""Traces of jobs: from a request to the API over a real Redis to the pool that runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.trace import SpanKind, StatusCode

from api.app import create_app
from distilq import keys
from distilq.claims import Claims
from distilq.connection import connect
from distilq.jobs import JobStatus
from distilq.logs import TRACEPARENT
from distilq.settings import Settings
from distilq.store import JobStore
from distilq.sweeper import Sweeper
from tests.integration.receiver import receiving
from tests.integration.test_api_http import client_of, serving
from tests.integration.test_worker import StartWorker, start_worker
from tests.unit.recorded import CLIENTS, SPAN_ID, TRACE_ID, Recorded, is_under, trace_of
from worker.lease import Holdings
from worker.pool import EnginePool

__all__ = ["start_worker"]  # a fixture

MODEL = "simulated:step_ms=1"
SLUG = keys.slug(MODEL)
SEND, PROCESS = f"send distilq.{SLUG}", f"process distilq.{SLUG}"
SECRET = "what nobody may read"


@pytest.fixture
def worker_settings(redis_client: Any, settings: Callable[..., Settings]) -> Settings:
    return settings(model=MODEL, drain_s=0, auth="off")


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def store(redis_client: Any, worker_settings: Settings, recorded: Recorded) -> Iterator[JobStore]:
    store = JobStore(redis_client, worker_settings, recorded.traces)
    yield store
    store.close()


@pytest.fixture
def client(worker_settings: Settings, store: JobStore, recorded: Recorded) -> Iterator[FlaskClient]:
    before = TRACEPARENT.set("")
    yield create_app(worker_settings, store, tracer=recorded.traces).test_client()
    TRACEPARENT.reset(before)


@pytest.fixture(scope="module")
def pool_of_all(redis_url: str) -> Iterator[EnginePool]:
    """A worker's pool without Celery: `begin` gives it what it claims."""
    redis = connect(redis_url)
    holdings = Holdings(Claims(redis, MODEL, "w"), 64, 65_536)
    app = SimpleNamespace(
        distilq_settings=Settings(redis_url=redis_url, model=MODEL, drain_s=0),
        distilq_worker_id="w",
        distilq_sweeper=SimpleNamespace(start=lambda: None, stop=lambda: None),
        conf=SimpleNamespace(broker_transport_options={"holdings": holdings}),
    )
    pool = EnginePool(limit=8, app=app)
    pool.on_start()
    yield pool
    pool.on_stop()
    redis.close()


@pytest.fixture
def pool(pool_of_all: EnginePool, recorded: Recorded) -> EnginePool:
    pool_of_all.traces = recorded.traces
    return pool_of_all


def begin(pool: EnginePool) -> None:
    for claim in pool.holdings.take():
        pool.on_apply(
            None, ("task", claim.id), callback=lambda _: None, accept_callback=lambda *_: None
        )


def work(pool: EnginePool) -> None:
    """Run all that is queued, to its end."""
    begin(pool)
    deadline = time.monotonic() + 30
    while pool._running:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def received(bodies: Iterable[bytes]) -> tuple[set[str], dict[str, str]]:
    """By which services spans were sent, and the trace of each by its name."""
    services: set[str] = set()
    traces: dict[str, str] = {}
    for body in bodies:
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            facts = {each.key: each.value.string_value for each in sent.resource.attributes}
            services.add(facts["service.name"])
            spans = (span for scope in sent.scope_spans for span in scope.spans)
            traces |= {span.name: span.trace_id.hex() for span in spans}
    return services, traces


def asked(**fields: Any) -> dict[str, Any]:
    return {"inputs": SECRET, "parameters": {"max_new_tokens": 5}, **fields}


def post(client: FlaskClient, path: str, body: Any, traceparent: str = CLIENTS) -> Any:
    with client.post(path, json=body, headers={"traceparent": traceparent}) as response:
        assert response.status_code == 202, response.get_data()
        return response.get_json()


def test_a_job_is_one_trace_from_its_request_to_its_last_step(
    client: FlaskClient, pool: EnginePool, recorded: Recorded
) -> None:
    job_id = post(client, "/v1/jobs", asked())["id"]
    work(pool)
    names = ["POST /v1/jobs", SEND, "queue", PROCESS, "prefill", "decode"]
    request, send, queued, process, prefill, decode = map(recorded.one, names)
    assert len(recorded.spans) == 6
    assert request.parent is not None
    assert (trace_of(request), request.parent.span_id) == (TRACE_ID, SPAN_ID)
    assert is_under(send, request)
    assert is_under(queued, send)
    assert is_under(process, send)
    assert is_under(prefill, process)
    assert is_under(decode, process)
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert queued.end_time == process.start_time
    assert prefill.end_time == decode.start_time
    assert (process.attributes or {})["messaging.message.id"] == job_id
    assert (process.attributes or {})["gen_ai.usage.output_tokens"] == 5
    assert (process.attributes or {})["gen_ai.response.finish_reasons"] == ("length",)
    assert (decode.attributes or {})["distilq.steps"] == 5
    assert process.status.status_code is StatusCode.UNSET
    assert SECRET not in "".join(span.to_json() for span in recorded.spans)


def test_every_job_of_a_batch_has_a_run_of_its_own_under_what_sent_them(
    client: FlaskClient, pool: EnginePool, recorded: Recorded
) -> None:
    jobs = post(client, "/v1/jobs:batch", {"jobs": [asked()] * 3})["jobs"]
    work(pool)
    send, runs = recorded.one(SEND), recorded.all_of(PROCESS)
    assert (send.attributes or {})["messaging.batch.message_count"] == 3
    assert is_under(send, recorded.one("POST /v1/jobs:batch"))
    assert all(is_under(run, send) for run in runs)
    ids = {(run.attributes or {})["messaging.message.id"] for run in runs}
    assert ids == {job["id"] for job in jobs}


def test_a_run_that_fails_is_an_error_and_one_that_is_canceled_is_none(
    client: FlaskClient, pool: EnginePool, recorded: Recorded, store: JobStore
) -> None:
    long = {"parameters": {"max_new_tokens": 1000}}
    job_id = post(client, "/v1/jobs", asked(timeout_s=0.01, **long))["id"]
    work(pool)
    failed = recorded.one(PROCESS)
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == (store.get(job_id).error or {})["type"]
    canceled_id = post(client, "/v1/jobs", asked(**long))["id"]
    begin(pool)
    store.cancel(canceled_id)
    work(pool)
    canceled = recorded.all_of(PROCESS)[1]
    assert (canceled.attributes or {})["distilq.job.status"] == "canceled"
    assert canceled.status.status_code is StatusCode.UNSET


def test_a_job_whose_worker_has_died_goes_on_in_its_trace(
    client: FlaskClient, pool: EnginePool, recorded: Recorded, redis_client: Any
) -> None:
    job_id = post(client, "/v1/jobs", asked())["id"]
    [lost] = Claims(redis_client, MODEL, "dead").take(1)
    redis_client.zadd(keys.leases(MODEL), {job_id: 1})
    Sweeper(redis_client, MODEL).sweep()
    work(pool)
    process = recorded.one(PROCESS)
    assert is_under(process, recorded.one(SEND))
    assert (process.attributes or {})["distilq.job.claim"] == lost.fence + 1


def test_of_a_request_that_is_not_sampled_nothing_is_left(
    client: FlaskClient, pool: EnginePool, recorded: Recorded, redis_client: Any
) -> None:
    job_id = post(client, "/v1/jobs", asked(), CLIENTS[:-1] + "0")["id"]
    assert not redis_client.hexists(keys.job(job_id), "traceparent")
    work(pool)
    assert redis_client.hget(keys.job(job_id), "status") == b"succeeded"
    assert recorded.spans == ()


def test_a_refusal_by_the_store_is_an_error_of_what_sent(
    redis_client: Any, worker_settings: Settings, recorded: Recorded
) -> None:
    full = worker_settings.model_copy(update={"max_queued_jobs": 1})
    store = JobStore(redis_client, full, recorded.traces)
    with create_app(full, store, tracer=recorded.traces).test_client() as client:
        post(client, "/v1/jobs", asked())
        with client.post("/v1/jobs", json=asked()) as response:
            assert response.status_code == 503
    store.close()
    sent, refused = recorded.all_of(SEND)
    assert sent.status.status_code is StatusCode.UNSET
    assert (refused.attributes or {})["error.type"] == "QueueFull"
    assert recorded.all_of("POST /v1/jobs")[1].status.status_code is StatusCode.ERROR


def test_a_worker_sends_its_spans_by_otlp_before_it_ends(
    client: FlaskClient,
    store: JobStore,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiving() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")  # so it is the end that sends
        worker = start_worker(traces="otlp", drain_s=5)
        job_id = post(client, "/v1/jobs", asked())["id"]
        assert store.wait(job_id, 30).status is JobStatus.SUCCEEDED
        worker.terminate()
        assert worker.wait(30) == 0
    assert {got.path for got in collector.got} == {"/v1/traces"}
    services, traces = received(got.body for got in collector.got)
    assert services == {"distilq-worker"}
    assert traces == dict.fromkeys(["queue", PROCESS, "prefill", "decode"], CLIENTS[3:35])


def test_the_api_sends_its_spans_by_otlp_before_it_ends(redis_client: Any, redis_url: str) -> None:
    with receiving() as collector:
        variables = {
            "DISTILQ_TRACES": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        }
        with serving(redis_url, **variables) as (port, _), client_of(port) as http:
            sent = http.post("/v1/jobs", json=asked(), headers={"traceparent": CLIENTS})
            assert sent.status_code == 202
    services, traces = received(got.body for got in collector.got)
    assert services == {"distilq-api"}
    assert traces == dict.fromkeys(["POST /v1/jobs", "send distilq.bundled"], CLIENTS[3:35])
