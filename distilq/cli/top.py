"""`distilq top`: queue and workers as they are now."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distilq.cli.errors import one_line_errors, said_of
from distilq.cli.service import Service, connect
from distilq.cli.spread import spread
from distilq.cli.table import columns
from distilq.cluster import QueueState, WorkerState
from distilq.errors import DistilqError

if TYPE_CHECKING:
    from distilq.client import Client

#: Seconds from frame to frame; and between the two looks of a single one, as heartbeats come every
#: second and carry the counters.
EVERY_S, ONCE_S = 1.0, 1.5


@dataclass
class Rates:
    """Tokens per second of each worker, from the counters of its last two heartbeats."""

    _last: dict[str, WorkerState] = field(default_factory=dict)
    _rates: dict[str, float] = field(default_factory=dict)

    def see(self, workers: list[WorkerState]) -> None:
        for worker in workers:
            last = self._last.get(worker.id, worker)
            passed_s = (worker.seen_at - last.seen_at).total_seconds()
            if last.started_at == worker.started_at and passed_s > 0:
                made = worker.generated_tokens - last.generated_tokens
                self._rates[worker.id] = made / passed_s
            self._last[worker.id] = worker

    def of(self, worker: WorkerState) -> float | None:
        return self._rates.get(worker.id)


@spread
def top(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Print one frame and end, as on a pipe.")
    ] = False,
    service: Service,
) -> None:
    """Show the queue and the workers, every second anew. Ctrl-C ends it.

    --json prints one object.
    """
    with one_line_errors(), connect(service) as client:
        if once or service.as_json or not sys.stdout.isatty():
            _print_once(client, as_json=service.as_json)
        else:
            _live(client)


def _print_once(client: Client, *, as_json: bool) -> None:
    rates = Rates()
    if workers := client.workers():
        rates.see(workers)
        time.sleep(ONCE_S)
    queue, workers = client.queue(), client.workers()
    rates.see(workers)
    typer.echo(
        json.dumps(as_object(queue, workers, rates)) if as_json else frame(queue, workers, rates)
    )


def _live(client: Client) -> None:
    from rich.live import Live
    from rich.text import Text

    rates, shown = Rates(), frame(client.queue(), client.workers(), Rates())
    with Live(screen=True, auto_refresh=False) as live:
        while True:
            said = time.strftime("%H:%M:%S")
            try:
                queue, workers = client.queue(), client.workers()
                rates.see(workers)
                shown = frame(queue, workers, rates)
            except DistilqError as error:  # the last frame stays; it may come back
                said = said_of(error)
            live.update(Text(f"{shown}\n\n{said}", no_wrap=True, overflow="crop"), refresh=True)
            time.sleep(EVERY_S)


def frame(queue: QueueState, workers: list[WorkerState], rates: Rates) -> str:
    """What is shown of one look."""
    head = f"{queue.model}: {queue.queued} queued, {queue.running} running"
    head += f", {queue.drain_jobs_per_s:.1f} jobs/s"
    if queue.queued and queue.eta_s is not None:
        head += f", empty in about {queue.eta_s:.0f} s"
    levels: list[tuple[str, ...]] = [("priority", "jobs", "tokens", "oldest", "")]
    for name, level in queue.priorities.items():
        paused = "paused" if name in {priority.value for priority in queue.paused} else ""
        levels.append((name, str(level.jobs), str(level.tokens), _age(level.oldest_age_s), paused))
    rows: list[tuple[str, ...]] = [
        ("worker", "rows", "waiting", "KV", "tokens/s", "tokens", "model")
    ]
    rows += [_row(worker, rates.of(worker)) for worker in workers]
    shown = columns(rows) if workers else "no worker is alive"
    text = f"{head}\n\n{columns(levels)}\n\n{shown}"
    return "\n".join(line.rstrip() for line in text.splitlines())


def as_object(queue: QueueState, workers: list[WorkerState], rates: Rates) -> dict[str, Any]:
    each = [{**w.model_dump(mode="json"), "tokens_per_s": rates.of(w)} for w in workers]
    return {"queue": queue.model_dump(mode="json"), "workers": each}


def _row(worker: WorkerState, rate: float | None) -> tuple[str, ...]:
    return (
        worker.id,
        f"{worker.rows}/{worker.max_rows}",
        str(worker.waiting),
        f"{100 * worker.kv_tokens / max(1, worker.kv_capacity):.0f}%",
        "-" if rate is None else f"{rate:.0f}",
        str(worker.generated_tokens),
        f"{worker.model}, {worker.precision} on {worker.device}{', drained' * worker.draining}",
    )


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f} s"
