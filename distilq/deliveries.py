"""What is known of telling a job's webhook: attempts, and what comes next."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Literal

from pydantic import BaseModel, Field

from distilq import keys
from distilq.connection import RedisClient

#: Attempts of a job's webhook that are kept; more can only come of asking for it again and again.
ATTEMPTS_KEPT = 50

#: Why there was no answer. Categories: more would tell of networks that are not the client's.
Trouble = Literal[
    "host_not_allowed",
    "name_not_resolved",
    "address_not_allowed",
    "not_connected",
    "tls_failed",
    "timed_out",
    "no_answer",
]

State = Literal["pending", "delivered", "failed"]


class Attempt(BaseModel):
    """One attempt; it has a status or an error."""

    at: datetime
    status: int | None = Field(None, description="of the receiver's answer; any 2xx is a delivery")
    error: Trouble | None = Field(None, description="why there was no answer")
    duration_ms: int


class Deliveries(BaseModel):
    """How telling a job's webhook goes."""

    state: State | None = Field(
        None, description="null: the job has no webhook, none for its end, or has not ended"
    )
    next_try_at: datetime | None = None
    attempts: list[Attempt] = Field(default=[], description=f"the last {ATTEMPTS_KEPT}")


def read(redis: RedisClient, job_id: str) -> Deliveries:
    """Raises redis.RedisError."""
    found: dict[bytes, bytes] = redis.hgetall(keys.delivery(job_id))
    if not found:
        return Deliveries()
    last = int(found.get(b"attempts", b"0"))
    kept = (found.get(b"attempt:%d" % n) for n in range(last - ATTEMPTS_KEPT + 1, last + 1))
    due = found.get(b"next")
    return Deliveries.model_validate(
        {
            "state": found[b"state"].decode(),
            "next_try_at": due and datetime.fromtimestamp(int(due) / 1000, timezone.utc),
            "attempts": [Attempt.model_validate_json(entry) for entry in kept if entry],
        }
    )
