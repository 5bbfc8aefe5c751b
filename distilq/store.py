"""JobStore: the job life cycle in Redis. The record is the single truth.

Every transition is one Lua call (`lua/`), so that a process may die between any two lines here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from distilq.cluster import JobPage, QueueState, WorkerState
from distilq.jobs import Job, JobRequest, JobStatus


class Jobs(Protocol):
    """What the API needs of a store; `JobStore` and `testing.MemoryStore` both have it."""

    def submit(self, request: JobRequest) -> Job:
        """Write the record and queue the message, together; the job as it then stands.

        Raises:
            QueueFull: a cap on queued jobs or tokens is reached; `retry_after_s` among its members.
            StoreUnavailable: Redis cannot be reached (every method here may raise it).
        """

    def submit_many(self, requests: Sequence[JobRequest]) -> list[str]:
        """All of them or none; ids in the requests' order. Raises what `submit` does."""

    def get(self, job_id: str) -> Job:
        """Raises JobNotFound or JobGone (with `expired_at`)."""

    def get_many(self, job_ids: Sequence[str]) -> list[Job | str]:
        """In the order of the ids: the job, or the string "unknown" or "gone"."""

    def wait(self, job_id: str, timeout_s: float) -> Job:
        """The job once it is final, or as it stands after `timeout_s`. Raises what `get` does."""

    def cancel(self, job_id: str) -> Job:
        """Cancel it: a queued job is canceled at once, a running one becomes `canceling`.

        A job that is already final is returned as it is. Raises what `get` does.
        """

    def delete(self, job_id: str) -> None:
        """Forget a final job's text. Raises what `get` does, and JobNotFinished."""

    def page(self, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        """Newest first. Raises InvalidParameters on a cursor that is none."""

    def queue(self) -> QueueState: ...

    def workers(self) -> list[WorkerState]:
        """The workers alive now, oldest first."""

    def ping(self) -> None:
        """Raises StoreUnavailable."""
