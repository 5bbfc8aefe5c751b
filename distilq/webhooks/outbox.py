"""The outbox in Redis: webhooks that are due, leased to one dispatcher at a time.

Whoever writes a job's end puts it there in the same script (`leave_word` in `lua/_common.lua`). An
entry leaves only by `end`; a dispatcher that dies leaves it to another, once the lease has lapsed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple

from pydantic_core import from_json

from distilq import keys
from distilq.connection import RedisClient
from distilq.deliveries import ATTEMPTS_KEPT, Attempt
from distilq.record import iso, urls
from distilq.scripts import Scripts
from distilq.webhooks.schedule import Next
from distilq.webhooks.sending import ATTEMPT_S, Answer

#: Seconds for which an entry belongs to who took it: an attempt, and Redis slow before and after.
LEASE_S = 2 * ATTEMPT_S


class Entry(NamedTuple):
    """A webhook that this dispatcher is to send."""

    id: str
    fence: int
    #: Counts from 1; from 1 again when somebody has asked for it anew.
    tries: int
    host: str


class Message(NamedTuple):
    """What is sent: the same at every attempt, whatever happens between."""

    id: str
    url: str
    body: bytes


class Outbox:
    """Any method may raise redis.RedisError."""

    def __init__(self, redis: RedisClient) -> None:
        self.redis = redis
        self._scripts = Scripts(redis)

    def take(self, room: int, per_host: int, room_of: Mapping[str, int]) -> list[Entry]:
        """Lease up to `room` entries that are due, `per_host` of a host or what `room_of` says."""
        pairs = [each for pair in room_of.items() for each in pair]
        found = self._scripts.take_webhooks(args=[round(LEASE_S * 1000), room, per_host, *pairs])
        return [Entry(i.decode(), fence, tries, host.decode()) for i, fence, tries, host in found]

    def message(self, entry: Entry) -> Message | None:
        """None if the job is gone meanwhile."""
        status, completed, request = self.redis.hmget(
            keys.job(entry.id), "status", "completed", "request"
        )
        if request is None:
            return None
        asked = from_json(request)
        body = {
            "type": f"job.{status.decode()}",
            "timestamp": iso(int(completed)),
            "data": {
                "id": entry.id,
                "status": status.decode(),
                "urls": urls(entry.id).model_dump(),
                "metadata": asked.get("metadata", {}),
            },
        }
        sent = json.dumps(body, separators=(",", ":")).encode()
        return Message(f"msg_{entry.id}", asked["webhook"]["url"], sent)

    def end(self, entry: Entry, answer: Answer, then: Next) -> str | None:
        """Note an attempt and what follows; the state now, None if another dispatcher has it."""
        attempt = Attempt(
            at=datetime.fromtimestamp(answer.at_ms / 1000, timezone.utc),
            status=answer.status,
            error=answer.trouble,
            duration_ms=answer.duration_ms,
        )
        logged = attempt.model_dump_json(exclude_none=True)
        args: list[str | int] = [entry.id, entry.fence, then.state, round(then.pause_s * 1000)]
        args += [logged, ATTEMPTS_KEPT]
        state = self._scripts.end_webhook(args=args)
        return None if state is None else state.decode()
