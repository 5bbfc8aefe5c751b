"""The shapes that only HTTP knows; those of a job are in `distilq.jobs`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from distilq.access import Scope
from distilq.cluster import MissingJob, WorkerState
from distilq.jobs import Job, JobStatus, Priority


class JobsQuery(BaseModel):
    """The query string of GET /v1/jobs."""

    model_config = ConfigDict(extra="forbid")

    status: JobStatus | None = Field(None, description="only jobs with this status")
    limit: int = Field(50, ge=1, le=200, description="jobs on the page")
    cursor: str | None = Field(None, description="`next` of the page before")


class DeadQuery(BaseModel):
    """The query string of GET /v1/dead."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=200, description="entries on the page")
    cursor: str | None = Field(None, description="`next` of the page before")
    include: Literal["request"] | None = Field(
        None, description="`request`: messages and requests too, prompts among them"
    )


class PriorityRequest(BaseModel):
    """The body of POST /v1/queue:pause, :resume and :purge."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority | None = Field(None, description="null, or left out: all three")


class Asked(RootModel[dict[str, Any]]):
    """A request as it was submitted: what was set in it, and the seed that was drawn for it."""


class GeneratedText(BaseModel):
    generated_text: str


class Texts(RootModel[list[list[GeneratedText]]]):
    """Per input the texts generated for it."""

    @classmethod
    def of(cls, job: Job) -> Texts:
        return cls(
            [
                [GeneratedText(generated_text=sequence.generated_text) for sequence in sequences]
                for sequences in job.result or []
            ]
        )


class JobRef(BaseModel):
    id: str
    status: JobStatus


class BatchAccepted(BaseModel):
    """The jobs of a batch, in the order of the request."""

    jobs: list[JobRef]


class Statuses(BaseModel):
    """One entry per id, in the order of the request."""

    jobs: list[Job | MissingJob]


class Paused(BaseModel):
    """Priorities whose jobs no worker takes for now."""

    paused: list[Priority]


class Purged(BaseModel):
    removed: int = Field(description="queued jobs that were canceled")


class Workers(BaseModel):
    workers: list[WorkerState]


class Me(BaseModel):
    """What the holder of the request's key may do; where keys are off, everybody may everything."""

    id: str | None = Field(description="the key's id; null where keys are off")
    name: str | None = Field(description="what the key was called when it was made")
    owner: str = Field(description="whose the jobs are that it submits; empty: nobody's")
    scopes: tuple[Scope, ...]
    admin: bool
    keys_required: bool


class Health(BaseModel):
    status: Literal["ok"]


class FieldError(BaseModel):
    """What is wrong with one field; it has a pointer, a parameter or a header."""

    pointer: str | None = Field(None, description="JSON pointer into the body")
    parameter: str | None = Field(None, description="name of a query parameter")
    header: str | None = Field(None, description="name of a header")
    code: str
    detail: str


class Problem(BaseModel):
    """RFC 9457 problem details; further members depend on the type."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    retryable: bool = Field(description="whether the same request may succeed later")
    instance: str = Field(description="urn:request: and the X-Request-Id")
    detail: str | None = None
    errors: list[FieldError] | None = None
    job_id: str | None = None
    job_status: JobStatus | None = None
    error: dict[str, Any] | None = Field(None, description="the job's own error")


class OpenApi(BaseModel):
    """A document after https://spec.openapis.org/oas/v3.1.1; `openapi` is its version."""

    model_config = ConfigDict(extra="allow")

    openapi: Literal["3.1.0"]
    info: dict[str, Any]
    paths: dict[str, Any]
