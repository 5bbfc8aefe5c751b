"""Problems -> OpenAI's error bodies, on its routes; all else of an answer stays as it is.

Who says that it accepts problems gets those, there too.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from flask import Flask, Response, request

from distilq.errors import PROBLEM_PREFIX, DistilqError

from ..problems import PROBLEM_JSON

#: Also of routes below them, and of methods that they do not have.
PATHS = ("/v1/completions", "/v1/models", "/v1/files", "/v1/batches")

#: Codes that OpenAI has names of its own for.
CODES = {
    "unauthorized": "invalid_api_key",
    "prompt_too_long": "context_length_exceeded",
    "rate_limited": "rate_limit_exceeded",
}

#: Of jobs that failed by what their request says.
PARAMS = {"prompt_too_long": "prompt", "empty_prompt": "prompt", "model_not_found": "model"}


def install(app: Flask) -> None:
    app.after_request(_in_openais_words)


def status_of(error: type[DistilqError]) -> int:
    """The HTTP status under which OpenAI's routes answer it."""
    return _status(error.status, error.code)


def body(problem: dict[str, Any]) -> dict[str, Any]:
    """The error object for a problem object."""
    code = _code(problem)
    entries = problem.get("errors") or []
    first = entries[0] if entries else {}
    return {
        "error": {
            "message": "; ".join(map(_sentence, entries)) or _words(problem),
            "type": _type(_status(problem["status"], code)),
            "param": _param(first) or PARAMS.get(code),
            "code": first.get("code") or CODES.get(code, code) or None,
        }
    }


def answered(problem: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and body with which a request that met this problem is answered."""
    return _status(problem["status"], _code(problem)), body(problem)


def _in_openais_words(response: Response) -> Response:
    path = request.path
    if response.mimetype != PROBLEM_JSON or PROBLEM_JSON in request.accept_mimetypes.values():
        return response
    if not any(path == ours or path.startswith(f"{ours}/") for ours in PATHS):
        return response
    problem: dict[str, Any] = response.get_json()
    response.status_code, answer = answered(problem)
    response.set_data(json.dumps(answer, ensure_ascii=False) + "\n")
    response.content_type = "application/json"
    if not problem["retryable"]:
        # openai's client would otherwise repeat whatever is 409 or above 499.
        response.headers["X-Should-Retry"] = "false"
    return response


def _status(status: int, code: str) -> int:
    """As OpenAI answers what is wrong with fields, and that there is no room for more."""
    if code == "queue_full":
        return 429
    return 400 if status == 422 else status


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def _code(problem: dict[str, Any]) -> str:
    """Empty where it is none of ours."""
    kind: str = problem["type"]
    return kind.removeprefix(PROBLEM_PREFIX) if kind.startswith(PROBLEM_PREFIX) else ""


def _words(problem: dict[str, Any]) -> str:
    return ": ".join(filter(None, (problem["title"], problem.get("detail"))))


def _sentence(entry: dict[str, str]) -> str:
    return f"{_param(entry) or 'the body'}: {entry['detail']}"


def _param(entry: dict[str, str]) -> str | None:
    """Which field it is, as `prompt[2]`; in OpenAI's words rather than as a JSON pointer."""
    if "pointer" not in entry:
        return entry.get("parameter") or entry.get("header")
    steps = entry["pointer"].removeprefix("#").split("/")[1:]
    names = [unquote(step).replace("~1", "/").replace("~0", "~") for step in steps]
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(names)) or None
