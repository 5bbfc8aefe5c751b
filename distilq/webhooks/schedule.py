"""When a webhook is sent again, and when nobody tries any more."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from distilq.retry_after import retry_after_s

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
    asked_s = min(retry_after_s(retry_after), MOST_RETRY_AFTER_S)
    return Next("pending", max(PAUSES_S[tries - 1] * drawn, asked_s))
