"""Rows as the sampler sees them, made without an engine."""

from __future__ import annotations

from typing import Any

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from worker.rows import ActiveJob, Prompt, Row


def make_row(
    prompt: list[int],
    tokens: list[int] | None = None,
    *,
    index: int = 0,
    sequence: int = 0,
    **asked: Any,
) -> Row:
    parameters = Parameters(**({"seed": 1} | asked))
    request = JobRequest(inputs=tuple(prompt), parameters=parameters)
    job = ActiveJob("key", request, submitted_at=0.0)
    row = Row(Prompt(job, index, "", prompt, 50), sequence, parameters, parameters.seed or 0)
    row.tokens = list(tokens or [])
    return row
