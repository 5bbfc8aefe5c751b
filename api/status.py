"""How the service stands: /v1/info, /v1/queue, /v1/workers, /livez, /readyz."""

from __future__ import annotations

from collections import Counter
from importlib import metadata

from flask import Blueprint, Response

from distilq import jobs, keys, parameters
from distilq.cluster import Info, Limits, ModelCard, ServedModel
from distilq.errors import NoWorker

from .answers import as_json
from .context import settings, store
from .schemas import Health, Workers

blueprint = Blueprint("status", __name__)

MODEL_CARD = ModelCard(
    model="distilbert/distilgpt2",
    license="apache-2.0",
    url="https://huggingface.co/distilbert/distilgpt2",
    warnings=[
        "The model does not know fact from fiction: "
        "do not use it where the generated text has to be true.",
        "It repeats the biases of the texts that it was trained on: "
        "study them for your use before people meet its output.",
    ],
)


@blueprint.get("/v1/info")
def info() -> Response:
    return as_json(
        Info(
            version=version(),
            model=settings().model,
            serving=served_models(),
            limits=_limits(),
            model_card=MODEL_CARD,
        )
    )


@blueprint.get("/v1/queue")
def queue() -> Response:
    return as_json(store().queue())


@blueprint.get("/v1/workers")
def workers() -> Response:
    return as_json(Workers(workers=store().workers()))


@blueprint.get("/livez")
def livez() -> Response:
    return as_json(Health(status="ok"))


@blueprint.get("/readyz")
def readyz() -> Response:
    store().ping()
    require_worker()
    return as_json(Health(status="ok"))


def require_worker() -> None:
    """Raises NoWorker: a job would be accepted, and wait."""
    workers = store().workers()
    if not workers:
        raise NoWorker("jobs are accepted, and wait until one starts")
    if all(worker.draining for worker in workers):
        raise NoWorker("all are drained: jobs are accepted, and wait until one is resumed")


def served_models() -> list[ServedModel]:
    """What the live workers hold, the most frequent first."""
    held = Counter((w.model, w.source, w.revision, w.precision) for w in store().workers())
    return [
        ServedModel(model=model, source=source, revision=revision, precision=precision, workers=n)
        for (model, source, revision, precision), n in held.most_common()
    ]


def _limits() -> Limits:
    return Limits(
        max_body_bytes=settings().max_body_bytes,
        max_batch_body_bytes=settings().max_batch_body_bytes,
        max_wait_s=settings().max_wait_s,
        max_inputs=jobs.MAX_INPUTS,
        max_input_chars=jobs.MAX_INPUT_CHARS,
        max_rows=jobs.MAX_ROWS,
        max_new_tokens=parameters.MAX_NEW_TOKENS,
        max_batch_jobs=jobs.MAX_BATCH_JOBS,
        max_status_ids=jobs.MAX_STATUS_IDS,
        max_queued_jobs=settings().max_queued_jobs,
        max_queued_tokens=settings().max_queued_tokens,
        idempotency_key_s=keys.ONCE_S,
    )


def version() -> str:
    try:
        return metadata.version("distilq")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
