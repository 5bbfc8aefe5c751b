"""What both drivers tell httpx, and what they make of its errors and answers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import httpx

from .errors import ConnectionFailed, NoAnswerInTime, UnexpectedAnswer
from .steps import Answer, Send

#: Seconds until a connection has to stand; a machine that is there answers in far less.
CONNECT_S = 10.0
#: Every route's errors are problems then, also of those that otherwise speak OpenAI's language.
ACCEPT = "application/json, application/problem+json"
#: Any number of connections: how many may wait is for the service to say, and it does.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)


def settings(
    base_url: str | None, api_key: str | None, timeout: float, headers: Mapping[str, str] | None
) -> dict[str, Any]:
    """Arguments of httpx.Client and httpx.AsyncClient.

    Raises:
        ValueError: the address is none of HTTP, or the key cannot be sent in a header.
    """
    url = base_url or os.environ.get("DISTILQ_URL") or "http://127.0.0.1:8000"
    key = os.environ.get("DISTILQ_API_KEY") if api_key is None else api_key
    sent = {"User-Agent": f"distilq/{_version()}", "Accept": ACCEPT, **(headers or {})}
    if key:
        if not key.isascii() or not key.isprintable():
            raise ValueError("api_key has characters that no API key has")
        sent["Authorization"] = f"Bearer {key}"
    return {
        "base_url": _checked(url),
        "headers": sent,
        "timeout": httpx.Timeout(timeout, connect=min(CONNECT_S, timeout)),
        "limits": LIMITS,
    }


def built(http: httpx.Client | httpx.AsyncClient, step: Send) -> httpx.Request:
    silence = min((http.timeout.read or 0.0) + step.wait_s, step.limit_s)
    silence = max(silence, 0.05)  # 0 would fail before it was tried
    other = min(http.timeout.connect or CONNECT_S, silence)
    headers = dict(step.headers)
    if step.body is not None:
        headers["Content-Type"] = "application/json"
    return http.build_request(
        step.method,
        step.path,
        content=step.body,
        data=step.form and dict(step.form),
        files=step.file and {"file": step.file},
        params=dict(step.params) or None,
        headers=headers,
        timeout=httpx.Timeout(silence, connect=other),
    )


def answer_of(response: httpx.Response, body: bytes = b"") -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, body)


@contextmanager
def translated(http: httpx.Client | httpx.AsyncClient) -> Iterator[None]:
    """Errors of httpx as those of distilq."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise NoAnswerInTime(f"{_shown(http)}: {_reason(error)}") from error
    except httpx.DecodingError as error:
        raise UnexpectedAnswer(f"{_shown(http)}: {_reason(error)}") from error
    except httpx.TransportError as error:
        raise ConnectionFailed(f"{_shown(http)}: {_reason(error)}") from error


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url {url!r} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"base_url must be like http://127.0.0.1:8000, not {url!r}")
    if parsed.query or parsed.fragment:
        raise ValueError(f"base_url must end with its path, unlike {url!r}")
    return parsed


def _shown(http: httpx.Client | httpx.AsyncClient) -> str:
    return f"{http.base_url.scheme}://{http.base_url.netloc.decode()}"  # no user, no password


def _reason(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def _version() -> str:
    try:
        return metadata.version("distilq")
    except metadata.PackageNotFoundError:  # used from a checkout that is not installed
        return "unknown"
