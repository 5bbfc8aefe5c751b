"""What the routes of files and batches take and answer, as OpenAI's reference has it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from distilq.batches import BatchStatus, Counts, Endpoint, LineError
from distilq.jobs import MetadataText
from distilq.parameters import Wire
from distilq.settings import Settings

WINDOW = re.compile(r"([1-9][0-9]{0,5})([smhd])", re.ASCII)
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

#: Seconds; the results of a batch's jobs are kept for as long in Redis.
MAX_WINDOW_S = 604_800

FILE_TTL_S: int = Settings.model_fields["file_ttl_s"].default


def seconds(window: str) -> int:
    """Raises ValueError, which names the bound: it is none, or a longer one than 7d."""
    match = WINDOW.fullmatch(window)
    if match is None or (found := int(match[1]) * SECONDS[match[2]]) > MAX_WINDOW_S:
        raise ValueError("must be a number with s, m, h or d behind it, at most 7d")
    return found


def _window(window: str) -> str:
    seconds(window)
    return window


Window = Annotated[
    str,
    AfterValidator(_window),
    Field(json_schema_extra={"pattern": f"^(?:{WINDOW.pattern})$"}),
]


class UploadForm(BaseModel):
    """The form of POST /v1/files."""

    model_config = ConfigDict(extra="forbid")

    file: str = Field(json_schema_extra={"format": "binary"})
    purpose: Literal["batch"]
    anchor: Literal["created_at"] = Field("created_at", alias="expires_after[anchor]")
    seconds: int = Field(
        FILE_TTL_S,
        alias="expires_after[seconds]",
        ge=1,
        le=FILE_TTL_S,
        description="for how long it is kept; at most DISTILQ_FILE_TTL_S",
    )


class FileObject(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class PageQuery(BaseModel):
    """The query string of GET /v1/batches."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(20, ge=1, le=100)
    after: str | None = Field(None, description="`last_id` of the page before", max_length=128)


class FilesQuery(PageQuery):
    """The query string of GET /v1/files; the newest come first."""

    limit: int = Field(100, ge=1, le=1_000)
    order: Literal["desc"] = Field("desc", description="must be desc")
    purpose: Literal["batch", "batch_output"] | None = Field(
        None, description="must be batch or batch_output"
    )


class ResultsQuery(BaseModel):
    """The query string of GET /v1/batches/{id}/results."""

    model_config = ConfigDict(extra="forbid")

    order: Literal["input", "completion"] = Field(
        "input", description="must be input or completion"
    )
    follow: bool = Field(False, description="whether to go on to the end of the batch")


class CreateBatchRequest(Wire):
    """The body of POST /v1/batches."""

    input_file_id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    endpoint: Endpoint = Field(description="must be /v1/completions or /v1/jobs")
    completion_window: Window = Field(description="how long it may take: `24h`, at most `7d`")
    metadata: dict[MetadataText, MetadataText] | None = Field(
        None, max_length=16, description="yours; given back with the batch"
    )


class LineErrors(BaseModel):
    object: Literal["list"] = "list"
    data: list[LineError]


class BatchObject(BaseModel):
    """A batch; times are in seconds since 1970."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: LineErrors | None = Field(description="why no line could be run")
    input_file_id: str
    completion_window: str
    status: BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: Counts
    metadata: dict[str, str] | None


class BatchList(BaseModel):
    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
