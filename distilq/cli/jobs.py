"""`distilq wait`, `status`, `cancel` and `ls`: jobs by their ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from time import monotonic
from typing import Annotated

import typer

from distilq.cli.errors import note, one_line_errors, said_of, status_of
from distilq.cli.service import Service, connect, patient
from distilq.cli.spread import spread
from distilq.cli.table import columns
from distilq.cli.text import read_words, write_texts
from distilq.errors import DistilqError, JobGone, JobNotFound
from distilq.jobs import Job, JobStatus

Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="-: ids from standard input.")]


@spread
def wait(
    ids: Ids,
    *,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds for all of them together.")
    ] = None,
    service: Service,
) -> None:
    """Wait for jobs, and print their texts. Ctrl-C leaves the jobs alone."""
    from distilq.client.results import result_of

    with one_line_errors(), patient(service) as client:
        ends = None if timeout is None else monotonic() + timeout

        def ended(job_id: str) -> None:
            left_s = None if ends is None else max(0.0, ends - monotonic())
            job = client.job(job_id).wait(left_s)
            if service.as_json:
                typer.echo(job.model_dump_json())
            texts = result_of(job).texts  # raises how else it has ended
            if not service.as_json:
                write_texts(chain.from_iterable(texts))

        _each(read_words(ids), ended)


@spread
def status(ids: Ids, *, service: Service) -> None:
    """Say where jobs stand."""
    with one_line_errors(), connect(service) as client:
        found = client.statuses(read_words(ids))
        _print([job for job in found if isinstance(job, Job)], as_json=service.as_json)
        missing = [job for job in found if not isinstance(job, Job)]
        for job in missing:
            lost = JobGone if job.status == "gone" else JobNotFound
            note(f"job {job.id}: {lost.title}")
        if missing:
            raise typer.Exit(status_of(JobNotFound()))


@spread
def cancel(ids: Ids, *, service: Service) -> None:
    """Cancel jobs; one that has ended stays as it is."""
    with one_line_errors(), connect(service) as client:

        def canceled(job_id: str) -> None:
            job = client.job(job_id).cancel()
            said = job.model_dump_json() if service.as_json else f"{job.id} {job.status.value}"
            typer.echo(said)

        _each(read_words(ids), canceled)


@spread
def ls(
    *,
    wanted: Annotated[
        JobStatus | None, typer.Option("--status", help="Only those that stand so.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    service: Service,
) -> None:
    """List jobs, the newest first."""
    with one_line_errors(), connect(service) as client:
        found = islice(client.jobs(wanted), limit)
        _print(found, as_json=service.as_json)


def _each(ids: Iterator[str], act: Callable[[str], None]) -> None:
    """Every one of them; the exit status is that of the first that went wrong."""
    worst = 0
    for job_id in ids:
        try:
            act(job_id)
        except DistilqError as error:
            if error.code == "connection_failed":
                raise
            note(said_of(error) if error.job_id else f"job {job_id}: {said_of(error)}")
            worst = worst or status_of(error)
    if worst:
        raise typer.Exit(worst)


def _print(jobs: Iterable[Job], *, as_json: bool) -> None:
    if as_json:
        for job in jobs:
            typer.echo(job.model_dump_json())
    elif rows := [_row(job) for job in jobs]:
        typer.echo(columns([("id", "status", "priority", "submitted", "what"), *rows]))


def _row(job: Job) -> tuple[str, ...]:
    submitted = job.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return (job.id, job.status.value, job.queue.priority.value, submitted, _what(job))


def _what(job: Job) -> str:
    if job.error:
        return str(job.error.get("detail") or job.error.get("title"))
    if job.status is JobStatus.QUEUED:
        return f"position {job.queue.position}" if job.queue.position else ""
    done = job.usage.generated_tokens if job.status.final else job.progress.tokens_done
    return f"{done} of at most {job.progress.tokens_max} tokens"
