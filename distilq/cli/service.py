"""The service that a command talks to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from distilq.cli.errors import CannotRun, note

if TYPE_CHECKING:  # it imports httpx: not for `distilq --help`
    from distilq.client import Client

#: How often a request is sent again: by a command that answers at once (within half a second, if
#: nobody listens), and by one that has begun something that a restart of the API must not end.
QUICK, PATIENT = 1, 8
#: Seconds of silence after which a service counts as away.
SILENCE_S = 15.0


@dataclass(frozen=True)
class Service:
    """Options of every command that talks to a service."""

    url: Annotated[
        str | None,
        typer.Option(envvar="DISTILQ_URL", help="Where it serves; default: http://127.0.0.1:8000."),
    ] = None
    api_key: Annotated[
        str | None, typer.Option(envvar="DISTILQ_API_KEY", help="Needed where keys are asked for.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an object per line.")] = False


def connect(service: Service, retries: int = QUICK) -> Client:
    """Raises CannotRun: the address or the key cannot be one."""
    from distilq.client import Client

    try:
        return Client(service.url, api_key=service.api_key, timeout=SILENCE_S, retries=retries)
    except ValueError as error:
        raise CannotRun(f"{error} (--url, --api-key)") from None


def patient(service: Service) -> Client:
    """A client for something that takes long, once the service has been seen to be there."""
    with connect(service) as client:
        if not client.info().serving:
            note("no worker is alive: jobs wait until one starts")
    return connect(service, PATIENT)
