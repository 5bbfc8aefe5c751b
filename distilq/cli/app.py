"""The commands and their options; what they do is in the siblings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from distilq.cli.errors import CannotRun
from distilq.cli.table import settings_table
from distilq.settings import Settings

app = typer.Typer(
    help="Text generation with DistilGPT2 as durable jobs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Each holds one model.")] = 1,
    model: Annotated[
        str | None,
        typer.Option(help="auto, distilgpt2, bundled, a directory, random:distilgpt2."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, float16, bfloat16 or int8.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where Redis keeps its files.")] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Join this Redis instead of starting one.")
    ] = None,
    allow_volatile: Annotated[
        bool | None,
        typer.Option("--allow-volatile", help="Use even a Redis that may lose or evict jobs."),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page.")] = False,
) -> None:
    """Start everything on this machine: Redis, the API and the workers. Ctrl-C stops it."""
    with _one_line_errors():
        from distilq.cli.up import Listen, run

        settings = _settings(
            model=model,
            precision=precision,
            data_dir=data_dir,
            redis_url=redis_url,
            allow_volatile=allow_volatile,
        )
        run(settings, Listen(host, port, open_browser), workers)


@app.command()
def settings() -> None:
    """List every DISTILQ_* variable with its value, its default and what it is for."""
    with _one_line_errors():
        typer.echo(settings_table(_settings()))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("distilq"))


def _settings(**options: Any) -> Settings:
    """The environment's settings, with the options that were given over them."""
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        option = f" (or --{name.replace('_', '-')})" if name in options else ""
        said = f"DISTILQ_{name.upper()}{option}: {wrong['msg']}, not {wrong['input']!r}"
        raise CannotRun(said) from None


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except CannotRun as error:
        typer.echo(f"distilq: {error}", err=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        typer.echo(f"distilq: {error.name} is missing: pip install 'distilq[all]'", err=True)
        sys.exit(1)
