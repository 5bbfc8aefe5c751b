"""What can go wrong on the client's side; what the service says is in `distilq.errors`.

DistilqError
└── ClientError
    ├── ConnectionFailed       no answer came, or it broke off
    │   └── NoAnswerInTime     none within the client's timeout
    ├── WaitTimedOut           your wait is over; the job goes on
    └── UnexpectedAnswer       what answered is no distilq that this client knows
"""

from __future__ import annotations

from typing import Any

from distilq.errors import DistilqError


class ClientError(DistilqError):
    """Base of what only the client knows of; `status` is 0."""

    code, title, status = "client_error", "The client failed", 0

    def __init__(self, detail: str = "", **members: Any) -> None:
        super().__init__(detail, **members)
        self.args = (f"{self.title}: {detail}" if detail else self.title,)


class ConnectionFailed(ClientError):
    code, title = "connection_failed", "The service cannot be reached"
    retryable = True


class NoAnswerInTime(ConnectionFailed):
    code, title = "no_answer_in_time", "The service did not answer in time"


class WaitTimedOut(ClientError):
    """The job still runs, or is still queued, unless `canceled` is true; `job_id` names it."""

    code, title = "wait_timed_out", "The job did not finish within your timeout"
    retryable = True

    @property
    def canceled(self) -> bool:
        return bool(self.members.get("canceled"))


class UnexpectedAnswer(ClientError):
    code, title = "unexpected_answer", "The answer is none of distilq's"
