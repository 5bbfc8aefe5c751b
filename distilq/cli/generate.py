"""`distilq generate`: a prompt in, texts out."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distilq.cli.errors import note, one_line_errors
from distilq.cli.sampling import Sampling
from distilq.cli.service import Service, patient
from distilq.cli.spread import spread
from distilq.cli.text import read_prompt, write_texts
from distilq.errors import DistilqError

if TYPE_CHECKING:
    from distilq.client import Client, JobHandle, Result

Prompt = Annotated[str | None, typer.Argument(help="What to continue; none, or -: standard input.")]


@spread
def generate(
    prompt: Prompt = None,
    *,
    stream: Annotated[bool, typer.Option("--stream", help="Print tokens as they come.")] = False,
    sampling: Sampling,
    service: Service,
) -> None:
    """Continue a text, and print it. Ctrl-C cancels the job.

    --json prints the whole job; with --stream its events.
    """
    with one_line_errors():
        text, parameters = read_prompt(prompt), sampling.parameters
        with patient(service) as client:
            if stream and service.as_json:
                _print_events(client, text, parameters)
            elif stream:
                _print_tokens(client, text, parameters)
            elif sys.stderr.isatty():
                _print(_watched(client, text, parameters), as_json=service.as_json)
            else:
                result = client.generate(text, timeout=None, **parameters)
                _print(result, as_json=service.as_json)


def _print(result: Result, *, as_json: bool) -> None:
    if as_json:
        typer.echo(result.job.model_dump_json())
    else:
        write_texts(result.texts[0])


def _print_events(client: Client, text: str, parameters: dict[str, Any]) -> None:
    with _submitted(client, text, parameters, stream=True) as job:
        for event in job.stream():
            typer.echo(event.model_dump_json())


def _print_tokens(client: Client, text: str, parameters: dict[str, Any]) -> None:
    from distilq.cli.screen import Screen
    from distilq.cli.waiting import Waiting
    from distilq.client import StatusEvent, TokenEvent

    prompt = text if parameters.get("return_full_text", True) else ""
    with _submitted(client, text, parameters, stream=True) as job, Waiting() as waiting:
        screen = None
        for event in job.stream():
            if isinstance(event, StatusEvent):
                waiting.tell(event)
                if screen:
                    screen.status(event)
                continue
            waiting.stop()  # it and the text are on the same terminal
            screen = screen or Screen(prompt, parameters.get("num_return_sequences", 1))
            if isinstance(event, TokenEvent):
                screen.token(event)
            else:
                screen.done(event.result.texts[0])


def _watched(client: Client, text: str, parameters: dict[str, Any]) -> Result:
    """The result; meanwhile standard error shows where the job stands."""
    from distilq.cli.waiting import Waiting
    from distilq.client import StatusEvent

    with _submitted(client, text, parameters, stream=False) as job, Waiting() as waiting:
        for event in job.stream():
            if isinstance(event, StatusEvent):
                waiting.tell(event)
        return job.result()


@contextmanager
def _submitted(
    client: Client, text: str, parameters: dict[str, Any], *, stream: bool
) -> Iterator[JobHandle]:
    """The job. Whoever leaves it, by Ctrl-C or because nobody reads on, cancels it."""
    submit: Callable[[], JobHandle] = partial(
        client.submit,
        text,
        priority="interactive",
        stream=stream,
        idempotency_key=str(uuid.uuid4()),
        **parameters,
    )
    job = None
    try:
        job = submit()
        yield job
    except DistilqError:
        raise
    except BaseException:
        with suppress(DistilqError):  # without an answer nobody knows its id: it is asked for again
            job = job or submit()
            job.cancel()
            note(f"canceled job {job.id}")
        raise
