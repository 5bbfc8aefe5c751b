"""What clients were promised, and what they saw of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

FINAL = {"succeeded", "failed", "canceled", "expired"}

#: What is wrong with a succeeded job, as its texts show; None if nothing is.
CheckText = Callable[[Json, Json], "str | None"]


@dataclass
class Asked:
    """A request, and what else its end depends on."""

    request: Json
    #: Its prompt kills every worker, so it must end as poisoned.
    crashes: bool = False
    canceled: bool = False


@dataclass
class Ledger:
    """Accepted jobs and the first final state seen of each. Safe to use from any thread."""

    check_text: CheckText
    asked: dict[str, Asked] = field(default_factory=dict)
    seen: dict[str, Json] = field(default_factory=dict)
    duplicated: dict[str, str] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, job_id: str, asked: Asked) -> None:
        with self._lock:
            if job_id in self.asked:
                self.unexpected.append(f"{job_id} was given out twice")
            self.asked[job_id] = asked

    def count(self, what: str) -> None:
        """An answer that is part of the game: a lost connection, a 503."""
        with self._lock:
            self.answers[what] += 1

    def wrong(self, what: str) -> None:
        with self._lock:
            self.unexpected.append(what)

    def see(self, job: Json) -> bool:
        """Take note of a job object; whether it is final."""
        with self._lock:
            before = self.seen.get(job["id"])
            if job["status"] not in FINAL:
                if before is not None:
                    self.duplicated[job["id"]] = f"was {before['status']}, is {job['status']}"
                return False
            if before is None:
                self.seen[job["id"]] = job
                self.unexpected += self._complaints(job)
            elif before != job:
                self.duplicated[job["id"]] = f"{_difference(before, job)}"
            return True

    def unfinished(self) -> list[str]:
        with self._lock:
            return [job_id for job_id in self.asked if job_id not in self.seen]

    def _complaints(self, job: Json) -> list[str]:
        why = self._why_wrong(job, self.asked[job["id"]])
        return [f"{job['id']}: {why}"] if why else []

    def _why_wrong(self, job: Json, asked: Asked) -> str | None:
        status = job["status"]
        if asked.crashes:
            poisoned = (job["error"] or {}).get("type", "").endswith(":poisoned")
            return None if poisoned else f"kills workers, yet it is {status}"
        if status == "succeeded":
            return self.check_text(asked.request, job)
        if status == "canceled" and asked.canceled:
            return None
        if status == "expired" and "start_within_s" in asked.request:
            return None
        return f"{status} without a cause: {job['error']}"


def _difference(before: Json, after: Json) -> dict[str, Any]:
    return {k: (before[k], after.get(k)) for k in before if before[k] != after.get(k)}
