"""The wire format: what a job asks for, what it answers, and the states between.

Requests are validated here and nowhere else; the OpenAPI document is made from these models.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from typing_extensions import Self

from distilq.parameters import Integer, Parameters, Wire, conflict

TASK_NAME = "distilq.generate"
ID_PATTERN = re.compile(r"[0-9a-f]{32}")

MAX_INPUTS = 128
MAX_ROWS = 128
MAX_INPUT_CHARS = 65_536
MAX_BATCH_JOBS = 10_000
MAX_STATUS_IDS = 1_000
MAX_URL_CHARS = 2_048


def new_id() -> str:
    """A job id: 128 random bits as 32 lower-case hex digits, also the Celery task id."""
    return secrets.token_hex(16)


class JobStatus(str, Enum):
    """Where a job stands. The last four are final."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED})


class EndEvent(str, Enum):
    """What a webhook may be told: that a job has come to one of its final states."""

    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELED = "job.canceled"
    EXPIRED = "job.expired"


class Priority(str, Enum):
    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BULK = "bulk"


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


Prompt = Annotated[
    str,
    Field(max_length=MAX_INPUT_CHARS, json_schema_extra={"pattern": r"^[^\u0000]*$"}),
    AfterValidator(_no_nul),
]
TokenId = Annotated[Integer, Field(ge=0, le=2**31 - 1)]
TokenIds = Annotated[tuple[TokenId, ...], Field(min_length=1, max_length=MAX_INPUT_CHARS)]
MetadataText = Annotated[str, StringConstraints(max_length=512)]


class InputStrings(Wire):
    """The model card's way to write inputs."""

    input_string: tuple[Prompt, ...] = Field(min_length=1, max_length=MAX_INPUTS)


def _inputs_form(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    if isinstance(value, (dict, InputStrings)):
        return "card"
    first = value[0] if isinstance(value, (list, tuple)) and value else ""
    if isinstance(first, (list, tuple)):
        return "token_lists"
    return "texts" if isinstance(first, str) else "tokens"


Inputs = Annotated[
    Annotated[Prompt, Tag("text")]
    | Annotated[InputStrings, Tag("card")]
    | Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=MAX_INPUTS), Tag("texts")]
    | Annotated[TokenIds, Tag("tokens")]
    | Annotated[
        tuple[TokenIds, ...], Field(min_length=1, max_length=MAX_INPUTS), Tag("token_lists")
    ],
    Discriminator(_inputs_form),
]


class ScoreRequest(Wire):
    """The model card's request: what to continue, and how."""

    inputs: Inputs = Field(description='a text, texts, token ids, or {"input_string": texts}')
    parameters: Parameters = Field(default_factory=Parameters)

    @model_validator(mode="after")
    def _rows_in_range(self) -> Self:
        rows = len(self.prompts) * self.parameters.sequences_drawn
        if rows > MAX_ROWS:
            raise conflict("inputs", f"inputs times sequences is {rows}, at most {MAX_ROWS}")
        return self

    @property
    def prompts(self) -> tuple[str, ...] | tuple[tuple[int, ...], ...]:
        """The inputs in their one internal form: texts, or lists of token ids."""
        if isinstance(self.inputs, str):
            return (self.inputs,)
        if isinstance(self.inputs, InputStrings):
            return self.inputs.input_string
        if isinstance(self.inputs[0], int):
            return (self.inputs,)
        return self.inputs

    @property
    def rows(self) -> int:
        return len(self.prompts) * self.parameters.sequences_drawn

    @property
    def cost(self) -> int:
        """Tokens charged at admission, before any tokenizer has seen the text.

        A third of the UTF-8 bytes, rounded up, per prompt, plus the new tokens of every row.
        """
        prompts = self.prompts
        prompt = sum(-(-len(p.encode()) // 3) if isinstance(p, str) else len(p) for p in prompts)
        rows = len(prompts) * self.parameters.sequences_drawn
        return prompt + rows * self.parameters.new_tokens_at_most


class Webhook(Wire):
    """Whom to tell of a job's end. Which hosts may be named is the service's to say."""

    url: str = Field(max_length=MAX_URL_CHARS, description="an https address")
    events: tuple[EndEvent, ...] | None = Field(
        None, min_length=1, max_length=len(EndEvent), description="null, or left out: every end"
    )

    @property
    def statuses(self) -> list[str]:
        """The final states that it asks for."""
        return [event.value.removeprefix("job.") for event in self.events or EndEvent]


class JobRequest(ScoreRequest):
    """The body of POST /v1/jobs."""

    priority: Priority = Priority.NORMAL
    stream: bool = Field(False, description="tell of every token at /v1/jobs/{id}/events")
    timeout_s: float = Field(60.0, gt=0, le=3_600, description="seconds the job may run")
    start_within_s: float | None = Field(
        None, gt=0, le=604_800, description="seconds the job may be queued before it expires"
    )
    result_ttl_s: Integer = Field(
        86_400, ge=1, le=604_800, description="seconds the result is kept after completion"
    )
    webhook: Webhook | None = Field(None, description="an address that is told of the job's end")
    metadata: dict[MetadataText, MetadataText] = Field(
        default_factory=dict, max_length=16, description="yours; given back with the job"
    )

    @model_validator(mode="after")
    def _can_stream(self) -> Self:
        asked = self.parameters
        if self.stream and asked.sequences_drawn > asked.num_return_sequences:
            raise conflict("stream", "which of best_of texts are returned is known only at the end")
        return self

    def resolved(self) -> JobRequest:
        """The request with its parameters resolved (see `Parameters.resolved`)."""
        return self.replaced(parameters=self.parameters.resolved())


class BatchRequest(Wire):
    """The body of POST /v1/jobs:batch."""

    # fail_fast: items that are wrong do not count towards max_length, and five million of them
    # took 30 s and 3 GB to describe.
    jobs: tuple[JobRequest, ...] = Field(min_length=1, max_length=MAX_BATCH_JOBS, fail_fast=True)


class StatusRequest(Wire):
    """The body of POST /v1/jobs:status."""

    ids: tuple[Annotated[str, StringConstraints(max_length=128)], ...] = Field(
        max_length=MAX_STATUS_IDS
    )


class TokenLogprob(BaseModel):
    """One token and its log-probability: natural logarithm, before the logits are processed."""

    id: int
    text: str
    logprob: float | None = Field(description="null for the first token of a prompt")
    top: list[TokenLogprob] = []


class Sequence(BaseModel):
    """One generated text."""

    generated_text: str
    finish_reason: Literal["length", "eos_token", "stop_sequence"]
    generated_tokens: int
    seed: int
    stop: str | None = Field(None, description="the stop string that ended it")
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob] | None = None


class Usage(BaseModel):
    prompt_tokens: int = 0
    generated_tokens: int = 0


class Metrics(BaseModel):
    """Times in milliseconds; null until they are known."""

    queue_ms: float | None = None
    run_ms: float | None = None
    time_to_first_token_ms: float | None = Field(None, description="counted from submission")
    tokens_per_s: float | None = None
    batch_size: float | None = Field(None, description="mean rows in the batch while it ran")


class Outcome(BaseModel):
    """What a worker knows of a job when it lets go of it."""

    result: list[list[Sequence]] | None = None
    error: dict[str, Any] | None = None
    usage: Usage = Usage()
    metrics: Metrics = Metrics()
    #: For its trace, not for its record: when its first row came into the batch, in milliseconds as
    #: those of `metrics`, and in how many steps it was decoded.
    admitted_ms: float | None = None
    steps: int = 0


class QueuePlace(BaseModel):
    priority: Priority
    position: int | None = Field(
        None, description="about how many jobs are served before, plus one"
    )
    eta_s: float | None = None


class Progress(BaseModel):
    tokens_done: int = 0
    tokens_max: int
    sequences_done: int = 0
    sequences: int


class Urls(BaseModel):
    self: str
    result: str
    events: str
    cancel: str


class Job(BaseModel):
    """A job as clients see it."""

    id: str
    status: JobStatus
    model: str
    revision: str | None = None
    precision: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    stream: bool = False
    queue: QueuePlace
    progress: Progress
    attempt: int = 0
    parameters: Parameters
    metadata: dict[str, str] = {}
    result: list[list[Sequence]] | None = None
    error: dict[str, Any] | None = None
    metrics: Metrics = Metrics()
    usage: Usage = Usage()
    urls: Urls
