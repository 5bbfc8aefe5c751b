"""Requests that are sent again: when, how often, and after which pause."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from time import monotonic

from distilq.errors import DistilqError, IdempotencyInFlight, JobError

from .answers import TRANSIENT, check
from .errors import ConnectionFailed
from .steps import Answer, Flow, Send, Wait

#: Seconds: pauses are drawn evenly from 0 to a bound that doubles from FIRST_S to MOST_S ("full
#: jitter", Brooker 2015), so that clients that failed together do not come back together.
FIRST_S, MOST_S = 0.5, 8.0
#: Seconds of a Retry-After that are waited for; a longer one is for the caller to decide upon.
RETRY_AFTER_S = 120.0


class Deadline:
    """A moment, so many seconds from now; never, without a number."""

    def __init__(self, timeout_s: float | None) -> None:
        self._ends = float("inf") if timeout_s is None else monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        return max(0.0, self._ends - monotonic())


NEVER = Deadline(None)


@dataclass
class Backoff:
    """How often in a row something has failed, and how long to pause for it."""

    retries: int
    failures: int = 0

    def reset(self) -> None:
        self.failures = 0

    def pause_s(self, least_s: float = 0.0) -> float:
        """Seconds to pause after another failure, `least_s` and some more."""
        bound = min(MOST_S, FIRST_S * 2 ** min(self.failures, 10))
        self.failures += 1
        # No secret.
        return least_s + random.uniform(0, bound)  # noqa: S311  # nosec B311

    def after(self, error: DistilqError, deadline: Deadline = NEVER) -> float:
        """The same after `error`; raises it if trying again is of no use, or not in time."""
        wait_s = error.retry_after_s or 0.0
        if self.failures >= self.retries or not transient(error) or wait_s > RETRY_AFTER_S:
            raise error
        if wait_s >= deadline.left_s:
            raise error
        return min(self.pause_s(wait_s), deadline.left_s)


def transient(error: DistilqError) -> bool:
    """Whether the same request may be answered otherwise in some seconds."""
    if isinstance(error, (ConnectionFailed, IdempotencyInFlight)):
        return True
    return error.status in TRANSIENT and error.retryable and not isinstance(error, JobError)


def ask(
    request: Send,
    retries: int,
    deadline: Deadline = NEVER,
    at_once: tuple[type[DistilqError], ...] = (),
) -> Flow[Answer]:
    """A successful answer. What submits must bear an Idempotency-Key.

    Raises:
        DistilqError: what the answer tells of, or ConnectionFailed, after `retries` more tries.
    """
    backoff = Backoff(retries)
    while True:
        try:
            answer: Answer = yield replace(request, limit_s=deadline.left_s)
            check(answer)
            return answer
        except at_once:
            raise
        except DistilqError as error:
            pause_s = backoff.after(error, deadline)
        yield Wait(pause_s)
