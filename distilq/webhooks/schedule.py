"""When a webhook is sent again, and when nobody tries any more."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Literal

#: Seconds from one attempt to the next: ten attempts over 27.7 hours.
PAUSES_S = (5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000, 36_000)

#: Each pause is drawn from this much below to this much above it, so that what failed at once does
#: not come again at once.
JITTER = 0.2

#: Longest Retry-After, in seconds, that is taken for what it says.
MOST_RETRY_AFTER_S = 86_400

GONE = 410


@dataclass(frozen=True)
class Next:
    """What becomes of a webhook after an attempt; `pause_s` counts while it is pending."""

    state: Literal["pending", "delivered", "failed"]
    pause_s: float = 0.0


def after(status: int | None, retry_after: str, tries: int) -> Next:
    """What follows from the answer to attempt number `tries`; `status` None: there was none."""
    if status is not None and 200 <= status < 300:
        return Next("delivered")
    if status == GONE or tries > len(PAUSES_S):
        return Next("failed")
    # No secret: it spreads load.
    drawn = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # nosec B311
    return Next("pending", max(PAUSES_S[tries - 1] * drawn, retry_after_s(retry_after)))


def retry_after_s(header: str) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 if it is none."""
    if header.isascii() and header.isdigit():
        return float(min(int(header[:9]), MOST_RETRY_AFTER_S))
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    if at.tzinfo is None:  # `-0000`
        at = at.replace(tzinfo=timezone.utc)
    left_s = (at - datetime.now(timezone.utc)).total_seconds()
    return min(max(left_s, 0.0), MOST_RETRY_AFTER_S)
