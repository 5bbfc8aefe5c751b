"""What the client gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distilq.errors import Canceled, DistilqError, GenerationFailed, StartedTooLate
from distilq.jobs import Job, JobStatus, Sequence

from .answers import of_problem
from .options import Inputs


@dataclass(frozen=True)
class Result:
    """The texts of a job that succeeded."""

    job: Job

    @property
    def sequences(self) -> list[list[Sequence]]:
        """Per input its texts, each with its seed, finish reason and number of tokens."""
        return self.job.result or []

    @property
    def texts(self) -> list[list[str]]:
        """Per input its texts."""
        return [[each.generated_text for each in sequences] for sequences in self.sequences]

    @property
    def text(self) -> str:
        """The first text of the first input."""
        return self.texts[0][0]


@dataclass(frozen=True)
class Mapped:
    """What became of one prompt of a map: a result, or an error."""

    #: Of the prompt, from 0 in the order in which they came.
    index: int
    prompt: Inputs | Mapping[str, Any]
    result: Result | None = None
    error: DistilqError | None = None

    @property
    def text(self) -> str:
        """The first text; raises the error if there is none."""
        return self.outcome.text

    @property
    def outcome(self) -> Result:
        """The result; raises the error if there is none."""
        if self.result is None:
            raise self.error or GenerationFailed()
        return self.result


def error_of(job: Job) -> DistilqError:
    """Why a job ended without its texts."""
    unsaid = {JobStatus.CANCELED: Canceled, JobStatus.EXPIRED: StartedTooLate}
    problem = job.error or unsaid.get(job.status, GenerationFailed)().problem()
    return of_problem({**problem, "job_id": job.id, "job_status": job.status.value})


def result_of(job: Job) -> Result:
    """The result of a job that is final; raises the error of one that did not succeed."""
    if job.status is not JobStatus.SUCCEEDED:
        raise error_of(job)
    return Result(job)
