"""What the queue and the workers look like from outside: answers of /v1/queue and /v1/workers."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from distilq.jobs import Job, Priority


class QueueLevel(BaseModel):
    """One priority's queue."""

    jobs: int = 0
    tokens: int = Field(0, description="tokens charged at admission, see JobRequest.cost")
    oldest_age_s: float | None = Field(None, description="null when nothing waits")


class QueueState(BaseModel):
    model: str
    queued: int
    queued_tokens: int
    running: int
    priorities: dict[str, QueueLevel]
    drain_jobs_per_s: float = Field(description="finished jobs per second over the last minute")
    paused: list[Priority] = Field(description="whose jobs no worker takes for now")
    eta_s: float | None = Field(description="seconds to drain the queue at that rate")
    workers: int


class WorkerState(BaseModel):
    """A worker's last heartbeat."""

    id: str
    host: str
    pid: int
    model: str
    source: str = Field(description="where the weights came from")
    revision: str | None
    precision: str
    device: str
    started_at: datetime
    seen_at: datetime
    rows: int = Field(description="sequences in the batch now")
    max_rows: int
    waiting: int = Field(description="claimed jobs that wait for room in the batch")
    kv_tokens: int
    kv_capacity: int
    steps: int = Field(description="decode steps since the start")
    row_steps: int = Field(description="rows decoded, summed over the steps")
    rows_per_step: float = Field(description="row_steps / steps: how well the batch is filled")
    generated_tokens: int
    prefill_tokens: int
    paused: int = Field(
        0, description="bulk rows that gave way to interactive ones, since the start"
    )


class JobPage(BaseModel):
    jobs: list[Job]
    next: str | None = Field(description="cursor of the next page; null on the last one")
