"""POST /score: the model card's contract, over the same queue as every other job."""

from __future__ import annotations

from flask import Blueprint, Response

from distilq.errors import GenerationFailed
from distilq.jobs import JobStatus, ScoreRequest

from .answers import as_texts
from .bodies import parse_body
from .context import settings
from .prefer import note_applied, seconds_to_wait
from .problems import from_problem
from .synchronous import run

blueprint = Blueprint("score", __name__)


@blueprint.post("/score")
def score() -> Response:
    asked = parse_body(ScoreRequest, settings().max_body_bytes)
    wait_s = seconds_to_wait() or None
    limit_s = wait_s or settings().max_wait_s
    job = run(asked, limit_s)
    if job.status is JobStatus.SUCCEEDED:
        return note_applied(as_texts(job), wait_s)
    return from_problem({**(job.error or GenerationFailed().problem()), "job_id": job.id})
