"""Who asks, and whether they may: `Authorization: Bearer dq_…` before every view."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil
from typing import cast

from flask import Flask, Response, current_app, g, request

from distilq.access import ApiKey, Limits, Ring
from distilq.errors import (
    Forbidden,
    InvalidParameters,
    RateLimited,
    StoreUnavailable,
    Unauthorized,
)
from distilq.jobs import MAX_BATCH_JOBS
from distilq.loopback import keys_required
from distilq.owner import EVERYBODY, Owner
from distilq.rates import WINDOW_S
from distilq.settings import Auth

from . import problems

#: Endpoints that answer whoever asks. They say nothing of anybody's jobs.
OPEN = frozenset(
    {
        *("status.livez", "status.readyz", "tgi.health"),
        *("pages.index", "pages.dashboard", "pages.about", "pages.web", "pages.openapi"),
    }
)

#: Blueprints of the routes that need the admin scope.
ADMIN = frozenset({"admin", "dead"})

#: RFC 6750; the name of the scheme is case-insensitive.
BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)


@dataclass
class Door:
    """Whether keys are asked for, and the ring they are looked up in."""

    auth: Auth
    ring: Ring | None
    required: bool

    def settle(self, hosts: Iterable[str]) -> bool:
        """Decide, now that it is known where the API listens."""
        self.required = keys_required(self.auth, hosts)
        return self.required


def install(app: Flask, auth: Auth, ring: Ring | None) -> None:
    """Let nobody in without a key, unless they are off.

    Where `auto` has to be decided before it is known where the API listens, keys are required: an
    application in another server than ours never opens by itself.
    """
    door = Door(auth, ring, required=keys_required(auth, ()))
    if door.required and ring is None:
        raise ValueError("keys are required and there is no ring to look them up in")
    app.extensions["distilq.door"] = door
    app.before_request(_admit)
    app.register_error_handler(Unauthorized, _challenge)


def required() -> bool:
    return _door().required


def shown() -> ApiKey | None:
    """The key that came with the request; None where keys are off."""
    key: ApiKey | None = g.get("key")
    return key


def revoked() -> Callable[[], bool]:
    """What tells whether the request's key has been revoked since, also after the view.

    While Redis is away none has.
    """
    key, ring = shown(), _door().ring

    def gone() -> bool:
        try:
            return key is not None and ring is not None and ring.find(key.id) is None
        except StoreUnavailable:
            return False

    return gone


def spend(jobs: int) -> None:
    """Take so many submissions from the rate of the request's key, if it has one.

    Raises:
        RateLimited: not now.
        InvalidParameters: never; they are more than the key may have in a whole window.
    """
    key: ApiKey | None = g.get("key")
    ring = _door().ring
    if key is None or ring is None:
        return
    limit = key.limits.rate_per_minute
    if limit and jobs > limit:
        detail = f"must have at most {limit} items: so many jobs may your key submit per minute"
        entry = {"pointer": "#/jobs", "code": "out_of_range", "detail": detail}
        raise InvalidParameters(errors=[entry])
    g.quota = quota = ring.spend(key, jobs)
    if quota is not None and not quota.taken:
        detail = f"at most {limit} jobs per minute; {quota.left} are left now"
        raise RateLimited(detail, limit=limit, retry_after_s=ceil(quota.retry_s))


def most_at_once() -> int:
    """How many jobs the request's key can have admitted together, with nothing else of its own."""
    key: ApiKey | None = g.get("key")
    limits = Limits() if key is None else key.limits
    caps = (limits.rate_per_minute, limits.max_queued_jobs, limits.max_in_flight)
    return min((cap for cap in caps if cap), default=MAX_BATCH_JOBS)


def act_for(owner: str) -> bool:
    """Let what follows in this application context be done for an owner; whether its key is there.

    Raises StoreUnavailable.
    """
    ring = _door().ring
    g.key = ring.find(owner) if owner and ring else None
    g.owner = EVERYBODY if not owner else g.key.owner() if g.key else Owner(owner)
    return g.key is not None or not owner


def add_quota(response: Response) -> None:
    """The fields of draft-ietf-httpapi-ratelimit-headers-09, where a rate has been looked at."""
    if (quota := g.get("quota")) is not None:
        response.headers["RateLimit-Policy"] = f'"submit";q={quota.limit};w={WINDOW_S}'
        response.headers["RateLimit"] = f'"submit";r={quota.left};t={ceil(quota.whole_s)}'


def _door() -> Door:
    return cast(Door, current_app.extensions["distilq.door"])


def _admit() -> None:
    if not required():
        g.owner = EVERYBODY
    elif request.endpoint is not None and request.endpoint not in OPEN:
        g.key = key = _key()
        if request.blueprint in ADMIN and not key.is_admin:
            raise Forbidden("it lacks the scope admin")
        g.owner = key.owner()


def _key() -> ApiKey:
    given = BEARER.fullmatch(request.headers.get("Authorization", ""))
    if given is None:
        raise Unauthorized("send it as Authorization: Bearer dq_…")
    ring = _door().ring
    key = ring.verify(given[1]) if ring else None
    if key is None:
        raise Unauthorized("this one is unknown, or has been revoked")
    return key


def _challenge(error: Unauthorized) -> Response:
    response = problems.answer(error)
    refused = "Authorization" in request.headers
    response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"' if refused else "Bearer"
    return response
