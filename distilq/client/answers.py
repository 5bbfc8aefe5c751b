"""Answers -> models, or the errors that they tell of."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from distilq import errors
from distilq.errors import PROBLEM_PREFIX, DistilqError, RequestError, Unavailable
from distilq.retry_after import retry_after_s

from .errors import UnexpectedAnswer
from .steps import Answer

Model = TypeVar("Model", bound=BaseModel)

#: Members that every problem has; the others are its class's own.
STANDARD = frozenset({"type", "title", "status", "retryable", "detail", "instance"})
#: Statuses that say that the same request may succeed later, whoever answers with them.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


def parsed(model: type[Model], answer: Answer) -> Model:
    """The body as a model. Fields that a newer service has added are left out.

    Raises:
        DistilqError: what the answer tells of.
        UnexpectedAnswer: it is no such model.
    """
    check(answer)
    try:
        return model.model_validate_json(answer.body, extra="ignore")
    except ValidationError as error:
        reason = f"no {model.__name__}: {_shown(answer)}"
        raise _with_request_id(UnexpectedAnswer(reason), answer) from error


def check(answer: Answer) -> None:
    """Raise what the answer tells of, unless it is a success."""
    if not 200 <= answer.status < 300:
        raise _with_request_id(_error(answer), answer)


def of_problem(problem: dict[str, Any]) -> DistilqError:
    """The error of a problem object; one of an unknown type is of a class after its status."""
    code = str(problem.get("type", "")).removeprefix(PROBLEM_PREFIX)
    status = problem.get("status")
    status = status if isinstance(status, int) else 500
    kind = BY_CODE.get(code) or _general(status)
    error = kind(str(problem.get("detail") or ""))
    error.code, error.status = code, status
    error.title = str(problem.get("title") or error.title)
    error.retryable = bool(problem.get("retryable", status in TRANSIENT))
    error.members = {name: value for name, value in problem.items() if _is_member(name, value)}
    error.args = (_message(error),)
    return error


def _is_member(name: str, value: Any) -> bool:
    """Whether it is one, of a type that is worked with: others write problems too."""
    if name == "retry_after_s":
        return isinstance(value, (int, float)) and 0 <= value < float("inf")
    return name not in STANDARD and (name != "errors" or isinstance(value, list))


def _error(answer: Answer) -> DistilqError:
    problem = _problem(answer)
    if problem is None and answer.status < 400:
        where = answer.headers.get("location", "nowhere")
        return UnexpectedAnswer(f"{_status_line(answer.status)}, which leads to {where}")
    if problem is None:
        detail = f"no problem of distilq's, but {_shown(answer)}"
        problem = {"title": _status_line(answer.status), "detail": detail}
    error = of_problem({**problem, "status": answer.status})
    if "retry_after_s" not in error.members and "retry-after" in answer.headers:
        error.members["retry_after_s"] = retry_after_s(answer.headers["retry-after"])
    return error


def _problem(answer: Answer) -> dict[str, Any] | None:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("type"), str) else None


def _general(status: int) -> type[DistilqError]:
    if status in TRANSIENT - {500}:
        return Unavailable
    return RequestError if status < 500 else DistilqError


def _message(error: DistilqError) -> str:
    """The whole in one line: what a user sees who catches nothing."""
    places = [_field(entry) for entry in error.errors if isinstance(entry, dict)]
    return ": ".join([error.title, *filter(None, [error.detail, "; ".join(places)])])


def _field(entry: dict[str, Any]) -> str:
    name = entry.get("pointer") or entry.get("parameter") or entry.get("header")
    return f"{name} {entry.get('detail', '')}"


def _shown(answer: Answer) -> str:
    """The beginning of a body, for whoever has to find out who sent it."""
    media_type = answer.headers.get("content-type", "a body without a type")
    return f"{media_type}, {answer.body[:80].decode(errors='replace')!r}"


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _with_request_id(error: DistilqError, answer: Answer) -> DistilqError:
    error.request_id = answer.headers.get("x-request-id")
    return error


BY_CODE: dict[str, type[DistilqError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DistilqError) and "code" in vars(kind)
}
