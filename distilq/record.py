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

from distilq import keys
from distilq.errors import Canceled, StartedTooLate
from distilq.jobs import (
    Job,
    JobRequest,
    JobStatus,
    Metrics,
    Outcome,
    Progress,
    QueuePlace,
    Sequence,
    Urls,
    Usage,
)

Hash = Mapping[bytes, bytes]

_RESULT = TypeAdapter(list[list[Sequence]])


def new_fields(request: JobRequest, model: str, owner: str = "") -> list[str | int]:
    """Field and value, in turn, of a record that is about to be written."""
    fields: list[str | int] = [
        "v", keys.VERSION,
        "model", model,
        "slug", keys.slug(model),
        "priority", request.priority.value,
        "cost", request.cost,
        "rows", request.rows,
        "ttl_ms", request.result_ttl_s * 1000,
        "request", stored(request),
    ]  # fmt: skip
    if request.start_within_s is not None:
        fields += ["start_within_ms", within_ms(request)]
    if owner:
        fields += ["owner", owner]
    return fields


def stored(request: JobRequest) -> str:
    """The request as the record keeps it: without what nobody has set.

    A sixth of the bytes and of the time to read it. So a change of a default is one of VERSION.
    """
    return request.model_dump_json(exclude_unset=True)


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
    return [*fields, "result", _RESULT.dump_json(outcome.result or [], exclude_defaults=True)]


def to_job(job_id: str, record: Hash, place: QueuePlace | None = None) -> Job:
    """The record as clients see it; `place` is where it stands in the queue, if it does."""
    request = JobRequest.model_validate_json(record[b"request"])
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
        queue=place or QueuePlace(priority=request.priority),
        progress=_progress(request, record, outcome),
        attempt=int(record.get(b"attempt", b"0")),
        parameters=request.parameters,
        metadata=request.metadata,
        result=outcome.result,
        error=outcome.error,
        metrics=outcome.metrics,
        usage=outcome.usage,
        urls=Urls(
            self=f"/v1/jobs/{job_id}",
            result=f"/v1/jobs/{job_id}/result",
            cancel=f"/v1/jobs/{job_id}/cancel",
        ),
    )


def _outcome(record: Hash, status: JobStatus) -> Outcome:
    metrics = Metrics.model_validate_json(record.get(b"metrics", b"{}"))
    if b"started" in record:
        waited = float(record[b"started"]) - float(record[b"created"])
        first = metrics.time_to_first_token_ms
        metrics = metrics.model_copy(
            update={
                "queue_ms": waited,
                "time_to_first_token_ms": None if first is None else round(waited + first, 3),
            }
        )
    return Outcome(
        result=json.loads(record[b"result"]) if b"result" in record else None,
        error=_error(record, status),
        usage=Usage.model_validate_json(record.get(b"usage", b"{}")),
        metrics=metrics,
    )


def _error(record: Hash, status: JobStatus) -> dict[str, Any] | None:
    if b"error" in record:
        problem: dict[str, Any] = json.loads(record[b"error"])
        return problem
    if status is JobStatus.CANCELED:
        return Canceled().problem()
    return StartedTooLate().problem() if status is JobStatus.EXPIRED else None


def _progress(request: JobRequest, record: Hash, outcome: Outcome) -> Progress:
    succeeded = outcome.result is not None
    done = outcome.usage.generated_tokens if succeeded else int(record.get(b"tokens_done", b"0"))
    return Progress(
        tokens_done=done,
        tokens_max=request.rows * request.parameters.new_tokens_at_most,
        sequences_done=request.rows if succeeded else int(record.get(b"sequences_done", b"0")),
        sequences=request.rows,
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
    return datetime.fromtimestamp(int(record[field]) / 1000, timezone.utc)
