"""`distilq keys`: make, list and revoke API keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from distilq.cli.errors import CannotRun, one_line_errors
from distilq.cli.options import AsJson, running_redis, settings_with
from distilq.cli.table import table, without_password

if TYPE_CHECKING:  # it imports redis, which a bare install has not
    from distilq.access import ApiKey, KeyRing

keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

RedisUrl = Annotated[str | None, typer.Option(help="The Redis that the service uses.")]
DataDir = Annotated[Path | None, typer.Option(help="That of the running `distilq up`.")]
Most = Annotated[int, typer.Option(min=0, max=2**52, help="0: no limit.")]


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for.")],
    admin: Annotated[
        bool, typer.Option("--admin", help="It may pause and purge, and sees all jobs.")
    ] = False,
    rate: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Jobs submitted per minute; 0: no limit.")
    ] = 0,
    max_queued_jobs: Most = 0,
    max_queued_tokens: Most = 0,
    max_in_flight: Most = 0,
    redis_url: RedisUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key. Its token is printed once; nobody can tell it again."""
    with one_line_errors(), _ring(redis_url, data_dir) as ring:
        from distilq.access import Limits

        limits = Limits(
            rate_per_minute=rate,
            max_queued_jobs=max_queued_jobs,
            max_queued_tokens=max_queued_tokens,
            max_in_flight=max_in_flight,
        )
        key = _key(name, admin, limits)
        typer.echo(ring.create(key))
        typer.echo(f"the key {key.id} of {key.name}; keep it, it is not shown again", err=True)


@keys.command("list")
def list_(as_json: AsJson = False, redis_url: RedisUrl = None, data_dir: DataDir = None) -> None:
    """List the keys, oldest first; 0: no limit."""
    with one_line_errors(), _ring(redis_url, data_dir) as ring:
        head = ("id", "created", "scopes", "rate", "queued jobs", "queued tokens", "in flight")
        rows = [(*head, "name"), *map(_row, ring.all())]
        typer.echo(table(rows, as_json=as_json))


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    redis_url: RedisUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Forget a key; within seconds it opens nothing. Its jobs go on, for admins to see."""
    with one_line_errors(), _ring(redis_url, data_dir) as ring:
        if not ring.revoke(key_id):
            raise CannotRun("no key has this id")  # what was given may be a token: not repeated
        typer.echo(f"revoked {key_id}")


def _key(name: str, admin: bool, limits: object) -> ApiKey:
    from distilq.access import ApiKey

    scopes = ("jobs", "admin") if admin else ("jobs",)
    try:
        return ApiKey.model_validate({"name": name, "scopes": scopes, "limits": limits})
    except ValidationError:
        raise CannotRun("a name has 1 to 100 printable characters") from None


def _row(key: ApiKey) -> tuple[str, ...]:
    of = key.limits
    limits = (of.rate_per_minute, of.max_queued_jobs, of.max_queued_tokens, of.max_in_flight)
    created = key.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return (key.id, created, ",".join(key.scopes), *map(str, limits), key.name)


@contextmanager
def _ring(redis_url: str | None, data_dir: Path | None) -> Iterator[KeyRing]:
    """The ring in the Redis that the service uses. Raises CannotRun, also of what is done to it."""
    from distilq.access import KeyRing
    from distilq.connection import connect
    from distilq.errors import Unavailable

    url = running_redis(settings_with(redis_url=redis_url, data_dir=data_dir))
    name = without_password(url)
    try:
        redis = connect(url)
    except ValueError as error:
        raise CannotRun(f"{name} is not the address of a Redis: {error}") from None
    try:
        with redis:
            yield KeyRing(redis)
    except Unavailable as error:
        raise CannotRun(f"the Redis at {name}: {error.detail or error.title}") from None
