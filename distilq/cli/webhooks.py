"""`distilq webhooks`: the dispatcher, and secrets for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distilq.cli.errors import CannotRun, one_line_errors
from distilq.cli.options import running_redis, settings_with
from distilq.cli.table import without_password
from distilq.settings import Settings

webhooks = typer.Typer(help="Tell receivers of the ends of jobs.", no_args_is_help=True)


@webhooks.command()
def run(
    redis_url: Annotated[str | None, typer.Option(help="The Redis that the service uses.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="That of the running `distilq up`.")] = None,
) -> None:
    """Send webhooks until Ctrl-C. Several may run at once."""
    with one_line_errors():
        settings = settings_with(redis_url=redis_url, data_dir=data_dir)
        if not settings.webhook_hosts:
            raise CannotRun("set DISTILQ_WEBHOOK_HOSTS: the hosts that may be told")
        keys, url = checked_secrets(settings), running_redis(settings)
        from distilq.webhooks import program
        from distilq.webhooks.rules import Rules

        try:
            program.run(settings, url, Rules.of(settings), keys)
        except ValueError as error:
            said = f"{without_password(url)} is not the address of a Redis: {error}"
            raise CannotRun(said) from None


@webhooks.command()
def secret() -> None:
    """Print a new secret for DISTILQ_WEBHOOK_SECRETS."""
    from distilq.webhooks.signing import new_secret

    typer.echo(new_secret())


def checked_secrets(settings: Settings) -> tuple[bytes, ...]:
    """Raises CannotRun: there are none, or they are not as they should be."""
    from distilq.webhooks.signing import read_secrets

    try:
        return read_secrets(settings.webhook_secrets.get_secret_value())
    except ValueError as error:
        said = f"DISTILQ_WEBHOOK_SECRETS {error} (`distilq webhooks secret` prints a new one)"
        raise CannotRun(said) from None
