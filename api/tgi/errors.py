"""Problems -> TGI's error bodies, on its routes: its clients make exceptions of them."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response, request

from distilq import errors as e

from ..problems import PROBLEM_JSON

PATHS = frozenset({"/", "/generate", "/generate_stream", "/info", "/health"})

#: TGI's status and type by our code. Its clients know no others; what is missing here, such as a
#: key that is wrong, keeps its status and has no type.
KINDS: dict[str, tuple[int, str]] = {
    error.code: kind
    for kind, family in {
        (422, "validation"): (
            *(e.InvalidParameters, e.PromptTooLong, e.EmptyPrompt),
            *(e.JobTooLarge, e.InvalidToken),
        ),
        (429, "overloaded"): (
            *(e.QueueFull, e.OwnerFull, e.RateLimited),
            *(e.StoreFull, e.TooManyWaiting),
        ),
        (424, "generation"): (e.GenerationFailed, e.Poisoned, e.Canceled),
        (500, "incomplete_generation"): (e.TimedOut, e.StartedTooLate, e.NotFinishedInTime),
        (503, "healthcheck"): (e.NoWorker,),
    }.items()
    for error in family
}


def install(app: Flask) -> None:
    app.after_request(_in_tgis_words)


def status_of(error: type[e.DistilqError]) -> int:
    """The HTTP status under which TGI's routes answer it."""
    return KINDS.get(error.code, (error.status, ""))[0]


def body(problem: dict[str, Any]) -> dict[str, Any]:
    """TGI's error for a problem object."""
    _, kind = _kind(problem)
    known = {"error_type": kind, "errors": problem.get("errors")}
    return {"error": _sentence(problem)} | {name: it for name, it in known.items() if it}


def _in_tgis_words(response: Response) -> Response:
    if response.mimetype == PROBLEM_JSON and request.path in PATHS:
        problem: dict[str, Any] = response.get_json()
        response.status_code, _ = _kind(problem)
        response.set_data(json.dumps(body(problem), ensure_ascii=False) + "\n")
        response.content_type = "application/json"
    return response


def _kind(problem: dict[str, Any]) -> tuple[int, str]:
    code = problem["type"].removeprefix(e.PROBLEM_PREFIX)
    return KINDS.get(code, (problem["status"], ""))


def _sentence(problem: dict[str, Any]) -> str:
    said = [_of_field(entry) for entry in problem.get("errors", [])]
    detail = "; ".join(said) or problem.get("detail", "")
    return f"{problem['title']}: {detail}" if detail else str(problem["title"])


def _of_field(entry: dict[str, str]) -> str:
    where = entry.get("pointer", "").removeprefix("#/") or entry.get("header", "")
    return f"`{where}` {entry['detail']}" if where else entry["detail"]
