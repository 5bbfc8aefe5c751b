"""The commands and their options; what they do is in the siblings."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from distilq.cli import jobs
from distilq.cli.batch import batch
from distilq.cli.dead import dead
from distilq.cli.doctor import doctor
from distilq.cli.errors import STATUSES, CannotRun, one_line_errors
from distilq.cli.generate import generate
from distilq.cli.keys import keys
from distilq.cli.options import AsJson, settings_with
from distilq.cli.submit import submit
from distilq.cli.table import settings_rows, table
from distilq.cli.top import top
from distilq.cli.webhooks import webhooks
from distilq.cli.workers import workers as workers_group

app = typer.Typer(
    help="Text generation with DistilGPT2 as durable jobs.",
    epilog=STATUSES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (generate, submit, jobs.wait, jobs.status, jobs.cancel, jobs.ls, batch, top, doctor):
    app.command(epilog=STATUSES)(command)
app.add_typer(keys, name="keys")
app.add_typer(dead, name="dead")
app.add_typer(webhooks, name="webhooks")
app.add_typer(workers_group, name="workers")


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
    with one_line_errors():
        from distilq.cli.up import Listen, run

        settings = settings_with(
            model=model,
            precision=precision,
            data_dir=data_dir,
            redis_url=redis_url,
            allow_volatile=allow_volatile,
        )
        run(settings, Listen(host, port, open_browser), workers)


@app.command()
def evaluate(
    text: Annotated[str, typer.Option(help="A file in UTF-8; -: standard input.")],
    model: Annotated[str | None, typer.Option(help="As of `distilq up`.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, float16, bfloat16 or int8.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="Tokens the model sees at once; default: all its positions.")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Tokens from window to window; default: half a window.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Perplexity of a text, computed by the worker's own forward pass."""
    with one_line_errors():
        from distilq.cli.evaluate import run

        settings = settings_with(model=model, precision=precision)
        run(settings, text, stride=stride, window=window, as_json=as_json)


@app.command()
def settings(as_json: AsJson = False) -> None:
    """List every DISTILQ_* variable with its value, its default and what it is for."""
    with one_line_errors():
        typer.echo(table(settings_rows(settings_with()), as_json=as_json))


@app.command()
def acl(
    model: Annotated[
        list[str] | None, typer.Option(help="Served from this Redis; may be given repeatedly.")
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="Its database counts.")] = None,
) -> None:
    """Print Redis users for the parts of the service, as ACL SETUSER commands for redis-cli."""
    with one_line_errors():
        from distilq.acl import lines
        from distilq.connection import database

        settings = settings_with(redis_url=redis_url)
        models = model or [settings.model]
        if "auto" in models:  # the worker finds out at its start which one that is
            raise CannotRun("name the model that the workers serve with --model")
        typer.echo("\n".join(lines(models, database(settings.redis_url))))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("distilq"))
