"""The Prefer header (RFC 7240): how long a client wants to wait for the answer."""

from __future__ import annotations

import re

from flask import Response, request

from .context import settings

#: Text up to the next comma outside quotes.
PART = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
WORD = r"[\w!#$%&'*+.^`|~-]"
#: A name, perhaps with a value, perhaps with parameters that mean nothing to us.
PREFERENCE = re.compile(
    rf'\s*(?P<name>{WORD}+)(?:\s*=\s*(?:"(?P<quoted>[^"\\]*)"|(?P<token>{WORD}*)))?\s*(?:;|$)',
    re.ASCII,
)


def preferences(header: str) -> dict[str, str]:
    """Value by lower-case name; of two equal names the first counts."""
    found: dict[str, str] = {}
    for part in PART.findall(header):
        if match := PREFERENCE.match(part):
            found.setdefault(match["name"].lower(), match["quoted"] or match["token"] or "")
    return found


def seconds_to_wait() -> int | None:
    """The `wait` preference of this request, clamped to the limit; None if absent or no number."""
    value = preferences(request.headers.get("Prefer", "")).get("wait", "")
    if not re.fullmatch(r"[0-9]+", value):
        return None
    # Four digits are over any limit; without the cut, int() would refuse more than 4300.
    return min(int(value.lstrip("0")[:4] or "0"), settings().max_wait_s)


def note_applied(response: Response, wait_s: int | None) -> Response:
    """Say in the response what was made of the preference."""
    response.headers["Vary"] = "Prefer"
    if wait_s is not None:
        response.headers["Preference-Applied"] = f"wait={wait_s}"
    return response
