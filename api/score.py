"""POST /score: the model card's contract, in all its forms, over the same queue as every job."""

from __future__ import annotations

from flask import Blueprint, Response

from distilq.errors import GenerationFailed
from distilq.jobs import JobStatus

from .answers import of_job
from .bodies import parse_body
from .context import settings
from .prefer import note_applied, seconds_to_wait
from .problems import from_problem
from .score_forms import ScoreBody
from .synchronous import run

blueprint = Blueprint("score", __name__)


@blueprint.post("/score")
def score() -> Response:
    body = parse_body(ScoreBody, settings().max_body_bytes)
    wait_s = seconds_to_wait() or None
    limit_s = wait_s or settings().max_wait_s
    job = run(body.asked, limit_s)
    if job.status is JobStatus.SUCCEEDED:
        return note_applied(of_job(body.answer(job), job), wait_s)
    return from_problem({**(job.error or GenerationFailed().problem()), "job_id": job.id})
