"""Jobs and other models -> responses."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from itertools import chain

from flask import Response, request
from pydantic import BaseModel

from distilq.jobs import Job

from .schemas import Texts

#: Seconds between two looks at a job that is not finished: at least and at most.
POLL_S = (1, 30)


def as_json(model: BaseModel, status: int = 200) -> Response:
    return Response(model.model_dump_json() + "\n", status, content_type="application/json")


def nothing() -> Response:
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def as_job(job: Job, status: int = 200) -> Response:
    """The job object, with Retry-After while it is not final."""
    response = as_json(job, status)
    if not job.status.final:
        least, most = POLL_S
        response.headers["Retry-After"] = str(
            min(max(math.ceil(job.queue.eta_s or 0), least), most)
        )
    return response


def unless_known(response: Response) -> Response:
    """Give it an ETag; 304 if the client has just this already."""
    digest = hashlib.sha256(response.get_data()).hexdigest()[:32]
    response.headers["Cache-Control"] = "private, no-cache"
    response.set_etag(digest)
    response.make_conditional(request)  # in place
    return response


def as_texts(job: Job) -> Response:
    """The model card's answer: nothing but the texts."""
    return of_job(Texts.of(job), job)


def of_job(model: BaseModel, job: Job) -> Response:
    response = as_json(model)
    response.headers["X-Job-Id"] = job.id
    return response


def first_known(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same; what keeps the first from being made is raised here, before a status is sent."""
    first = next(blocks, b"")
    return chain((first,), blocks)
