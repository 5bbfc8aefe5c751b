"""A job's life in the order of time, from what its record keeps of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from pydantic import BaseModel, Field

from distilq.jobs import Job

Name = Literal[
    "accepted", "claimed", "lost", "first_token", "succeeded", "failed", "canceled", "expired"
]


class TimelineEvent(BaseModel):
    at: datetime
    event: Name
    attempt: int | None = Field(None, description="which execution of the job it belongs to")
    worker: str | None = None
    detail: str | None = None


class Timeline(BaseModel):
    """What is known: attempts that an orderly stop handed back are not kept."""

    job_id: str
    events: list[TimelineEvent]


def of(job: Job, worker: str | None, deaths: Sequence[dict[str, Any]]) -> Timeline:
    """The timeline of a job, the worker of its last attempt, and the attempts that were lost."""
    events = [TimelineEvent(at=job.created_at, event="accepted", detail=job.queue.priority.value)]
    # The deaths may have been read a moment after the job was: of those since nothing is told.
    for number, death in enumerate(deaths[: job.attempt], start=1):
        events += _lost(number, death)
    if job.started_at is not None and len(deaths) < job.attempt:
        events += _last(job, job.started_at, worker)
    if job.completed_at is not None:
        events.append(_end(job, job.completed_at))
    return Timeline(job_id=job.id, events=events)


def _lost(attempt: int, death: dict[str, Any]) -> Iterator[TimelineEvent]:
    facts: dict[str, Any] = {"attempt": attempt, "worker": death["worker"]}
    yield TimelineEvent(at=_moment(death["started_ms"]), event="claimed", **facts)
    detail = "the worker fell silent, and its lease lapsed"
    yield TimelineEvent(at=_moment(death["lapsed_ms"]), event="lost", detail=detail, **facts)


def _last(job: Job, started_at: datetime, worker: str | None) -> Iterator[TimelineEvent]:
    facts: dict[str, Any] = {"attempt": job.attempt, "worker": worker}
    yield TimelineEvent(at=started_at, event="claimed", **facts)
    first_ms = job.metrics.time_to_first_token_ms
    if first_ms is not None:
        at = job.created_at + timedelta(milliseconds=first_ms)
        # Of the worker's clock, and finer than the times of the record.
        yield TimelineEvent(at=min(at, job.completed_at or at), event="first_token", **facts)


def _end(job: Job, completed_at: datetime) -> TimelineEvent:
    error = job.error or {}
    detail = error.get("detail") or error.get("title")
    name: Any = job.status.value
    attempt = job.attempt or None
    return TimelineEvent(at=completed_at, event=name, attempt=attempt, detail=detail)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, timezone.utc)
