"""From the environment and the options of a command to settings, and to a Redis."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from distilq.cli.errors import CannotRun
from distilq.cli.redis_address import read_address
from distilq.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, an object per line.")]


def settings_with(**options: Any) -> Settings:
    """The environment's settings, with the options that were given over them.

    Raises:
        CannotRun: one of them cannot be.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        option = f" (or --{name.replace('_', '-')})" if name in options else ""
        said = f"DISTILQ_{name.upper()}{option}: {wrong['msg']}, not {wrong['input']!r}"
        raise CannotRun(said) from None


def running_redis(settings: Settings) -> str:
    """The address of the Redis that was named, else of the `distilq up` in the data directory.

    Raises:
        CannotRun: there is neither. The default address is no answer: another Redis may be there.
    """
    if "redis_url" in settings.model_fields_set:
        return settings.redis_url
    address = read_address(settings.data_dir)
    if address is None:
        raise CannotRun(
            f"no `distilq up` runs with the data directory {settings.data_dir.absolute()}:"
            " name it with --data-dir, or a Redis with --redis-url"
        )
    return address
