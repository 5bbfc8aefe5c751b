"""The dead list in memory, as `DeadList` keeps it in Redis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from distilq import record
from distilq.deaths import DeadPage, DeadSummary, cursor_of, place_of
from distilq.errors import NotOnDeadList, NotRequeueable
from distilq.jobs import Job, JobRequest


@dataclass
class Graves:
    """What is on the list, and of those who hold a request, which, and whose."""

    entries: dict[str, DeadSummary] = field(default_factory=dict)
    requests: dict[str, tuple[JobRequest, str]] = field(default_factory=dict)


class MemoryDead:
    """`deaths.Dead` of a store in memory."""

    def __init__(self, graves: Graves, submit: Callable[[JobRequest, str], Job]) -> None:
        self._graves, self._submit = graves, submit

    def page(self, limit: int, cursor: str | None, *, with_texts: bool = False) -> DeadPage:
        found = sorted(self._graves.entries.values(), key=_order, reverse=True)
        if cursor is not None:
            place = place_of(cursor)
            found = [entry for entry in found if _order(entry) < place]
        shown = [self._with_texts(entry) if with_texts else entry for entry in found[:limit]]
        rest = len(found) > limit
        following = cursor_of(shown[-1].id, _order(shown[-1])[0]) if rest else None
        return DeadPage(entries=shown, next=following, total=len(self._graves.entries))

    def requeue(self, entry_id: str) -> Job:
        self._entry(entry_id)
        if entry_id not in self._graves.requests:
            raise NotRequeueable(f"there is nothing to run in {entry_id}")
        job = self._submit(*self._graves.requests[entry_id])
        self.drop(entry_id)
        return job

    def drop(self, entry_id: str) -> None:
        self._entry(entry_id)
        del self._graves.entries[entry_id]

    def _entry(self, entry_id: str) -> DeadSummary:
        if entry_id not in self._graves.entries:
            raise NotOnDeadList(f"{entry_id} is not on the dead list")
        return self._graves.entries[entry_id]

    def _with_texts(self, entry: DeadSummary) -> DeadSummary:
        request, _ = self._graves.requests.get(entry.id, (None, ""))
        raw = request and record.shown(record.stored(request).encode())
        return entry.model_copy(update={"message": f"message of {entry.id}", "request": raw})


def _order(entry: DeadSummary) -> tuple[int, str]:
    return round(entry.died_at.timestamp() * 1000), entry.id
