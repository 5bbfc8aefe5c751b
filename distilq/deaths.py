"""The dead list as clients see it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel, Field

from distilq.errors import InvalidParameters
from distilq.jobs import ID_PATTERN, Job

#: The reason of those that hold a request.
POISONED = "poisoned"

#: Ids: of jobs, and of messages that nobody could read.
ENTRY_ID = re.compile(f"{ID_PATTERN.pattern}|message-[0-9a-f]{{40}}")

#: What `Dead.page` gives as `next`: when the page's last entry died, and which it is.
CURSOR = re.compile(f"([0-9a-f]{{1,13}})-({ENTRY_ID.pattern})")

#: Characters of a message that are shown: one that is none of ours may be of any length.
MESSAGE_SHOWN = 2_000


class Death(BaseModel):
    """A worker whose lease of the job lapsed; times are of Redis' clock."""

    worker: str
    started_ms: int
    lapsed_ms: int


class DeadSummary(BaseModel):
    """An entry of the dead list, without what anybody wrote unless that was asked for."""

    id: str
    died_at: datetime
    reason: str = Field(description="poisoned: its workers died; unreadable, unknown, foreign")
    owner: str = Field("", description="the key that submitted it; empty: nobody's")
    history: list[Death] = []
    requeueable: bool
    message: str | None = Field(None, description="the beginning of the message in the queue")
    request: dict[str, Any] | None = Field(None, description="as it was submitted")


class DeadPage(BaseModel):
    entries: list[DeadSummary]
    next: str | None = Field(description="cursor of the next page; null on the last one")
    total: int


class Dead(Protocol):
    """What the API needs of a dead list. Any method may raise StoreUnavailable."""

    def page(self, limit: int, cursor: str | None, *, with_texts: bool = False) -> DeadPage:
        """The newest first. Raises InvalidParameters on a cursor that is none."""

    def requeue(self, entry_id: str) -> Job:
        """Submit the request anew, as its owner's, under a new id: a final state never changes.

        Asked for twice, as after an answer that was lost, it is one job.

        Raises:
            NotOnDeadList, NotRequeueable, and what `Jobs.submit` does.
        """

    def drop(self, entry_id: str) -> None:
        """Raises NotOnDeadList."""


def place_of(cursor: str) -> tuple[int, str]:
    """When the entry died behind which a page begins, and its id. Raises InvalidParameters."""
    found = CURSOR.fullmatch(cursor)
    if found is None:
        entry = {"parameter": "cursor", "code": "invalid"}
        raise InvalidParameters(errors=[{**entry, "detail": "must be the `next` of a page"}])
    return int(found[1], 16), found[2]


def cursor_of(entry_id: str, died_ms: int) -> str:
    return f"{died_ms:x}-{entry_id}"
