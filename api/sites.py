"""Where keys are off, no page of another site may change anything: a browser would let it try.

With keys the Authorization header is what other pages lack, and a browser asks before it lets one
send that. Without them a form on any page reaches a service on loopback.
"""

from __future__ import annotations

from flask import Flask, request

from distilq.errors import CrossSite

from .auth import required

#: They change nothing, and what they answer no other site can read.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

#: Of Sec-Fetch-Site. `same-site` is not among them: it is said of other ports of this machine too.
OWN = frozenset({"same-origin", "none"})


def install(app: Flask) -> None:
    app.before_request(_refuse_others)


def _refuse_others() -> None:
    if request.method in SAFE or request.endpoint is None or required():
        return
    if not _is_own():
        raise CrossSite("keys are off here, and then only this service's own pages may change it")


def _is_own() -> bool:
    """Whether the request comes from a page of ours, or from no page: a program says neither."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site in OWN
    return origin is None or origin.partition("://")[2].lower() == request.host.lower()
