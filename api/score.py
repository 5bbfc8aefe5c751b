"""POST /score: the model card's contract, over the same queue as every other job."""

from __future__ import annotations

from flask import Blueprint, Response

from distilq.errors import GenerationFailed, NotFinishedInTime, Unavailable
from distilq.jobs import Job, JobRequest, JobStatus, Priority, ScoreRequest

from .answers import as_texts
from .auth import spend
from .bodies import parse_body, refuse_idempotency_key
from .context import settings, store
from .prefer import note_applied, seconds_to_wait
from .problems import from_problem
from .waiting import slot, wait_until_final

blueprint = Blueprint("score", __name__)


@blueprint.post("/score")
def score() -> Response:
    refuse_idempotency_key()
    asked = parse_body(ScoreRequest, settings().max_body_bytes)
    wait_s = seconds_to_wait() or None
    limit_s = wait_s or settings().max_wait_s
    with slot():
        spend(1)
        job = _finished(store().submit(_as_job_request(asked, limit_s)), limit_s)
    if job.status is JobStatus.SUCCEEDED:
        return note_applied(as_texts(job), wait_s)
    return from_problem({**(job.error or GenerationFailed().problem()), "job_id": job.id})


def _as_job_request(asked: ScoreRequest, limit_s: float) -> JobRequest:
    return JobRequest(
        inputs=asked.inputs,
        parameters=asked.parameters,
        priority=Priority.INTERACTIVE,
        timeout_s=limit_s,
    )


def _finished(job: Job, limit_s: float) -> Job:
    """The job once it is final; it is canceled when there is no use in waiting for it."""
    try:
        job = wait_until_final(job.id, limit_s)
        if job.status.final:
            return job
        job = store().cancel(job.id)
    except Unavailable as error:
        error.members["job_id"] = job.id
        raise
    if job.status in (JobStatus.CANCELED, JobStatus.CANCELING):
        raise NotFinishedInTime("it was canceled", job_id=job.id)
    return job
