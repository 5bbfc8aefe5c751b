"""/v1/jobs: submit jobs, one or many, and look at many."""

from __future__ import annotations

from flask import Blueprint, Response

from distilq.jobs import BatchRequest, Job, JobRequest, JobStatus, StatusRequest

from .answers import as_job, as_json
from .auth import spend
from .bodies import parse_body, parse_query, refuse_idempotency_key
from .context import settings, store
from .prefer import note_applied
from .schemas import BatchAccepted, JobRef, JobsQuery, MissingJob
from .waiting import wait_as_preferred

blueprint = Blueprint("jobs", __name__)


@blueprint.post("/v1/jobs")
def submit() -> Response:
    refuse_idempotency_key()
    asked = parse_body(JobRequest, settings().max_body_bytes)
    spend(1)
    job = store().submit(asked)
    job, waited_s = wait_as_preferred(job)
    response = as_job(job, 200 if job.status.final else 202)
    response.headers["Location"] = job.urls.self
    return note_applied(response, waited_s)


@blueprint.post("/v1/jobs:batch")
def submit_many() -> Response:
    refuse_idempotency_key()
    batch = parse_body(BatchRequest, settings().max_batch_body_bytes)
    spend(len(batch.jobs))
    ids = store().submit_many(batch.jobs)
    refs = [JobRef(id=job_id, status=JobStatus.QUEUED) for job_id in ids]
    return as_json(BatchAccepted(jobs=refs), 202)


@blueprint.post("/v1/jobs:status")
def statuses() -> Response:
    ids = parse_body(StatusRequest, settings().max_body_bytes).ids
    pairs = zip(ids, store().get_many(ids), strict=True)
    # One by one: to choose among the models of a union takes pydantic three times as long.
    entries = ",".join(_entry(job_id, found).model_dump_json() for job_id, found in pairs)
    return Response(f'{{"jobs":[{entries}]}}\n', content_type="application/json")


@blueprint.get("/v1/jobs")
def page() -> Response:
    query = parse_query(JobsQuery)
    return as_json(store().page(query.status, query.limit, query.cursor))


def _entry(job_id: str, found: Job | str) -> Job | MissingJob:
    if isinstance(found, Job):
        return found
    return MissingJob(id=job_id, status="gone" if found == "gone" else "unknown")
