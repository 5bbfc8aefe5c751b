"""Spans of requests, of jobs that are sent, and of their runs; loaded by tracing.py alone.

Names and attributes are those of OpenTelemetry's semantic conventions 1.40 for HTTP servers,
messaging and generative AI (opentelemetry.io/docs/specs/semconv); what those do not name begins
with `distilq.`. Prompts and texts are in none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from distilq import keys
from distilq.claims import Claim, status_of
from distilq.jobs import JobStatus, Outcome
from distilq.logs import REQUEST_ID, TRACEPARENT

#: Seconds that the last spans get at a stop; a collector that does not answer has no more of them.
CLOSE_S = 2.0

#: Those of RFC 9110 and RFC 5789; to the conventions all others are `_OTHER`.
METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
)

Attributes = dict[str, AttributeValue]

_w3c = TraceContextTextMapPropagator()


def exporting(service: str) -> TracerProvider:
    """What sends spans by OTLP over HTTP, as the OTEL_* variables say, from a thread of its own.

    To be called in the process that makes the spans: threads do not survive a fork.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Traces:
    """Makes a process' spans. Whoever is one's parent comes and goes as a `traceparent`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("distilq")

    def close(self) -> None:
        """Send what is left, for CLOSE_S at most."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True, name="traces")
        closing.start()
        closing.join(CLOSE_S)

    def serving(
        self, method: str, scheme: str, path: str, route: str, headers: Mapping[str, str]
    ) -> Span:
        """The span of a request that has just come, within its client's trace if it names one."""
        method = method if method in METHODS else "_OTHER"
        attributes: Attributes = {
            "http.request.method": method,
            "url.scheme": scheme,
            "url.path": path,
        }
        if route:
            attributes["http.route"] = route
        name = f"{'HTTP' if method == '_OTHER' else method} {route}".rstrip()
        parent = _w3c.extract(headers, Context())
        return self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)

    @contextmanager
    def sending(self, model: str, jobs: int) -> Iterator[None]:
        """What is submitted within is a part of this span, and this of the request, if any."""
        name, attributes = _messaging("send", model)
        if jobs > 1:
            attributes["messaging.batch.message_count"] = jobs
        if request_id := REQUEST_ID.get():
            attributes["distilq.request.id"] = request_id
        parent = _context(TRACEPARENT.get())
        span = self._tracer.start_span(name, parent, SpanKind.PRODUCER, attributes)
        before = TRACEPARENT.set(traceparent(span))
        try:
            yield
        except Exception as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            TRACEPARENT.reset(before)
            span.end()

    def ran(self, claim: Claim, outcome: Outcome, model: str, ago_s: float) -> None:
        """Spans of a job that has ended: it was queued, and taken over `ago_s` seconds ago."""
        parent, now = _context(claim.traceparent), time.time_ns()
        began = now - _ns(1000 * ago_s)
        self._past("queue", parent, began - _ns(claim.waited_ms), began, {})
        name, attributes = _messaging("process", model)
        attributes |= _of_job(claim, outcome, model)
        span = self._tracer.start_span(
            name, parent, SpanKind.CONSUMER, attributes, start_time=began
        )
        if status_of(outcome) is JobStatus.FAILED and outcome.error is not None:
            _fail(span, outcome.error["type"], outcome.error["title"])
        self._run(outcome, set_span_in_context(span, Context()), began)
        span.end(now)

    def _run(self, outcome: Outcome, parent: Context, began: int) -> None:
        """From a place in the batch to the first token, and from there to the last step."""
        times = outcome.metrics
        first_ms = times.time_to_first_token_ms
        if outcome.admitted_ms is None or times.run_ms is None:
            return
        ended = began + _ns(times.run_ms)
        first = ended if first_ms is None else began + _ns(first_ms)
        prompt: Attributes = {"gen_ai.usage.input_tokens": outcome.usage.prompt_tokens}
        self._past("prefill", parent, began + _ns(outcome.admitted_ms), first, prompt)
        if first_ms is not None:
            steps: Attributes = {"distilq.steps": outcome.steps}
            if times.batch_size is not None:
                steps["distilq.rows_per_step"] = times.batch_size
            self._past("decode", parent, first, ended, steps)

    def _past(
        self, name: str, parent: Context, began: int, ended: int, attributes: Attributes
    ) -> None:
        span = self._tracer.start_span(name, parent, attributes=attributes, start_time=began)
        span.end(ended)


def traceparent(span: Span) -> str:
    """A span as W3C Trace Context writes it."""
    context = span.get_span_context()
    sampled = "01" if context.trace_flags.sampled else "00"
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{sampled}"


def answered(span: Span, status: int, job_id: str) -> None:
    """Note how a request was answered; only what is the service's fault is an error."""
    span.set_attribute("http.response.status_code", status)
    if job_id:
        span.set_attribute("distilq.job.id", job_id)
    if status >= 500:
        _fail(span, str(status))


def _context(parent: str) -> Context:
    return _w3c.extract({"traceparent": parent}, Context())


def _fail(span: Span, kind: str, words: str | None = None) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, words))


def _messaging(operation: str, model: str) -> tuple[str, Attributes]:
    """A span's name and attributes; a model's queues are one destination."""
    destination = f"distilq.{keys.slug(model)}"
    return f"{operation} {destination}", {
        "messaging.system": "redis",
        "messaging.destination.name": destination,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _of_job(claim: Claim, outcome: Outcome, model: str) -> Attributes:
    attributes: Attributes = {
        "messaging.message.id": claim.id,
        "distilq.request.id": claim.request_id,
        "distilq.job.priority": claim.priority,
        "distilq.job.rows": claim.rows,
        "distilq.job.claim": claim.fence,
        "distilq.job.status": status_of(outcome).value,
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "distilq",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": outcome.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": outcome.usage.generated_tokens,
    }
    if outcome.result is not None:
        texts = [text for texts in outcome.result for text in texts]
        attributes["gen_ai.response.finish_reasons"] = [text.finish_reason for text in texts]
    return attributes


def _ns(ms: float) -> int:
    return round(1_000_000 * ms)
