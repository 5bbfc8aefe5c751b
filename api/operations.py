"""What every route takes and answers: the table from which the OpenAPI document is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from distilq import errors as e
from distilq.cluster import Info, JobPage, QueueState, WorkerState
from distilq.deaths import DeadPage
from distilq.deliveries import Deliveries
from distilq.jobs import BatchRequest, Job, JobRequest, StatusRequest
from distilq.stats import Stats
from distilq.timeline import Timeline

from . import schemas
from .openai import errors as openai_errors
from .openai import file_schemas as files
from .openai import schemas as openai
from .problems import PROBLEM_JSON
from .score_forms import ScoreAnswer, ScoreBody
from .tgi import errors as tgi_errors
from .tgi import schemas as tgi


@dataclass(frozen=True)
class Reply:
    """A successful response; `headers` are names of `openapi.RESPONSE_HEADERS`."""

    description: str
    model: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    media_type: str = "application/json"
    #: Another that the client may ask for.
    other_type: str | None = None
    #: Whether it comes as server-sent events instead, where the request says so.
    streamed: bool = False


@dataclass(frozen=True)
class ErrorShape:
    """What errors look like, and under which status they come."""

    model: type[BaseModel]
    media_type: str
    status: Callable[[type[e.DistilqError]], int]
    headers: tuple[str, ...] = ()


PROBLEMS = ErrorShape(schemas.Problem, PROBLEM_JSON, lambda error: error.status)
OPENAI = ErrorShape(
    openai.ErrorBody, "application/json", openai_errors.status_of, ("X-Should-Retry",)
)
TGI = ErrorShape(tgi.ErrorResponse, "application/json", tgi_errors.status_of)


@dataclass(frozen=True)
class Operation:
    """One method of one path; `headers` are names of `openapi.REQUEST_HEADERS`."""

    name: str
    summary: str
    replies: dict[int, Reply]
    problems: tuple[type[e.DistilqError], ...] = ()
    headers: tuple[str, ...] = ()
    body: type[BaseModel] | None = None
    body_type: str = "application/json"
    query: type[BaseModel] | None = None
    #: Who may: anybody (open), who has a key, who has one with the admin scope.
    access: Literal["open", "key", "admin"] = "key"
    shape: ErrorShape = PROBLEMS

    @property
    def every_problem(self) -> tuple[type[e.DistilqError], ...]:
        refusals = {"open": (), "key": (e.Unauthorized,), "admin": (e.Unauthorized, e.Forbidden)}
        return (*refusals[self.access], *self.problems, e.DistilqError)


STORE = (e.StoreUnavailable,)
BODY = (
    *(e.MalformedJson, e.MalformedBody, e.BodyTooSlow, e.PayloadTooLarge),
    *(e.UnsupportedMediaType, e.InvalidParameters),
)
KEYED = (e.InvalidIdempotencyKey, e.IdempotencyInFlight, e.IdempotencyKeyReused, e.JobGone)
SUBMIT = (*BODY, *KEYED, e.QueueFull, e.OwnerFull, e.RateLimited, e.StoreFull, *STORE)
FILES = (e.InvalidParameters, e.StorageUnavailable, e.StoreFull, *STORE)
JOB = (e.JobNotFound, e.JobGone, *STORE)
JOB_ERRORS = (
    *(e.PromptTooLong, e.EmptyPrompt, e.JobTooLarge, e.InvalidToken, e.Canceled),
    *(e.Poisoned, e.GenerationFailed, e.TimedOut, e.StartedTooLate, e.NotFinishedInTime),
)
WAITED = ("Preference-Applied", "Vary")
RATE = ("RateLimit", "RateLimit-Policy")

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("post", "/v1/jobs"): Operation(
        "submitJob",
        "Submit a job",
        {
            200: Reply("Finished within `Prefer: wait`", Job, ("Location", *WAITED, *RATE)),
            202: Reply("Accepted", Job, ("Location", "Retry-After", *WAITED, *RATE)),
        },
        SUBMIT,
        headers=("Prefer", "Idempotency-Key"),
        body=JobRequest,
    ),
    ("get", "/v1/jobs"): Operation(
        "listJobs",
        "List jobs, newest first",
        {200: Reply("A page of jobs", JobPage)},
        (e.InvalidParameters, *STORE),
        query=schemas.JobsQuery,
    ),
    ("post", "/v1/jobs:batch"): Operation(
        "submitBatch",
        "Submit many jobs, all or none",
        {202: Reply("Accepted", schemas.BatchAccepted, RATE)},
        SUBMIT,
        headers=("Idempotency-Key",),
        body=BatchRequest,
    ),
    ("post", "/v1/jobs:status"): Operation(
        "getJobs",
        "Look at many jobs at once",
        {200: Reply("One entry per id, in the order of the request", schemas.Statuses)},
        (*BODY, *STORE),
        body=StatusRequest,
    ),
    ("get", "/v1/jobs/{job_id}"): Operation(
        "getJob",
        "Look at a job, or wait for it",
        {
            200: Reply("The job", Job, ("ETag", "Retry-After", *WAITED)),
            304: Reply("The job is as you know it", headers=("ETag", "Retry-After", *WAITED)),
        },
        JOB,
        headers=("Prefer", "If-None-Match"),
    ),
    ("delete", "/v1/jobs/{job_id}"): Operation(
        "deleteJob",
        "Forget a finished job's text",
        {204: Reply("Forgotten")},
        (*JOB, e.JobNotFinished),
    ),
    ("get", "/v1/jobs/{job_id}/result"): Operation(
        "getResult",
        "Fetch the bare texts of a succeeded job",
        {200: Reply("Per input the texts generated for it", schemas.Texts, ("X-Job-Id",))},
        (*JOB, e.JobNotFinished, e.JobNotSucceeded),
    ),
    ("get", "/v1/jobs/{job_id}/timeline"): Operation(
        "getTimeline",
        "What has happened to a job, and which workers had it",
        {200: Reply("Events in the order of time", Timeline)},
        JOB,
    ),
    ("get", "/v1/jobs/{job_id}/request"): Operation(
        "getRequest",
        "What was submitted: prompts, parameters, the seed; not the webhook",
        {200: Reply("A body of POST /v1/jobs", schemas.Asked)},
        JOB,
    ),
    ("get", "/v1/jobs/{job_id}/events"): Operation(
        "followJob",
        "Follow a job as server-sent events: status, token, then done or error",
        {
            200: Reply("Events", headers=("X-Job-Id",), media_type="text/event-stream"),
            204: Reply("You have seen the last event"),
        },
        (*JOB, e.InvalidParameters, e.TooManyWaiting),
        headers=("Last-Event-ID",),
    ),
    ("post", "/v1/jobs/{job_id}/cancel"): Operation(
        "cancelJob",
        "Cancel a job; canceling it again is no error",
        {
            200: Reply("It is canceled", Job),
            202: Reply("It was running, and will stop within a few steps", Job, ("Retry-After",)),
        },
        (*JOB, e.JobAlreadyFinished),
    ),
    ("get", "/v1/jobs/{job_id}/deliveries"): Operation(
        "getDeliveries",
        "Look at how telling a job's webhook goes",
        {200: Reply("Attempts, and what comes next", Deliveries)},
        JOB,
    ),
    ("post", "/v1/jobs/{job_id}/redeliver"): Operation(
        "redeliver",
        "Tell a finished job's webhook again",
        {202: Reply("It is told within seconds", Deliveries, RATE)},
        (*JOB, e.JobNotFinished, e.NoWebhook, e.RateLimited, e.StoreFull),
    ),
    ("post", "/score"): Operation(
        "score",
        "Generate texts and wait for them: the model card's contract",
        {200: Reply("The texts", ScoreAnswer, ("X-Job-Id", *WAITED, *RATE))},
        (*SUBMIT, e.TooManyWaiting, *JOB_ERRORS),
        headers=("Prefer", "Idempotency-Key"),
        body=ScoreBody,
    ),
    ("post", "/v1/completions"): Operation(
        "createCompletion",
        "Generate texts and wait for them, or for their tokens: OpenAI's contract",
        {200: Reply("The choices", openai.Completion, ("X-Job-Id", *RATE), streamed=True)},
        (*SUBMIT, e.ModelNotFound, e.TooManyWaiting, *JOB_ERRORS),
        headers=("Idempotency-Key",),
        body=openai.CompletionRequest,
        shape=OPENAI,
    ),
    ("get", "/v1/models"): Operation(
        "listModels",
        "The models that are served, in OpenAI's words",
        {200: Reply("Models", openai.ModelList)},
        STORE,
        shape=OPENAI,
    ),
    ("get", "/v1/models/{model}"): Operation(
        "getModel",
        "A model that is served; its name may have slashes",
        {200: Reply("The model", openai.ModelObject)},
        (e.ModelNotFound, *STORE),
        shape=OPENAI,
    ),
    ("post", "/v1/files"): Operation(
        "uploadFile",
        "Upload a file of requests, one per line",
        {200: Reply("The file", files.FileObject)},
        (e.MalformedBody, e.BodyTooSlow, e.PayloadTooLarge, e.UnsupportedMediaType, *FILES),
        body=files.UploadForm,
        body_type="multipart/form-data",
        shape=OPENAI,
    ),
    ("get", "/v1/files"): Operation(
        "listFiles",
        "List files, newest first",
        {200: Reply("A page of files", files.FileList)},
        FILES,
        query=files.FilesQuery,
        shape=OPENAI,
    ),
    ("get", "/v1/files/{file_id}"): Operation(
        "getFile",
        "Look at a file",
        {200: Reply("The file", files.FileObject)},
        (e.StoredFileNotFound, *FILES),
        shape=OPENAI,
    ),
    ("get", "/v1/files/{file_id}/content"): Operation(
        "getFileContent",
        "Download a file",
        {200: Reply("Its bytes", media_type="application/octet-stream")},
        (e.StoredFileNotFound, *FILES),
        shape=OPENAI,
    ),
    ("delete", "/v1/files/{file_id}"): Operation(
        "deleteFile",
        "Delete a file",
        {200: Reply("It is deleted", files.FileDeleted)},
        (e.StoredFileNotFound, *FILES),
        shape=OPENAI,
    ),
    ("post", "/v1/batches"): Operation(
        "createBatch",
        "Work through a file of requests",
        {200: Reply("The batch", files.BatchObject)},
        (
            *(*BODY, e.InvalidIdempotencyKey, e.IdempotencyKeyReused),
            *(e.StoredFileNotFound, e.StoreFull, e.StorageUnavailable, *STORE),
        ),
        headers=("Idempotency-Key",),
        body=files.CreateBatchRequest,
        shape=OPENAI,
    ),
    ("get", "/v1/batches"): Operation(
        "listBatches",
        "List batches, newest first",
        {200: Reply("A page of batches", files.BatchList)},
        FILES,
        query=files.PageQuery,
        shape=OPENAI,
    ),
    ("get", "/v1/batches/{batch_id}"): Operation(
        "getBatch",
        "Look at a batch",
        {200: Reply("The batch", files.BatchObject)},
        (e.BatchNotFound, *FILES),
        shape=OPENAI,
    ),
    ("post", "/v1/batches/{batch_id}/cancel"): Operation(
        "cancelBatch",
        "Stop a batch; what it has answered stays",
        {200: Reply("The batch", files.BatchObject)},
        (e.BatchNotFound, e.BatchAlreadyFinished, *FILES),
        shape=OPENAI,
    ),
    ("get", "/v1/batches/{batch_id}/results"): Operation(
        "getBatchResults",
        "What a batch has answered so far, a line per row",
        {200: Reply("Rows of output and errors", media_type="application/jsonl")},
        (e.BatchNotFound, e.StoredFileNotFound, e.TooManyWaiting, *FILES),
        query=files.ResultsQuery,
        shape=OPENAI,
    ),
    ("get", "/v1/me"): Operation(
        "getMe", "What your key may do", {200: Reply("Who asks", schemas.Me)}, STORE
    ),
    ("get", "/v1/info"): Operation(
        "getInfo",
        "Version, model, limits, and the model card in short",
        {200: Reply("About this service", Info)},
        STORE,
    ),
    ("get", "/v1/queue"): Operation(
        "getQueue", "How much is queued", {200: Reply("The queue", QueueState)}, STORE
    ),
    ("post", "/v1/queue:pause"): Operation(
        "pauseQueue",
        "Let no worker take jobs of a priority, or of any",
        {200: Reply("What is paused now", schemas.Paused)},
        (*BODY, e.StoreFull, *STORE),
        body=schemas.PriorityRequest,
        access="admin",
    ),
    ("post", "/v1/queue:resume"): Operation(
        "resumeQueue",
        "Let workers take jobs of a priority again, or of all",
        {200: Reply("What is paused still", schemas.Paused)},
        (*BODY, e.StoreFull, *STORE),
        body=schemas.PriorityRequest,
        access="admin",
    ),
    ("post", "/v1/queue:purge"): Operation(
        "purgeQueue",
        "Cancel all queued jobs of a priority, or of all",
        {200: Reply("How many there were", schemas.Purged)},
        (*BODY, e.StoreFull, *STORE),
        body=schemas.PriorityRequest,
        access="admin",
    ),
    ("get", "/v1/dead"): Operation(
        "listDead",
        "List jobs that killed their workers and messages nobody could read, newest first",
        {200: Reply("A page of the dead list", DeadPage)},
        (e.InvalidParameters, *STORE),
        query=schemas.DeadQuery,
        access="admin",
    ),
    ("post", "/v1/dead/{entry_id}:requeue"): Operation(
        "requeueDead",
        "Submit an entry's request anew, as its owner's, and drop the entry",
        {202: Reply("The new job", Job, ("Location", "Retry-After"))},
        (e.NotOnDeadList, e.NotRequeueable, e.JobGone, e.QueueFull, e.StoreFull, *STORE),
        access="admin",
    ),
    ("delete", "/v1/dead/{entry_id}"): Operation(
        "dropDead",
        "Forget an entry",
        {204: Reply("Forgotten")},
        (e.NotOnDeadList, *STORE),
        access="admin",
    ),
    ("get", "/v1/workers"): Operation(
        "getWorkers", "Who is working", {200: Reply("Live workers", schemas.Workers)}, STORE
    ),
    ("get", "/v1/stats"): Operation(
        "getStats",
        "The last hour: a point every ten seconds, and quantiles",
        {200: Reply("Points and quantiles", Stats)},
        STORE,
    ),
    ("get", "/v1/stats/events"): Operation(
        "followStats",
        "Watch as server-sent events: history, then snapshot or problem, until you leave",
        {200: Reply("Events", media_type="text/event-stream")},
        (e.TooManyWaiting, *STORE),
    ),
    ("post", "/v1/workers/{worker_id}:drain"): Operation(
        "drainWorker",
        "Let a worker end what it holds and take no more jobs",
        {200: Reply("The worker", WorkerState)},
        (e.WorkerNotFound, e.StoreFull, *STORE),
        access="admin",
    ),
    ("post", "/v1/workers/{worker_id}:resume"): Operation(
        "resumeWorker",
        "Let a worker take jobs again",
        {200: Reply("The worker", WorkerState)},
        (e.WorkerNotFound, *STORE),
        access="admin",
    ),
    ("get", "/metrics"): Operation(
        "getMetrics",
        "Figures of the whole cluster, as Prometheus reads them",
        {200: Reply("Metrics", media_type="text/plain", other_type="application/openmetrics-text")},
        STORE,
    ),
    ("get", "/livez"): Operation(
        "isAlive", "Is this process alive", {200: Reply("It is", schemas.Health)}, access="open"
    ),
    ("get", "/readyz"): Operation(
        "isReady",
        "Would a job be worked on now",
        {200: Reply("It would", schemas.Health)},
        (e.NoWorker, *STORE),
        access="open",
    ),
    ("get", "/openapi.json"): Operation(
        "getOpenapi",
        "This document",
        {200: Reply("An OpenAPI 3.1 document", schemas.OpenApi)},
        access="open",
    ),
    ("get", "/"): Operation(
        "getPage",
        "The page to write with",
        {200: Reply("A page", media_type="text/html")},
        access="open",
    ),
    ("post", "/"): Operation(
        "generateAsAsked",
        "Generate a text as Text Generation Inference does: whole, in a list, or as a stream",
        {200: Reply("The text", tgi.Generations, ("X-Job-Id", *RATE), streamed=True)},
        (*SUBMIT, e.TooManyWaiting, *JOB_ERRORS),
        headers=("Idempotency-Key",),
        body=tgi.GenerateRequest,
        shape=TGI,
    ),
    ("post", "/generate"): Operation(
        "generate",
        "Generate a text as Text Generation Inference does",
        {200: Reply("The text", tgi.Generation, ("X-Job-Id", *RATE), streamed=True)},
        (*SUBMIT, e.TooManyWaiting, *JOB_ERRORS),
        headers=("Idempotency-Key",),
        body=tgi.GenerateRequest,
        shape=TGI,
    ),
    ("post", "/generate_stream"): Operation(
        "generateStream",
        "Generate a text as Text Generation Inference does, token by token",
        {200: Reply("Tokens", headers=("X-Job-Id", *RATE), media_type="text/event-stream")},
        (*SUBMIT, e.TooManyWaiting, *JOB_ERRORS),
        headers=("Idempotency-Key",),
        body=tgi.GenerateRequest,
        shape=TGI,
    ),
    ("get", "/info"): Operation(
        "getTgiInfo",
        "What serves, and its limits, in the words of Text Generation Inference",
        {200: Reply("About this service", tgi.TgiInfo)},
        STORE,
        shape=TGI,
    ),
    ("get", "/health"): Operation(
        "isHealthy",
        "Would a job be worked on now",
        {200: Reply("It would", schemas.Health)},
        (e.NoWorker, *STORE),
        access="open",
        shape=TGI,
    ),
    ("get", "/dashboard"): Operation(
        "getDashboard",
        "How it is doing, for who runs it",
        {200: Reply("A page", media_type="text/html")},
        access="open",
    ),
    ("get", "/about"): Operation(
        "getAbout",
        "What serves, what to know before it is used, and how to call it",
        {200: Reply("A page", media_type="text/html")},
        access="open",
    ),
    ("get", "/web/{version}/{name}"): Operation(
        "getWebFile",
        "A script or a style sheet of the pages",
        {
            200: Reply("A file", headers=("ETag",), media_type="text/*"),
            304: Reply("It is as you know it", headers=("ETag",)),
        },
        (e.NotFound,),
        headers=("If-None-Match",),
        access="open",
    ),
    ("get", "/web/{version}/{folder}/{name}"): Operation(
        "getWebFileInFolder",
        "The same of one page alone",
        {
            200: Reply("A file", headers=("ETag",), media_type="text/*"),
            304: Reply("It is as you know it", headers=("ETag",)),
        },
        (e.NotFound,),
        headers=("If-None-Match",),
        access="open",
    ),
}
