"""The dead list: jobs that killed their workers, and messages that nobody could read.

Nothing here is ever tried again by itself, and nothing is dropped but by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from distilq import keys, record
from distilq.connection import RedisClient, reaches_redis
from distilq.deaths import MESSAGE_SHOWN, POISONED, DeadPage, DeadSummary, cursor_of, place_of
from distilq.errors import NotOnDeadList, NotRequeueable
from distilq.jobs import Job, JobRequest
from distilq.once import Once
from distilq.owner import Owner

if TYPE_CHECKING:  # it has this as a part
    from distilq.store import JobStore

#: What a page reads of each entry, and what it reads too where texts are asked for.
FACTS, TEXTS = ("reason", "owner", "history"), ("message", "request")


class DeadEntry(BaseModel):
    id: str
    died_at: datetime
    #: poisoned: its workers died; unreadable: no message of ours; unknown: of a job without record;
    #: foreign: of another model's job.
    reason: str
    #: Its deaths: worker, when it was started, when its lease lapsed.
    history: list[dict[str, Any]] = []
    message: str
    request: str | None = None
    owner: str = ""


class DeadList:
    """The dead list of one store's model. Any method may raise StoreUnavailable."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._redis: RedisClient = store.redis
        self._index = keys.dead(store.model)

    @reaches_redis
    def entries(self, limit: int = 100) -> list[DeadEntry]:
        """The newest first."""
        return [
            self.get(entry_id.decode())
            for entry_id in self._redis.zrevrange(self._index, 0, limit - 1)
        ]

    @reaches_redis
    def __len__(self) -> int:
        return int(self._redis.zcard(self._index))

    @reaches_redis
    def page(self, limit: int, cursor: str | None, *, with_texts: bool = False) -> DeadPage:
        """The newest first, and of those that died together the last id; what is dropped meanwhile
        moves nothing. Raises InvalidParameters on a cursor that is none."""
        newest, total = self._behind(cursor, limit + 1)
        names = FACTS + (TEXTS if with_texts else ())
        pipe = self._redis.pipeline(transaction=False)
        for entry_id, _ in newest[:limit]:
            pipe.hmget(self._entry(entry_id), *names)
        found = [dict(zip(names, values, strict=True)) for values in pipe.execute()]
        rest = len(newest) > limit
        return DeadPage(
            entries=[
                _summary(entry_id, died_ms, fields)
                for (entry_id, died_ms), fields in zip(newest, found, strict=False)
                if fields["reason"] is not None  # dropped since
            ],
            next=cursor_of(*newest[limit - 1]) if rest else None,
            total=total,
        )

    @reaches_redis
    def get(self, entry_id: str) -> DeadEntry:
        """Raises NotOnDeadList."""
        died_ms = self._redis.zscore(self._index, entry_id)
        raw = self._redis.hgetall(self._entry(entry_id))
        if died_ms is None or not raw:
            raise NotOnDeadList(f"{entry_id} is not on the dead list")
        found = {name.decode(): value.decode(errors="replace") for name, value in raw.items()}
        found["history"] = json.loads(found.pop("history", "[]"))
        return DeadEntry(id=entry_id, died_at=_moment(died_ms), **found)

    @reaches_redis
    def requeue(self, entry_id: str) -> Job:
        """Submit the request anew, as its owner's, under a new id: a final state never changes.

        Asked for twice, as after an answer that was lost, it is one job.

        Raises:
            NotOnDeadList, NotRequeueable, and what `JobStore.submit` does.
        """
        entry = self.get(entry_id)
        if entry.request is None:
            raise NotRequeueable(f"{entry_id} is {entry.reason}: there is nothing to run")
        try:
            request = JobRequest.model_validate_json(entry.request)
        except ValidationError:  # of another version: the message would quote the prompt
            raise NotRequeueable(f"the request of {entry_id} cannot be read") from None
        store = self._store.owned_by(Owner(entry.owner, sees_all=True))
        job = store.submit(request, Once(key=f"dead {entry_id}", fingerprint="requeue"))
        with suppress(NotOnDeadList):  # somebody else has requeued it at the same time
            self.drop(entry_id)
        return job

    @reaches_redis
    def drop(self, entry_id: str) -> None:
        """Raises NotOnDeadList."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.zrem(self._index, entry_id)
        pipe.delete(self._entry(entry_id))
        if not pipe.execute()[0]:
            raise NotOnDeadList(f"{entry_id} is not on the dead list")

    def _behind(self, cursor: str | None, most: int) -> tuple[list[tuple[str, int]], int]:
        """Ids with the time of their death behind a cursor, and how many entries there are."""
        below, last = ("+inf", "") if cursor is None else place_of(cursor)
        pipe = self._redis.pipeline(transaction=True)
        pipe.zrangebyscore(self._index, below, below, withscores=True)
        pipe.zrevrangebyscore(self._index, f"({below}", "-inf", 0, most, withscores=True)
        pipe.zcard(self._index)
        together, older, total = pipe.execute()
        rest = [(i, ms) for i, ms in reversed(together) if i.decode() < last]
        return [(i.decode(), int(ms)) for i, ms in [*rest, *older][:most]], total

    def _entry(self, entry_id: str) -> str:
        return keys.dead_entry(self._store.model, entry_id)


def _summary(entry_id: str, died_ms: int, fields: Mapping[str, bytes | None]) -> DeadSummary:
    found = {name: (value or b"").decode(errors="replace") for name, value in fields.items()}
    request = fields.get("request")
    return DeadSummary(
        id=entry_id,
        died_at=_moment(died_ms),
        reason=found["reason"],
        owner=found["owner"],
        history=json.loads(found["history"] or "[]"),
        requeueable=found["reason"] == POISONED,
        message=found.get("message", "")[:MESSAGE_SHOWN] or None,
        request=record.shown(request) if request else None,
    )


def _moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, timezone.utc)
