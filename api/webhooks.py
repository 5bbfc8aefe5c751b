"""Webhooks of jobs that are submitted: only to hosts that the operator has named."""

from __future__ import annotations

from collections.abc import Iterable

from distilq.errors import InvalidParameters
from distilq.jobs import JobRequest
from distilq.webhooks.rules import Rules

from .context import settings
from .invalid import MOST_ERRORS, pointer

Place = tuple[int | str, ...]


def refuse_strange_hosts(requests: Iterable[tuple[Place, JobRequest]]) -> None:
    """Look at the webhooks of these requests, each with its place in the body.

    Raises:
        InvalidParameters: webhooks are off, or one has an address that may not be told.
    """
    rules = Rules.of(settings())
    found = (_wrong(rules, place, request) for place, request in requests if request.webhook)
    errors = [entry for entry in found if entry]
    if errors:
        raise InvalidParameters(errors=errors[:MOST_ERRORS])


def _wrong(rules: Rules, place: Place, request: JobRequest) -> dict[str, str] | None:
    if request.webhook is None:
        return None
    if rules.off:
        where, code, detail = (*place, "webhook"), "webhooks_off", "this service tells no webhooks"
    else:
        where, code = (*place, "webhook", "url"), "not_allowed"
        detail = rules.refusal(request.webhook.url)
    return {"pointer": pointer(where), "code": code, "detail": detail} if detail else None
