"""`distilq doctor`: what is in order, what is not, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from distilq.cli.checks import Check, service_checks
from distilq.cli.errors import Exit, one_line_errors
from distilq.cli.options import settings_with
from distilq.cli.service import Service, connect
from distilq.cli.spread import spread
from distilq.settings import Settings

COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


@spread
def doctor(
    *,
    redis_url: Annotated[str | None, typer.Option(help="The Redis that the service uses.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="That of the running `distilq up`.")] = None,
    service: Service,
) -> None:
    """Look for what keeps a service from working, and say what to do about it.

    The exit status is 1 if something fails.
    """
    with one_line_errors():
        settings = settings_with(redis_url=redis_url, data_dir=data_dir)
        failed = False
        for check in _checks(service, settings):
            failed = failed or check.state == "fail"
            _print(check, as_json=service.as_json)
        if failed:
            raise typer.Exit(Exit.PROBLEM)


def _checks(service: Service, settings: Settings) -> Iterator[Check]:
    from distilq.cli.checks_machine import machine_checks
    from distilq.cli.checks_redis import redis_checks

    with connect(service) as client:
        yield from service_checks(client, with_key=bool(service.api_key))
    yield from redis_checks(settings)
    yield from machine_checks(settings)


def _print(check: Check, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(check)))
        return
    line = Text.assemble(
        (f"{check.state:<5}", COLOURS[check.state]),
        f"{check.name:<9} ",
        " ".join(check.said.split()),
    )
    if check.advice:
        line.append(f"\n{'':<15}→ {check.advice}")
    Console(highlight=False, soft_wrap=True).print(line)
