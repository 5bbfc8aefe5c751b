"""`distilq dead`: jobs that killed their workers, and messages that nobody could read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distilq.cli.errors import CannotRun, one_line_errors
from distilq.cli.options import AsJson, running_redis, settings_with
from distilq.cli.table import table, without_password

if TYPE_CHECKING:  # it imports redis, which a bare install has not
    from distilq.connection import RedisClient
    from distilq.dead import DeadEntry, DeadList

dead = typer.Typer(
    help="Look after jobs that killed their workers and messages nobody could read.",
    no_args_is_help=True,
)

RedisUrl = Annotated[str | None, typer.Option(help="The Redis that the service uses.")]
DataDir = Annotated[Path | None, typer.Option(help="That of the running `distilq up`.")]
Model = Annotated[
    str | None, typer.Option(help="Whose queue; by default that of the workers alive now.")
]
Id = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]


@dead.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: AsJson = False,
    model: Model = None,
    redis_url: RedisUrl = None,
    data_dir: DataDir = None,
) -> None:
    """List the entries, the newest first."""
    with one_line_errors(), _dead_list(model, redis_url, data_dir) as found:
        head = ("id", "died", "reason", "deaths", "owner")
        typer.echo(table([head, *map(_row, found.entries(limit))], as_json=as_json))


@dead.command()
def show(
    entry_id: Id, model: Model = None, redis_url: RedisUrl = None, data_dir: DataDir = None
) -> None:
    """Print an entry as JSON: its history, its message and its request, with the prompt."""
    with one_line_errors(), _dead_list(model, redis_url, data_dir) as found:
        typer.echo(found.get(entry_id).model_dump_json(indent=2))


@dead.command()
def requeue(
    entry_id: Id, model: Model = None, redis_url: RedisUrl = None, data_dir: DataDir = None
) -> None:
    """Submit the request anew, as its owner's; prints the new job's id."""
    with one_line_errors(), _dead_list(model, redis_url, data_dir) as found:
        typer.echo(found.requeue(entry_id).id)


@dead.command()
def drop(
    entry_id: Id, model: Model = None, redis_url: RedisUrl = None, data_dir: DataDir = None
) -> None:
    """Forget an entry."""
    with one_line_errors(), _dead_list(model, redis_url, data_dir) as found:
        found.drop(entry_id)
        typer.echo(f"dropped {entry_id}")


def _row(entry: DeadEntry) -> tuple[str, ...]:
    died = entry.died_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return (entry.id, died, entry.reason, str(len(entry.history)), entry.owner or "-")


@contextmanager
def _dead_list(
    model: str | None, redis_url: str | None, data_dir: Path | None
) -> Iterator[DeadList]:
    """The dead list of the service. Raises CannotRun, also of what is done to it."""
    from redis.exceptions import RedisError

    from distilq.connection import connect
    from distilq.dead import DeadList
    from distilq.errors import DistilqError
    from distilq.store import JobStore

    settings = settings_with(redis_url=redis_url, data_dir=data_dir, model=model)
    url = running_redis(settings)
    try:
        with connect(url) as redis:
            name = settings.model if settings.model != "auto" else _served(redis)
            yield DeadList(JobStore(redis, settings.model_copy(update={"model": name})))
    except ValueError as error:
        raise CannotRun(f"{without_password(url)} is not the address of a Redis: {error}") from None
    except RedisError as error:
        raise CannotRun(f"the Redis at {without_password(url)}: {error}") from None
    except DistilqError as error:
        raise CannotRun(error.detail or error.title) from None


def _served(redis: RedisClient) -> str:
    """The model of the workers that beat now."""
    from distilq.cluster import WorkerState
    from distilq.keys import WORKERS, worker

    states = [redis.get(worker(found.decode())) for found in redis.zrange(WORKERS, 0, -1)]
    models = {WorkerState.model_validate_json(state).model for state in states if state}
    if len(models) != 1:
        said = f"workers serve {', '.join(sorted(models))}" if models else "no worker is alive"
        raise CannotRun(f"{said}: name the model with --model")
    return models.pop()
