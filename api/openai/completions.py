"""POST /v1/completions: OpenAI's, over the same queue as every other job."""

from __future__ import annotations

from flask import Blueprint, Response

from distilq.errors import GenerationFailed
from distilq.jobs import JobStatus, ScoreRequest

from ..answers import as_json
from ..bodies import parse_body
from ..context import settings
from ..problems import from_problem
from ..synchronous import run, stream
from .answers import completion
from .chunks import Chunks, failed
from .models import refuse_others
from .schemas import CompletionRequest

blueprint = Blueprint("openai_completions", __name__)


@blueprint.post("/v1/completions")
def completions() -> Response:
    asked = parse_body(CompletionRequest, settings().max_body_bytes)
    refuse_others(asked.model)
    wanted, limit_s = _job(asked), settings().max_wait_s
    if asked.stream:
        return stream(wanted, limit_s, Chunks(asked).shown, failed)
    job = run(wanted, limit_s)
    if job.status is not JobStatus.SUCCEEDED:
        return from_problem({**(job.error or GenerationFailed().problem()), "job_id": job.id})
    response = as_json(completion(job, asked))
    response.headers["X-Job-Id"] = job.id
    return response


def _job(asked: CompletionRequest) -> ScoreRequest:
    """What a job has to do; the bounds of its fields are within those of a job's."""
    return ScoreRequest(inputs=asked.prompts, parameters=asked.parameters)
