"""/v1/jobs/{id}: one job, its life, its request and its texts; end it, forget it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from distilq.errors import JobAlreadyFinished, JobNotFinished, JobNotFound, JobNotSucceeded
from distilq.jobs import ID_PATTERN, Job, JobStatus

from .answers import as_job, as_json, as_texts, nothing, unless_known
from .context import store
from .prefer import note_applied
from .schemas import Asked
from .waiting import wait_as_preferred

blueprint = Blueprint("job", __name__, url_prefix="/v1/jobs/<job_id>")


@blueprint.before_request
def refuse_other_ids() -> None:
    if not ID_PATTERN.fullmatch((request.view_args or {})["job_id"]):
        raise JobNotFound("an id is 32 lower-case hexadecimal digits")


@blueprint.get("")
def get(job_id: str) -> Response:
    job, waited_s = wait_as_preferred(store().get(job_id))
    return note_applied(unless_known(as_job(job)), waited_s)


@blueprint.get("/result")
def result(job_id: str) -> Response:
    job = store().get(job_id)
    if not job.status.final:
        raise JobNotFinished(f"it is {job.status.value}", **_facts(job))
    if job.status is not JobStatus.SUCCEEDED:
        raise JobNotSucceeded(f"it {_ended(job)}", **_facts(job), error=job.error)
    return as_texts(job)


@blueprint.get("/timeline")
def timeline(job_id: str) -> Response:
    return as_json(store().timeline(job_id))


@blueprint.get("/request")
def asked(job_id: str) -> Response:
    return as_json(Asked(store().request(job_id)))


@blueprint.post("/cancel")
def cancel(job_id: str) -> Response:
    job = store().cancel(job_id)
    if job.status is JobStatus.CANCELED:
        return as_job(job)
    if job.status.final:
        raise JobAlreadyFinished(f"it {_ended(job)}", **_facts(job))
    return as_job(job, 202)


@blueprint.delete("")
def delete(job_id: str) -> Response:
    store().delete(job_id)
    return nothing()


def _facts(job: Job) -> dict[str, str]:
    return {"job_id": job.id, "job_status": job.status.value}


def _ended(job: Job) -> str:
    was = "was " if job.status is JobStatus.CANCELED else ""
    return was + job.status.value
