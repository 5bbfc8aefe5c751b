"""`distilq batch`: a text for every line of a file, of any length."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from distilq.cli.errors import CannotRun, Exit, note, one_line_errors
from distilq.cli.sampling import Sampling
from distilq.cli.service import Service, patient
from distilq.cli.spread import spread

if TYPE_CHECKING:
    from distilq.cli.batch_lines import Line
    from distilq.cli.batch_output import Output
    from distilq.cli.batch_progress import Progress
    from distilq.client import Client

#: Lines without a request whose rows wait for those before them; then the jobs are let run out.
MOST_HELD = 10_000
#: Seconds a text is kept by the service: it is fetched when it is there, and a million would fill
#: Redis. Enough for a machine that sleeps a little.
RESULT_TTL_S = 900


@spread
def batch(
    source: Annotated[
        str, typer.Argument(metavar="IN.jsonl", help="A request per line; -: standard input.")
    ],
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", help="A row per line; what it has is skipped.")
    ] = "-",
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Rows in the order of the lines, not as they end.")
    ] = False,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Lines that are queued or running at once.")
    ] = 256,
    sampling: Sampling,
    service: Service,
) -> None:
    """Work through a file of requests, as bulk jobs.

    A line is a prompt as a JSON string, or an object: {"prompt": …, any parameters, "custom_id"?},
    or OpenAI's {"custom_id", "method", "url", "body"}. Stopped, the same command goes on.
    """
    with one_line_errors(), _opened(source, output) as file:
        from distilq.cli import batch_output
        from distilq.cli.batch_progress import Progress

        parameters = sampling.parameters
        with (
            patient(service) as client,
            batch_output.output(output) as rows,
            Progress(file, rows.found) as progress,
        ):
            run = Batch(client, file, rows, progress, ordered=ordered)
            try:
                run.work(in_flight, parameters)
            finally:
                progress.stop()
                run.report(output, as_json=service.as_json)
        if rows.failed:
            raise typer.Exit(Exit.FAILED)


class Batch:
    """One run over the file."""

    def __init__(
        self, client: Client, file: BinaryIO, rows: Output, progress: Progress, *, ordered: bool
    ) -> None:
        from distilq.cli.batch_lines import numbered

        info = client.info()
        names = {info.model, *(served.model for served in info.serving)}
        self._client, self._rows, self._progress, self._ordered = client, rows, progress, ordered
        self._models, self._most_bytes = frozenset(names), info.limits.max_body_bytes
        self._lines = numbered(file, self._most_bytes)
        #: Lines whose jobs run, in their order; with `ordered` also those that are in error.
        self._jobs: dict[int, Line] = {}
        self._held: deque[Line] = deque()
        self._exhausted = self._finished = False
        self._began = monotonic()

    def work(self, in_flight: int, parameters: dict[str, Any]) -> None:
        while not self._exhausted:
            mapped = self._client.map(
                self._requests(),
                in_flight=in_flight,
                ordered=self._ordered,
                return_errors=True,
                result_ttl_s=RESULT_TTL_S,
                **parameters,
            )
            with closing(mapped) as outcomes:
                for outcome in outcomes:
                    line = self._jobs.pop(outcome.index)
                    self._release(before=line.number)
                    self._rows.mapped(line, outcome)
                    self._progress.advance()
            self._release()
        self._finished = True

    def report(self, output: str, *, as_json: bool) -> None:
        """How many lines have their rows now, and how fast that went."""
        rows = self._rows
        lines, took_s = rows.found + rows.written, monotonic() - self._began
        rate = rows.written / took_s if took_s else 0.0
        said = {"lines": lines, "failed": rows.failed, "found": rows.found, "lines_per_s": rate}
        if as_json:
            typer.echo(json.dumps(said), err=output == "-")
            return
        found = f", {rows.found} of them from before" if rows.found else ""
        rest = "" if self._finished else "; the same command goes on with the rest"
        note(f"{lines} lines, {rows.failed} failed{found}; {rate:.1f} lines/s{rest}")

    def _requests(self) -> Iterator[Mapping[str, Any]]:
        """Those of lines that have no row; until too many lines in error wait for their turn."""
        from distilq.cli.batch_lines import parsed

        number = 0
        while len(self._held) < MOST_HELD:
            found = next(((at, raw) for at, raw in self._lines if at not in self._rows), None)
            if found is None:
                self._exhausted = True
                return
            line = parsed(*found, self._most_bytes, self._models)
            if line.request is not None:
                self._jobs[number] = line
                number += 1
                yield line.request
            elif self._ordered and (self._jobs or self._held):
                self._held.append(line)
            else:
                self._refuse(line)

    def _release(self, before: float = float("inf")) -> None:
        """The rows of lines in error whose turn it is."""
        while self._held and self._held[0].number < before:
            self._refuse(self._held.popleft())

    def _refuse(self, line: Line) -> None:
        if line.error is not None:
            self._rows.error(line, line.error)
            self._progress.advance()


@contextmanager
def _opened(source: str, output: str) -> Iterator[BinaryIO]:
    if source == "-":
        yield sys.stdin.buffer
        return
    path = Path(source)
    try:
        if output != "-" and Path(output).exists() and path.samefile(output):
            raise CannotRun(f"{source} would be written over: give another -o")
        file = path.open("rb")
    except OSError as error:
        raise CannotRun(f"cannot read {source}: {error.strerror}") from None
    with file:
        yield file
