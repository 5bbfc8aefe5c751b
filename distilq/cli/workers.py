"""`distilq workers`: who works, and who is to take no more jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from distilq.cli.errors import STATUSES, one_line_errors
from distilq.cli.service import Service, connect
from distilq.cli.spread import spread
from distilq.cli.table import columns
from distilq.cluster import WorkerState

workers = typer.Typer(
    help="List workers; let one end what it holds and take no more jobs.", no_args_is_help=True
)

Id = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]


@workers.command("list", epilog=STATUSES)
@spread
def list_(*, service: Service) -> None:
    """List the workers that are alive, the oldest first."""
    with one_line_errors(), connect(service) as client:
        found = client.workers()
        if service.as_json:
            for worker in found:
                typer.echo(worker.model_dump_json())
        elif found:
            head = ("id", "host", "rows", "waiting", "takes jobs", "model")
            typer.echo(columns([head, *map(_row, found)]))


@workers.command(epilog=STATUSES)
@spread
def drain(worker_id: Id, *, service: Service) -> None:
    """Let a worker end what it holds and take no more jobs. It stays; needs an admin's key."""
    with one_line_errors(), connect(service) as client:
        _print(client.drain_worker(worker_id), as_json=service.as_json)


@workers.command(epilog=STATUSES)
@spread
def resume(worker_id: Id, *, service: Service) -> None:
    """Let a worker take jobs again. Needs an admin's key."""
    with one_line_errors(), connect(service) as client:
        _print(client.resume_worker(worker_id), as_json=service.as_json)


def _print(worker: WorkerState, *, as_json: bool) -> None:
    if as_json:
        typer.echo(worker.model_dump_json())
    elif worker.draining:
        typer.echo(f"{worker.id} takes no more jobs; {worker.rows} rows are in its batch")
    else:
        typer.echo(f"{worker.id} takes jobs")


def _row(worker: WorkerState) -> tuple[str, ...]:
    takes = "no" if worker.draining else "yes"
    rows = f"{worker.rows}/{worker.max_rows}"
    return (worker.id, worker.host, rows, str(worker.waiting), takes, worker.model)
