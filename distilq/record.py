"""The job record: a Redis hash, and the Job that clients see of it.

Status is the only field that says where a job stands; whatever else can be derived from the facts
in the record is derived here at reading time, so it cannot drift.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json

from distilq import keys
from distilq.errors import Canceled, StartedTooLate
from distilq.jobs import (
    Job,
    JobRequest,
    JobStatus,
    Metrics,
    Outcome,
    Priority,
    Progress,
    QueuePlace,
    Sequence,
    Urls,
    Usage,
)
from distilq.logs import REQUEST_ID, TRACEPARENT
from distilq.parameters import Parameters
from distilq.webhooks.rules import host_of

Hash = Mapping[bytes, bytes]

#: The fields that a Job is made of, and those that say whose it is and where it stands.
READ = (
    *(b"status", b"model", b"slug", b"priority", b"owner", b"rows", b"seq", b"request"),
    *(b"created", b"started", b"completed", b"expires", b"start_within_ms", b"attempt"),
    *(b"revision", b"precision", b"tokens_done", b"sequences_done"),
    *(b"result", b"error", b"metrics", b"usage"),
)


DEFAULTS = Parameters()
RESULT = TypeAdapter(list[list[Sequence]])


def common_fields(model: str, owner: str) -> list[str | int]:
    """Field and value, in turn, that all new records of a model and an owner have."""
    fields: list[str | int] = ["v", keys.VERSION, "model", model, "slug", keys.slug(model)]
    if request_id := REQUEST_ID.get():
        fields += ["request_id", request_id]
    if (traceparent := TRACEPARENT.get()).endswith("-01"):  # of one that is not sampled nothing is
        fields += ["traceparent", traceparent]
    return [*fields, "owner", owner] if owner else fields


def own_fields(request: JobRequest, cost: int) -> list[str | int]:
    """Field and value, in turn, of what else a record that is about to be written has."""
    fields: list[str | int] = [
        "priority", request.priority.value,
        "cost", cost,
        "rows", request.rows,
        "ttl_ms", request.result_ttl_s * 1000,
        "request", stored(request),
    ]  # fmt: skip
    if request.start_within_s is not None:
        fields += ["start_within_ms", within_ms(request)]
    if request.stream:
        fields += ["stream", 1]
    if request.webhook is not None:
        fields += ["hook", " ".join([host_of(request.webhook.url), *request.webhook.statuses])]
    return fields


def stored(request: JobRequest) -> str:
    """The request as the record keeps it: without what nobody has set.

    A sixth of the bytes and of the time to read it. So a change of a default is one of VERSION.
    """
    return request.model_dump_json(exclude_unset=True)


def shown(raw: bytes) -> dict[str, Any]:
    """A stored request for those who may see its job; the address of a webhook is in no answer."""
    request: dict[str, Any] = from_json(raw)
    return {name: value for name, value in request.items() if name != "webhook"}


def within_ms(request: JobRequest) -> int | str:
    """The request's start_within_s as the scripts take it."""
    return "" if request.start_within_s is None else round(request.start_within_s * 1000)


def outcome_fields(outcome: Outcome) -> list[str | bytes]:
    """Field and value, in turn, of what a worker adds to the record at the end."""
    fields: list[str | bytes] = [
        "usage",
        outcome.usage.model_dump_json(),
        "metrics",
        outcome.metrics.model_dump_json(exclude_none=True),
    ]
    if outcome.error is not None:
        return [*fields, "error", json.dumps(outcome.error)]
    return [*fields, "result", RESULT.dump_json(outcome.result or [], exclude_defaults=True)]


def new_job(
    job_id: str, request: JobRequest, model: str, created_ms: int, place: QueuePlace
) -> Job:
    """A job that has just been queued, as `to_job` would read it."""
    return Job(
        id=job_id,
        status=JobStatus.QUEUED,
        model=model,
        created_at=_moment(created_ms),
        stream=request.stream,
        queue=place,
        progress=Progress(
            tokens_max=request.rows * request.parameters.new_tokens_at_most, sequences=request.rows
        ),
        parameters=request.parameters,
        metadata=request.metadata,
        # pydantic copies a default deeply, which takes longer than all the rest.
        metrics=Metrics(),
        usage=Usage(),
        urls=urls(job_id),
    )


def to_job(job_id: str, record: Hash, place: QueuePlace | None = None) -> Job:
    """The record as clients see it; `place` is where it stands in the queue, if it does."""
    # Validated when it was submitted; to do it again would take most of the time of a look.
    request = from_json(record[b"request"])
    parameters = _parameters(request)
    priority = Priority(record[b"priority"].decode())
    status = JobStatus(record[b"status"].decode())
    outcome = _outcome(record, status)
    return Job(
        id=job_id,
        status=status,
        model=record[b"model"].decode(),
        revision=_text(record, b"revision"),
        precision=_text(record, b"precision"),
        created_at=_required_time(record, b"created"),
        started_at=_time(record, b"started"),
        completed_at=_time(record, b"completed"),
        expires_at=_time(record, b"expires"),
        stream=request.get("stream", False),
        queue=place or QueuePlace(priority=priority),
        progress=_progress(parameters, record, outcome),
        attempt=int(record.get(b"attempt", b"0")),
        parameters=parameters,
        metadata=request.get("metadata", {}),
        result=outcome.result,
        error=outcome.error,
        metrics=outcome.metrics,
        usage=outcome.usage,
        urls=urls(job_id),
    )


def _parameters(request: dict[str, Any]) -> Parameters:
    known = request.get("parameters", {})
    return DEFAULTS.replaced(**{**known, "stop": tuple(known.get("stop", ()))})


def urls(job_id: str) -> Urls:
    path = f"/v1/jobs/{job_id}"
    return Urls(
        self=path, result=f"{path}/result", events=f"{path}/events", cancel=f"{path}/cancel"
    )


def _outcome(record: Hash, status: JobStatus) -> Outcome:
    return Outcome(
        result=RESULT.validate_json(record[b"result"]) if b"result" in record else None,
        error=_error(record, status),
        usage=Usage.model_validate_json(record[b"usage"]) if b"usage" in record else Usage(),
        metrics=_metrics(record),
    )


def _metrics(record: Hash) -> Metrics:
    """Those that the worker measured, and what came before them."""
    known = from_json(record[b"metrics"]) if b"metrics" in record else {}
    if b"started" in record:
        known["queue_ms"] = waited = float(record[b"started"]) - float(record[b"created"])
        first = known.get("time_to_first_token_ms")
        if first is not None:
            known["time_to_first_token_ms"] = round(waited + first, 3)
    return Metrics.model_validate(known)


def _error(record: Hash, status: JobStatus) -> dict[str, Any] | None:
    if b"error" in record:
        problem: dict[str, Any] = json.loads(record[b"error"])
        return problem
    if status is JobStatus.CANCELED:
        return Canceled().problem()
    return StartedTooLate().problem() if status is JobStatus.EXPIRED else None


def _progress(parameters: Parameters, record: Hash, outcome: Outcome) -> Progress:
    succeeded, rows = outcome.result is not None, int(record[b"rows"])
    done = outcome.usage.generated_tokens if succeeded else int(record.get(b"tokens_done", b"0"))
    return Progress(
        tokens_done=done,
        tokens_max=rows * parameters.new_tokens_at_most,
        sequences_done=rows if succeeded else int(record.get(b"sequences_done", b"0")),
        sequences=rows,
    )


def missed_its_start(record: Hash) -> bool:
    """Whether a job that never ran waits past its start_within_s, by this machine's clock."""
    if record[b"status"] != b"queued" or b"start_within_ms" not in record:
        return False
    return time.time() * 1000 > int(record[b"created"]) + int(record[b"start_within_ms"])


def iso(ms: float) -> str:
    """A time in ms as it stands in JSON: UTC, ISO 8601."""
    return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat().replace("+00:00", "Z")


def _text(record: Hash, field: bytes) -> str | None:
    return record[field].decode() if field in record else None


def _time(record: Hash, field: bytes) -> datetime | None:
    return _required_time(record, field) if field in record else None


def _required_time(record: Hash, field: bytes) -> datetime:
    return _moment(int(record[field]))


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, timezone.utc)
