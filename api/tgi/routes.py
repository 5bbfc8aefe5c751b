"""The routes of Text Generation Inference, over the same queue as every other job.

`POST /` is what huggingface_hub's client uses when its model is an address.
"""

from __future__ import annotations

from flask import Blueprint, Response

from distilq import parameters
from distilq.errors import GenerationFailed, InvalidParameters
from distilq.jobs import JobStatus, ScoreRequest

from .. import synchronous
from ..answers import as_json, of_job
from ..bodies import parse_body
from ..context import settings, store, waiting_threads
from ..problems import from_problem
from ..schemas import Health
from ..status import require_worker, version
from .answers import Telling, failed, generation
from .schemas import GenerateRequest, Generations, TgiInfo

blueprint = Blueprint("tgi", __name__)


@blueprint.post("/")
def compatible() -> Response:
    asked = _asked()
    return _streamed(asked) if asked.stream else _answered(asked, listed=True)


@blueprint.post("/generate")
def generate() -> Response:
    asked = _asked()
    return _streamed(asked) if asked.stream else _answered(asked, listed=False)


@blueprint.post("/generate_stream")
def generate_stream() -> Response:
    return _streamed(_asked())


@blueprint.get("/info")
def info() -> Response:
    workers = store().workers()
    first = workers[0] if workers else None
    return as_json(
        TgiInfo(
            model_id=first.model if first else settings().model,
            model_sha=first.revision if first else None,
            model_dtype=first.precision if first else None,
            model_device_type=first.device if first else None,
            model_pipeline_tag="text-generation",
            max_concurrent_requests=waiting_threads(settings()),
            max_best_of=parameters.MAX_SEQUENCES,
            max_stop_sequences=parameters.MAX_STOPS,
            max_input_tokens=parameters.MAX_NEW_TOKENS - 1,
            max_total_tokens=parameters.MAX_NEW_TOKENS,
            max_client_batch_size=1,
            validation_workers=len(workers),
            router="distilq",
            version=version(),
        )
    )


@blueprint.get("/health")
def health() -> Response:
    require_worker()
    return as_json(Health(status="ok"))


def _asked() -> GenerateRequest:
    return parse_body(GenerateRequest, settings().max_body_bytes)


def _answered(asked: GenerateRequest, *, listed: bool) -> Response:
    detailed = asked.asked.detailed
    job = synchronous.run(_ours(asked, tokens=detailed), settings().max_wait_s, stream=detailed)
    if job.status is not JobStatus.SUCCEEDED:
        return from_problem({**(job.error or GenerationFailed().problem()), "job_id": job.id})
    found = generation(asked.asked, job)
    return of_job(Generations([found]) if listed else found, job)


def _streamed(asked: GenerateRequest) -> Response:
    _refuse_in_streams(asked)
    limit_s = settings().max_wait_s
    return synchronous.stream(_ours(asked, tokens=True), limit_s, Telling(asked.asked), failed)


def _refuse_in_streams(asked: GenerateRequest) -> None:
    """As TGI does: both are known only when the stream has passed them."""
    refused = {
        "best_of": asked.asked.sequences > 1,
        "decoder_input_details": asked.asked.decoder_input_details,
    }
    entries = [
        {"pointer": f"#/parameters/{name}", "code": "conflict", "detail": "cannot be streamed"}
        for name, given in refused.items()
        if given
    ]
    if entries:
        raise InvalidParameters(errors=entries)


def _ours(asked: GenerateRequest, *, tokens: bool) -> ScoreRequest:
    return ScoreRequest(inputs=asked.inputs, parameters=asked.asked.ours(tokens=tokens))
