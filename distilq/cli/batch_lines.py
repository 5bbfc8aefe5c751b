"""Lines of `distilq batch`: what each asks for, as the body of a POST /v1/jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from distilq.cli.batch_openai import job_of_completion
from distilq.errors import DistilqError, InvalidParameters, MalformedJson, PayloadTooLarge
from distilq.jobs import JobRequest

#: Fields of a line that are the job's; any other is a parameter.
JOB_FIELDS = frozenset(JobRequest.model_fields) - {"inputs", "parameters"}
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Line:
    """A line that is not blank; `request` or `error` says what it is."""

    #: From 1, blank lines counted.
    number: int
    custom_id: str | None = None
    request: Mapping[str, Any] | None = None
    error: DistilqError | None = None


def numbered(file: BinaryIO, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank; of a longer one than `most_bytes` only its beginning."""
    number = 0
    while raw := file.readline(most_bytes + 1):
        number += 1
        rest = raw
        while len(rest) > most_bytes and not rest.endswith(b"\n"):
            rest = file.readline(most_bytes + 1) or b"\n"
        if number == 1:
            raw = raw.removeprefix(BOM)
        if raw.strip():
            yield number, raw


def parsed(number: int, raw: bytes, most_bytes: int, models: frozenset[str]) -> Line:
    """The line, also one that asks for nothing that could be done. `models` are what is served."""
    custom_id = None
    try:
        if len(raw) > most_bytes:
            raise PayloadTooLarge(f"a line has at most {most_bytes:,} bytes")
        value = _json(raw)
        if isinstance(value, dict):
            custom_id = _custom_id(value)
        return Line(number, custom_id, request=_request(value, models))
    except DistilqError as error:
        return Line(number, custom_id, error=error)


def _json(raw: bytes) -> Any:
    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number of JSON")

    try:
        return json.loads(raw.decode(), parse_constant=refuse)
    except RecursionError:
        raise MalformedJson("it is nested too deeply") from None
    except ValueError as error:
        raise MalformedJson(str(error)) from None


def _custom_id(value: dict[str, Any]) -> str | None:
    found = value.pop("custom_id", None)
    if found is not None and not isinstance(found, str):
        raise wrong("#/custom_id", "must be a string")
    return found


def _request(value: Any, models: frozenset[str]) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"inputs": value}
    if not isinstance(value, dict):
        raise wrong("#", "must be a string, or an object with a prompt")
    return _of_openai(value, models) if "body" in value else _of_object(value)


def _of_object(value: dict[str, Any]) -> Mapping[str, Any]:
    """{"prompt" or "inputs": …, and any parameters}."""
    if ("prompt" in value) == ("inputs" in value):
        raise wrong("#", 'must have a "prompt", or "inputs"')
    inputs = value.pop("prompt") if "prompt" in value else value.pop("inputs")
    given = value.pop("parameters", {})
    if not isinstance(given, dict):
        raise wrong("#/parameters", "must be an object")
    fields = {name: value.pop(name) for name in JOB_FIELDS & value.keys()}
    return {"inputs": inputs, **fields, "parameters": {**given, **value}}


def _of_openai(value: dict[str, Any], models: frozenset[str]) -> Mapping[str, Any]:
    """{"method": "POST", "url": …, "body": …}."""
    body, url = value["body"], value.get("url")
    if value.get("method", "POST") != "POST":
        raise wrong("#/method", "must be POST")
    if not isinstance(body, dict):
        raise wrong("#/body", "must be an object")
    if url == "/v1/completions":
        return job_of_completion(body, models)
    if url != "/v1/jobs":
        raise wrong("#/url", "must be /v1/completions or /v1/jobs")
    if "inputs" not in body or not isinstance(body.get("parameters", {}), dict):
        raise wrong("#/body", 'must have "inputs", and "parameters" be an object')
    return body


def wrong(pointer: str, detail: str) -> InvalidParameters:
    return InvalidParameters(errors=[{"pointer": pointer, "code": "invalid", "detail": detail}])
