"""Every error of distilq, one tree.

    DistilqError
    ├── RequestError                 the request itself is at fault
    │   ├── MalformedJson            400
    │   ├── MalformedBody            400
    │   ├── InvalidIdempotencyKey    400
    │   ├── Unauthorized             401
    │   ├── Forbidden                403
    │   ├── CrossSite                403
    │   ├── NotFound                 404  no such route
    │   ├── JobNotFound              404
    │   ├── NotOnDeadList            404
    │   ├── WorkerNotFound           404
    │   ├── ModelNotFound            404
    │   ├── StoredFileNotFound       404
    │   ├── BatchNotFound            404
    │   ├── MethodNotAllowed         405
    │   ├── BodyTooSlow              408
    │   ├── JobNotFinished           409
    │   ├── JobAlreadyFinished       409
    │   ├── JobNotSucceeded          409
    │   ├── NotRequeueable           409
    │   ├── NoWebhook                409
    │   ├── IdempotencyInFlight      409
    │   ├── BatchAlreadyFinished     409
    │   ├── JobGone                  410
    │   ├── PayloadTooLarge          413
    │   ├── UnsupportedMediaType     415
    │   ├── IdempotencyKeyReused     422
    │   └── InvalidParameters        422  one `errors` entry per bad field
    ├── JobError                     an accepted job ended without its text
    │   ├── PromptTooLong            422
    │   ├── EmptyPrompt              422
    │   ├── JobTooLarge              422
    │   ├── InvalidToken             422
    │   ├── TimedOut                 504
    │   ├── StartedTooLate           504
    │   ├── Canceled                 409
    │   ├── Poisoned                 500
    │   └── GenerationFailed         500
    └── Unavailable                  nothing is wrong with the request; try again
        ├── QueueFull                503
        ├── OwnerFull                429
        ├── RateLimited              429
        ├── NoWorker                 503
        ├── StoreUnavailable         503
        ├── StoreFull                503
        ├── VolatileStore            503
        ├── StorageUnavailable       503
        ├── TooManyWaiting           503
        └── NotFinishedInTime        504

Each class knows its problem type (RFC 9457), its title and its HTTP status; `problem()` is the
object that goes over the wire, both as an HTTP error body and as a job's `error`. What can go wrong
on a client's side only is in `distilq/client/errors.py`.
"""

from __future__ import annotations

from typing import Any

PROBLEM_PREFIX = "urn:distilq:problem:"


class DistilqError(Exception):
    """Base of all errors of this project.

    `detail` says what happened to whom, with the numbers; `members` are RFC 9457 extension members.
    """

    code: str = "internal_error"
    title: str = "Something went wrong in the service"
    status: int = 500
    retryable: bool = False
    #: `X-Request-Id` of the answer that told of it; None where there was none.
    request_id: str | None = None

    def __init__(self, detail: str = "", **members: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.members = members

    def problem(self) -> dict[str, Any]:
        """The error as an RFC 9457 problem object."""
        body: dict[str, Any] = {
            "type": PROBLEM_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "retryable": self.retryable,
        }
        if self.detail:
            body["detail"] = self.detail
        return body | self.members

    @property
    def errors(self) -> list[dict[str, Any]]:
        """One entry per bad field: `pointer`, `parameter` or `header`, and `code` and `detail`."""
        found: list[dict[str, Any]] = self.members.get("errors") or []
        return found

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which trying again makes sense, where they are known."""
        return self.members.get("retry_after_s")

    @property
    def job_id(self) -> str | None:
        """The job that this is about, where it is about one."""
        return self.members.get("job_id")


class RequestError(DistilqError):
    """The request itself is at fault; sent again unchanged it fails again."""


class MalformedJson(RequestError):
    code, title, status = "malformed_json", "The body is not valid JSON", 400


class MalformedBody(RequestError):
    code, title, status = "malformed_body", "The body does not end as its headers say", 400


class InvalidIdempotencyKey(RequestError):
    code, title, status = "invalid_idempotency_key", "The Idempotency-Key is not one", 400


class BodyTooSlow(RequestError):
    code, title, status = "body_too_slow", "The body did not arrive in time", 408
    retryable = True


class Unauthorized(RequestError):
    code, title, status = "unauthorized", "This needs an API key that is valid", 401


class Forbidden(RequestError):
    code, title, status = "forbidden", "Your API key may not do this", 403


class CrossSite(RequestError):
    code, title, status = "cross_site", "A page of another site may not do this", 403


class NotFound(RequestError):
    code, title, status = "not_found", "There is nothing at this address", 404


class JobNotFound(RequestError):
    code, title, status = "job_not_found", "No job has this id", 404


class NotOnDeadList(RequestError):
    code, title, status = "not_on_dead_list", "The dead list has no such entry", 404


class WorkerNotFound(RequestError):
    code, title, status = "worker_not_found", "No worker that is alive has this id", 404


class ModelNotFound(RequestError):
    code, title, status = "model_not_found", "This model is not served", 404


class StoredFileNotFound(RequestError):
    code, title, status = "file_not_found", "No file has this id", 404


class BatchNotFound(RequestError):
    code, title, status = "batch_not_found", "No batch has this id", 404


class MethodNotAllowed(RequestError):
    code, title, status = "method_not_allowed", "This address does not take this method", 405


class JobNotFinished(RequestError):
    code, title, status = "job_not_finished", "The job has not finished yet", 409
    retryable = True


class JobAlreadyFinished(RequestError):
    code, title, status = "job_already_finished", "The job has already finished", 409


class JobNotSucceeded(RequestError):
    code, title, status = "job_not_succeeded", "The job ended without a result", 409


class NotRequeueable(RequestError):
    code, title, status = "not_requeueable", "The entry holds no request that could be run", 409


class NoWebhook(RequestError):
    code, title, status = "no_webhook", "The job has no webhook for how it ended", 409


class IdempotencyInFlight(RequestError):
    code, title, status = (
        "idempotency_in_flight",
        "An earlier request with this Idempotency-Key is under way",
        409,
    )
    retryable = True


class BatchAlreadyFinished(RequestError):
    code, title, status = "batch_already_finished", "The batch has already ended", 409


class JobGone(RequestError):
    code, title, status = "job_gone", "The job's text has expired or was deleted", 410


class PayloadTooLarge(RequestError):
    code, title, status = "payload_too_large", "The body is larger than the limit", 413


class UnsupportedMediaType(RequestError):
    code, title, status = (
        "unsupported_media_type",
        "The body is not of the type that this route takes",
        415,
    )


class IdempotencyKeyReused(RequestError):
    code, title, status = (
        "idempotency_key_reused",
        "Another request came with this Idempotency-Key before",
        422,
    )


class InvalidParameters(RequestError):
    """At least one field is unknown or out of range.

    `errors` is a list of `{"pointer": "#/parameters/top_p", "code": …, "detail": …}`.
    """

    code, title, status = "invalid_parameters", "The request has invalid fields", 422


class JobError(DistilqError):
    """An accepted job ended without its text; stored as the job's `error`."""


class PromptTooLong(JobError):
    code, title, status = "prompt_too_long", "The prompt does not fit", 422


class EmptyPrompt(JobError):
    code, title, status = (
        "empty_prompt",
        "The model has no token to start an empty prompt from",
        422,
    )


class JobTooLarge(JobError):
    code, title, status = "job_too_large", "The job can never fit in this worker's memory", 422


class InvalidToken(JobError):
    code, title, status = "invalid_token", "A token id is outside the vocabulary", 422


class TimedOut(JobError):
    code, title, status = "timed_out", "The job ran longer than its timeout_s", 504
    retryable = True


class StartedTooLate(JobError):
    code, title, status = "start_deadline_passed", "No worker started the job in time", 504
    retryable = True


class Canceled(JobError):
    code, title, status = "canceled", "The job was canceled", 409


class Poisoned(JobError):
    code, title, status = "poisoned", "The job's workers died too often", 500


class GenerationFailed(JobError):
    code, title, status = "generation_failed", "The engine failed on this job", 500
    retryable = True


class Unavailable(DistilqError):
    """Nothing is wrong with the request; the same request may succeed later."""

    status = 503
    retryable = True


class QueueFull(Unavailable):
    code, title = "queue_full", "The queue is full"


class OwnerFull(Unavailable):
    code, title, status = "owner_full", "You have as many jobs here as your key allows", 429


class RateLimited(Unavailable):
    code, title, status = "rate_limited", "You submit faster than your key allows", 429


class NoWorker(Unavailable):
    code, title = "no_worker", "No worker takes jobs"


class StoreUnavailable(Unavailable):
    code, title = "store_unavailable", "Redis cannot be reached"


class StoreFull(Unavailable):
    code, title = "store_full", "Redis has no memory left for another job"


class VolatileStore(Unavailable):
    code, title = "volatile_store", "Redis may lose jobs"


class StorageUnavailable(Unavailable):
    code, title = "storage_unavailable", "The storage of files cannot be reached, or is full"


class TooManyWaiting(Unavailable):
    code, title = "too_many_waiting", "Too many requests wait for their jobs"


class NotFinishedInTime(Unavailable):
    """A synchronous request's wait is over; its job was canceled, if none can ask for it again."""

    code, title, status = "not_finished_in_time", "The job did not finish within the wait", 504
