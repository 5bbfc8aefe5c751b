"""The OpenAPI document, made from the models that validate and the table of operations."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from distilq.deaths import ENTRY_ID
from distilq.errors import (
    CrossSite,
    DistilqError,
    IdempotencyInFlight,
    JobNotFinished,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from distilq.jobs import ID_PATTERN

from . import once
from .examples import EXAMPLES
from .operations import OPERATIONS, RATE, Operation, Reply
from .status import MODEL_CARD, version

Json = dict[str, Any]

REF = "#/components/schemas/{model}"

#: Errors that say when.
TRY_AGAIN = (Unavailable, JobNotFinished, IdempotencyInFlight)

EVENTS = "text/event-stream"

LIMITS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}

#: How a key is shown. Each operation names it, or nothing beside it: keys may be off.
KEY = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "dq_ID_SECRET",
    "description": "an API key; needed unless keys are off (DISTILQ_AUTH)",
}

PATH_PARAMETERS: dict[str, Json] = {
    "job_id": {"pattern": f"^{ID_PATTERN.pattern}$"},
    "model": {"minLength": 1},
    "file_id": {"pattern": f"^file-{ID_PATTERN.pattern}$"},
    "batch_id": {"pattern": f"^batch_{ID_PATTERN.pattern}$"},
    "entry_id": {"pattern": f"^(?:{ENTRY_ID.pattern})$"},
    "worker_id": {"minLength": 1},
    "version": {"minLength": 1},
    "folder": {"minLength": 1},
    "name": {"minLength": 1},
}

#: Name -> (type, description).
REQUEST_HEADERS = {
    "X-Request-Id": ("string", "1 to 128 visible ASCII characters; given back, and in every log"),
    "Prefer": ("string", "RFC 7240; `wait=N`: seconds to wait for the job to finish"),
    "Last-Event-ID": ("string", "the id of the last event that you have"),
    "If-None-Match": ("string", "the ETag that you have"),
    "Idempotency-Key": (
        "string",
        "1 to 255 printable ASCII characters, in double quotes (RFC 8941); without them neither "
        'spaces nor any of `",;\\`; the same request with the same key is one submission',
    ),
}
PATTERNS = {once.HEADER: {"pattern": f"^(?:{once.KEY.pattern})$"}}
RESPONSE_HEADERS = {
    "X-Request-Id": ("string", "the request's id; problems have it in `instance`"),
    "X-Job-Id": ("string", "the job that made this answer"),
    "Idempotency-Replayed": ("string", "`true`: an earlier request had this Idempotency-Key"),
    "Location": ("string", "the job's address"),
    "Retry-After": ("integer", "seconds after which to look again"),
    "Preference-Applied": ("string", "what was made of Prefer, e.g. `wait=10`"),
    "Vary": ("string", "Prefer"),
    "ETag": ("string", "changes when the answer does"),
    "WWW-Authenticate": ("string", "Bearer (RFC 6750)"),
    "X-Should-Retry": ("string", "`false`: the same request would fail again"),
    "RateLimit": ("string", 'jobs left, seconds until none is missing: `"submit";r=599;t=1`'),
    "RateLimit-Policy": ("string", 'jobs in so many seconds: `"submit";q=600;w=60`'),
}


@cache
def document() -> Json:
    """The document; made once per process."""
    paths: dict[str, Json] = {}
    for (method, path), operation in OPERATIONS.items():
        paths.setdefault(path, _path_item(path))[method] = _operation(method, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "distilq",
            "version": version(),
            "summary": "DistilGPT2 text generation as durable jobs",
            "description": "\n\n".join(MODEL_CARD.warnings),
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _schemas(), "securitySchemes": {"key": KEY}},
    }


def _path_item(path: str) -> Json:
    parameters = [_header("X-Request-Id")]
    for name, limits in PATH_PARAMETERS.items():
        if f"{{{name}}}" in path:
            schema = {"type": "string", **limits}
            parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    return {"parameters": parameters}


def _operation(method: str, operation: Operation) -> Json:
    found: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_header(name) for name in operation.headers] + _query(operation.query),
        "responses": _responses(operation, () if method == "get" else (CrossSite,)),
        "security": [] if operation.access == "open" else [{"key": []}, {}],
    }
    if operation.body is not None:
        example = EXAMPLES[operation.body]
        content = {operation.body_type: {"schema": _ref(operation.body), "example": example}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _header(name: str) -> Json:
    kind, description = REQUEST_HEADERS[name]
    schema = {"type": kind, **PATTERNS.get(name, {})}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _query(model: type[BaseModel] | None) -> list[Json]:
    if model is None:
        return []
    properties = model.model_json_schema(ref_template=REF)["properties"]
    return [{"name": name, "in": "query", "schema": it} for name, it in properties.items()]


def _responses(operation: Operation, more: tuple[type[DistilqError], ...]) -> Json:
    problems: dict[int, list[type[DistilqError]]] = {}
    for error in (*operation.every_problem, *more):
        problems.setdefault(operation.shape.status(error), []).append(error)
    replies = operation.replies.items()
    return {str(status): _reply(reply, operation) for status, reply in replies} | {
        str(status): _problem(errors, operation) for status, errors in sorted(problems.items())
    }


def _reply(reply: Reply, operation: Operation) -> Json:
    headers = (*reply.headers, *_replayed(operation))
    found: Json = {"description": reply.description, "headers": _headers(*headers)}
    if reply.model is not None:
        found["content"] = _json(reply.model)
    elif reply.media_type != "application/json":
        # A schema for events would be one of each event.
        schema = {} if reply.media_type == EVENTS else {"type": "string"}
        types = filter(None, (reply.media_type, reply.other_type))
        found["content"] = {each: {"schema": schema} for each in types}
    if reply.streamed:
        found["content"][EVENTS] = {"schema": {}}
    return found


def _problem(errors: list[type[DistilqError]], operation: Operation) -> Json:
    headers = ["X-Job-Id", *operation.shape.headers, *_replayed(operation)]
    if any(issubclass(error, TRY_AGAIN) for error in errors):
        headers.append("Retry-After")
    if Unauthorized in errors:
        headers.append("WWW-Authenticate")
    if RateLimited in operation.problems:
        headers += RATE
    return {
        "description": "; ".join(f"`{error.code}`: {error.title}" for error in errors),
        "headers": _headers(*headers),
        "content": {operation.shape.media_type: {"schema": _ref(operation.shape.model)}},
    }


def _replayed(operation: Operation) -> tuple[str, ...]:
    return ("Idempotency-Replayed",) if once.HEADER in operation.headers else ()


def _headers(*names: str) -> Json:
    return {
        name: {"description": description, "schema": {"type": kind}}
        for name, (kind, description) in RESPONSE_HEADERS.items()
        if name in names or name == "X-Request-Id"
    }


def _json(model: type[BaseModel]) -> Json:
    return {"application/json": {"schema": _ref(model)}}


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": REF.format(model=model.__name__)}


def _schemas() -> Json:
    asked = {operation.body for operation in OPERATIONS.values()} - {None}
    replies = chain.from_iterable(operation.replies.values() for operation in OPERATIONS.values())
    answered = {reply.model for reply in replies} - {None}
    answered |= {operation.shape.model for operation in OPERATIONS.values()}
    modes: tuple[tuple[set[type[BaseModel] | None], JsonSchemaMode], ...] = (
        (asked, "validation"),
        (answered, "serialization"),
    )
    models = [(model, mode) for group, mode in modes for model in group if model is not None]
    models.sort(key=lambda pair: pair[0].__name__)
    schemas: Json = _with_limits(models_json_schema(models, ref_template=REF)[1]["$defs"])
    return schemas


def _with_limits(schema: Any) -> Any:
    """The same with every limit under JSON Schema's name: pydantic 2.14 leaves those of a nullable
    field that has a validator of its own under the names of its arguments, which mean nothing."""
    if isinstance(schema, list):
        return [_with_limits(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    number = schema.get("type") in ("integer", "number")
    return {
        LIMITS.get(name, name) if number else name: _with_limits(value)
        for name, value in schema.items()
    }
