"""The Retry-After header, of a service that a client asks and of a receiver of webhooks alike."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

#: Digits that are read: more seconds than anybody waits.
DIGITS = 9


def retry_after_s(header: str) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 if it is none."""
    if header.isascii() and header.isdigit():
        return float(header[:DIGITS])
    try:
        at = parsedate_to_datetime(header)
    except (ValueError, OverflowError):  # the second: a year of twenty digits
        return 0.0
    if at.tzinfo is None:  # `-0000`
        at = at.replace(tzinfo=timezone.utc)
    return max((at - datetime.now(timezone.utc)).total_seconds(), 0.0)
