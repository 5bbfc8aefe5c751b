"""Spans of requests, over a store in memory; those of jobs are in tests/integration."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from logging.config import dictConfig

import pytest
from flask import Flask
from flask.testing import FlaskClient
from opentelemetry.trace import SpanKind, StatusCode

from api.app import create_app
from distilq import logs, record, spans
from distilq.logs import TRACEPARENT
from distilq.settings import Settings
from distilq.testing import MemoryStore
from tests.unit.recorded import CLIENTS, SPAN_ID, TRACE_ID, Recorded, trace_of


@pytest.fixture(autouse=True)
def no_span_of_another_test() -> Iterator[None]:
    before = TRACEPARENT.set("")
    yield
    TRACEPARENT.reset(before)


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def app(recorded: Recorded) -> Flask:
    return create_app(Settings(auth="off"), MemoryStore(), tracer=recorded.traces)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def post(client: FlaskClient, **headers: str) -> str:
    with client.post("/v1/jobs", json={"inputs": "Once"}, headers=headers) as response:
        assert response.status_code == 202
        job_id: str = response.get_json()["id"]
    return job_id


def test_a_request_is_a_span_within_its_clients_trace(
    client: FlaskClient, recorded: Recorded
) -> None:
    job_id = post(client, traceparent=CLIENTS)
    span = recorded.one("POST /v1/jobs")
    assert span.kind is SpanKind.SERVER
    assert trace_of(span) == TRACE_ID
    assert span.parent is not None
    assert span.parent.span_id == SPAN_ID
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/jobs",
        "http.response.status_code": 202,
        "url.scheme": "http",
        "url.path": "/v1/jobs",
        "distilq.job.id": job_id,
    }


@pytest.mark.parametrize(
    "header",
    [
        *("", "so", CLIENTS[:-1], CLIENTS.upper(), CLIENTS + "-" + "a" * 9_000),
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "ff" + CLIENTS[2:],
    ],
)
def test_a_traceparent_that_is_none_is_ignored(
    client: FlaskClient, recorded: Recorded, header: str
) -> None:
    post(client, traceparent=header)
    span = recorded.one("POST /v1/jobs")
    assert span.parent is None
    assert trace_of(span) not in (0, TRACE_ID)


def test_only_what_is_the_services_fault_is_an_error(
    app: Flask, client: FlaskClient, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        raise ZeroDivisionError

    app.add_url_rule("/broken", view_func=broken)
    with client.get("/broken"), client.get("/nowhere"), client.open("/v1/info", method="BREW"):
        pass
    failed, unknown, odd = (recorded.one(name) for name in ("GET /broken", "GET", "HTTP"))
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "500"
    for span, status in ((unknown, 404), (odd, 405)):
        assert span.status.status_code is StatusCode.UNSET
        assert (span.attributes or {})["http.response.status_code"] == status
    assert (odd.attributes or {})["http.request.method"] == "_OTHER"


def test_probes_and_scrapes_are_no_spans(client: FlaskClient, recorded: Recorded) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        with client.get(path) as response:
            assert response.status_code != 404
    assert recorded.spans == ()


def test_the_span_of_a_stream_ends_with_the_stream(client: FlaskClient, recorded: Recorded) -> None:
    job_id = post(client)
    response = client.get(f"/v1/jobs/{job_id}/events", buffered=False)
    assert next(response.iter_encoded()).startswith(b"event: status")
    assert recorded.all_of("GET /v1/jobs/<job_id>/events") == []
    response.close()
    assert recorded.one("GET /v1/jobs/<job_id>/events").end_time


def test_a_record_names_a_span_only_where_one_is_sampled() -> None:
    plain = record.common_fields("bundled", "")
    TRACEPARENT.set(CLIENTS)
    assert record.common_fields("bundled", "") == [*plain, "traceparent", CLIENTS]
    TRACEPARENT.set(CLIENTS[:-1] + "0")
    assert record.common_fields("bundled", "") == plain


def lines_of(
    client: FlaskClient, capsys: pytest.CaptureFixture[str], **headers: str
) -> list[dict[str, str]]:
    """What is logged of a request."""
    root, ours = logging.getLogger(), logging.getLogger("distilq")
    known = root.handlers[:], root.level, ours.level
    dictConfig(logs.config(Settings(log_format="json", log_level="info")))
    try:
        post(client, **headers)
    finally:
        root.handlers[:], root.level, ours.level = known
    return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


def test_lines_of_a_request_name_its_trace(
    client: FlaskClient, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = lines_of(client, capsys, traceparent=CLIENTS)
    assert int(line["trace_id"], 16) == TRACE_ID


@pytest.mark.parametrize(
    "sent", [{"traceparent": CLIENTS * 10}, {"traceparent": CLIENTS, "tracestate": "forged line"}]
)
def test_no_line_says_what_is_wrong_with_a_clients_trace(
    client: FlaskClient, capsys: pytest.CaptureFixture[str], sent: dict[str, str]
) -> None:
    assert [line["logger"] for line in lines_of(client, capsys, **sent)] == ["distilq.api"]


def test_a_collector_that_is_not_there_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr(spans, "CLOSE_S", 0.1)
    traces = spans.Traces(spans.exporting("distilq-api"))
    with traces.sending("bundled", 1):
        assert TRACEPARENT.get().endswith("-01")
    traces.close()


def test_the_services_name_is_the_operators_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, name in ((None, "distilq-api"), ("ours", "ours")):
        if given is not None:
            monkeypatch.setenv("OTEL_SERVICE_NAME", given)
        provider = spans.exporting("distilq-api")
        assert provider.resource.attributes["service.name"] == name
        provider.shutdown()


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import api.wsgi
from distilq.settings import Settings
try:
    Settings(traces="otlp")
except ValueError as error:
    print(error)
"""


def test_without_the_extra_the_api_starts_and_traces_are_refused() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "traces" in done.stdout
    assert "pip install 'distilq[otel]'" in done.stdout
