"""What the service looks like from outside: answers of /v1/info, /v1/queue and /v1/workers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

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
    workers: int = Field(description="that take jobs: those that drain are left out")


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
    recent_rows: list[int] = Field(
        [], description="rows decoded in each of the last 120 passes of the model, oldest first"
    )
    recent_prefill: list[int] = Field(
        [], description="prompt tokens that the same passes prefilled"
    )
    draining: bool = Field(False, description="it ends what it holds and takes no more jobs")


class JobPage(BaseModel):
    jobs: list[Job]
    next: str | None = Field(description="cursor of the next page; null on the last one")


class MissingJob(BaseModel):
    """An id that has no job, or no longer has one."""

    id: str
    status: Literal["unknown", "gone"]


class Limits(BaseModel):
    """What a request may ask for at most."""

    max_body_bytes: int
    max_batch_body_bytes: int
    max_wait_s: int
    max_inputs: int
    max_input_chars: int
    max_rows: int = Field(description="inputs times sequences per input")
    max_new_tokens: int
    max_batch_jobs: int
    max_status_ids: int
    max_queued_jobs: int
    max_queued_tokens: int
    idempotency_key_s: int = Field(description="seconds for which an Idempotency-Key is known")


class ServedModel(BaseModel):
    """A model that at least one live worker holds."""

    model: str
    source: str
    revision: str | None
    precision: str
    workers: int


class ModelCard(BaseModel):
    """What the makers of DistilGPT2 say of it, in short."""

    model: str
    license: str
    url: str
    warnings: list[str]


class Info(BaseModel):
    version: str
    model: str = Field(description="the model this service was set up for")
    serving: list[ServedModel] = Field(description="empty while no worker is alive")
    limits: Limits
    model_card: ModelCard
