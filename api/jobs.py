"""/v1/jobs: submit jobs, one or many, and look at many."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response

from distilq.cluster import MissingJob
from distilq.jobs import BatchRequest, Job, JobRequest, JobStatus, StatusRequest

from .answers import as_job, as_json
from .auth import spend
from .bodies import json_body, parse, parse_body, parse_query
from .context import settings, store
from .once import once, recall, submit_once
from .prefer import note_applied
from .schemas import BatchAccepted, JobRef, JobsQuery
from .turns import LARGE_BYTES, LARGE_IDS, turn
from .waiting import wait_as_preferred
from .webhooks import refuse_strange_hosts

#: Jobs that a status request has in memory at once, beside what it has made of others: as objects
#: they take ten times the room of their JSON.
LOOKED_AT = 100

blueprint = Blueprint("jobs", __name__)


@blueprint.post("/v1/jobs")
def submit() -> Response:
    asked = parse_body(JobRequest, settings().max_body_bytes)
    refuse_strange_hosts([((), asked)])
    job = submit_once(asked)
    job, waited_s = wait_as_preferred(job)
    response = as_job(job, 200 if job.status.final else 202)
    response.headers["Location"] = job.urls.self
    return note_applied(response, waited_s)


@blueprint.post("/v1/jobs:batch")
def submit_many() -> Response:
    body = json_body(settings().max_batch_body_bytes)
    with turn(len(body) > LARGE_BYTES):
        ids = recall() or _submitted(parse(BatchRequest, body))
        refs = [JobRef(id=job_id, status=JobStatus.QUEUED) for job_id in ids]
        return as_json(BatchAccepted(jobs=refs), 202)


@blueprint.post("/v1/jobs:status")
def statuses() -> Response:
    ids = parse_body(StatusRequest, settings().max_body_bytes).ids
    with turn(len(ids) > LARGE_IDS):
        parts = [_entries(ids[i : i + LOOKED_AT]) for i in range(0, len(ids), LOOKED_AT)]
        body = b'{"jobs":[%b]}\n' % b",".join(parts)
    return Response(body, content_type="application/json")


@blueprint.get("/v1/jobs")
def page() -> Response:
    query = parse_query(JobsQuery)
    return as_json(store().page(query.status, query.limit, query.cursor))


def _submitted(batch: BatchRequest) -> list[str]:
    refuse_strange_hosts((("jobs", number), job) for number, job in enumerate(batch.jobs))
    spend(len(batch.jobs))
    return store().submit_many(batch.jobs, once())


def _entries(ids: Sequence[str]) -> bytes:
    pairs = zip(ids, store().get_many(ids), strict=True)
    # One by one: to choose among the models of a union takes pydantic three times as long.
    return b",".join(_entry(job_id, found).model_dump_json().encode() for job_id, found in pairs)


def _entry(job_id: str, found: Job | str) -> Job | MissingJob:
    if isinstance(found, Job):
        return found
    return MissingJob(id=job_id, status="gone" if found == "gone" else "unknown")
