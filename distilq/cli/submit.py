"""`distilq submit`: jobs that nobody waits for yet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distilq.cli.errors import one_line_errors
from distilq.cli.sampling import Sampling
from distilq.cli.service import Service, connect
from distilq.cli.spread import spread
from distilq.cli.text import read_lines, read_prompt
from distilq.jobs import Priority

if TYPE_CHECKING:
    from distilq.client import Client

#: Lines that are submitted at once, all or none.
CHUNK = 500


@dataclass(frozen=True)
class JobOptions:
    """Options of a job beside how to generate."""

    priority: Annotated[Priority, typer.Option()] = Priority.NORMAL
    stream: Annotated[bool, typer.Option("--stream", help="Let tokens be followed.")] = False
    timeout_s: Annotated[float | None, typer.Option(help="Seconds it may run.")] = None
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Given back with the job; may be repeated."),
    ] = None
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Told of its end, see docs/clients.md.")
    ] = None

    @property
    def fields(self) -> dict[str, Any]:
        """Those of a request. Raises BadParameter."""
        given = {**asdict(self), "priority": self.priority.value}
        if self.metadata:
            given["metadata"] = dict(map(_pair, self.metadata))
        if self.webhook:
            given["webhook"] = {"url": self.webhook}
        return {name: value for name, value in given.items() if value}


@spread
def submit(
    prompt: Annotated[
        str | None, typer.Argument(help="What to continue; none, or -: standard input.")
    ] = None,
    *,
    lines: Annotated[
        bool, typer.Option("--lines", help="A job per line of standard input.")
    ] = False,
    options: JobOptions,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Sent again with the same key, it is the same job.")
    ] = None,
    sampling: Sampling,
    service: Service,
) -> None:
    """Submit a job, and print its id; `wait` prints its text."""
    with one_line_errors():
        if lines and prompt not in (None, "-"):
            raise typer.BadParameter("--lines reads prompts from standard input: give no PROMPT")
        prompts = read_lines() if lines else iter([read_prompt(prompt)])
        request = {**options.fields, "parameters": sampling.parameters}
        with connect(service) as client:
            for job_id in _ids(client, prompts, request, idempotency_key):
                typer.echo(json.dumps({"id": job_id}) if service.as_json else job_id)


def _ids(
    client: Client, prompts: Iterator[str], request: dict[str, Any], key: str | None
) -> Iterator[str]:
    """In the order of the prompts; those of a chunk once all of it is submitted."""
    for number, chunk in enumerate(_chunks(prompts)):
        bodies = [{**request, "inputs": prompt} for prompt in chunk]
        part = key if key is None or number == 0 else f"{key}-{number}"
        yield from (job.id for job in client.submit_many(bodies, idempotency_key=part))


def _chunks(prompts: Iterator[str]) -> Iterator[Iterable[str]]:
    while chunk := list(islice(prompts, CHUNK)):
        yield chunk


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    return key, value
