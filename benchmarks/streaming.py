"""What streaming costs: tokens per second with every job followed, beside the same jobs unfollowed.

    python -m benchmarks.streaming [--full]

A client follows each job by server-sent events from its submission to its end, all of them at the
same time. It runs on the same machine and takes its share of it.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import statistics
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import psutil

from distilq.settings import Settings

from . import measure
from .http_load import Connection, get
from .saturated import Json, Served, drawn_jobs
from .service import started

MODEL = "random:distilgpt2"
ROWS = 64
SHARE = 0.95


class Followers:
    """One thread that reads the events of many jobs to their ends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.tokens = self.ended = 0
        self._thread: threading.Thread | None = None

    def follow(self, ids: list[str]) -> None:
        self._thread = threading.Thread(target=self._read, args=(ids,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _read(self, ids: list[str]) -> None:
        with selectors.DefaultSelector() as selector:
            for job_id in ids:
                connection = Connection(self._port)
                connection.send(get(f"/v1/jobs/{job_id}/events", "Connection: close\r\n"))
                selector.register(connection.socket, selectors.EVENT_READ, connection.socket)
            while selector.get_map():
                for key, _ in selector.select():
                    self._take(selector, key.data)

    def _take(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        part = connection.recv(1 << 14)
        self.tokens += part.count(b"event: token\n")
        self.ended += part.count(b"event: done\n")
        if not part:
            selector.unregister(connection)
            connection.close()


def equal_jobs(count: int) -> list[Json]:
    """10-token prompts, 200 new tokens each: all of them run from the beginning to the end."""
    jobs = drawn_jobs(count)
    for job in jobs:
        job["parameters"]["max_new_tokens"] = 200
    return jobs


def run(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for precision in options.precision:
        with started() as service:
            settings = Settings(
                redis_url=service.redis_url, model=MODEL, precision=precision, max_rows=ROWS
            )
            served = Served(service, settings)
            full = partial(measured, served, served.whole_rate, equal_jobs(ROWS), options.rounds)
            found[precision] = {"full batch": full()}
            if options.jobs:
                rounds = max(2, options.rounds // 2)
                queued = measured(served, served.rate, drawn_jobs(options.jobs), rounds)
                found[precision]["from a queue"] = queued
            served.stop()
    return found


def measured(
    served: Served, rate: Callable[..., float], jobs: list[Json], rounds: int
) -> dict[str, Any]:
    """Both subjects in turns, and what they took."""
    streaming = [{**job, "stream": True} for job in jobs]
    followers = Followers(served.port)

    def followed() -> float:
        found = rate(streaming, followers.follow)
        followers.join()
        return found

    rate(jobs[:ROWS])  # a first run of this size
    served.cores.clear()
    subjects: dict[str, Callable[[], float]] = {"alone": partial(rate, jobs), "followed": followed}
    rates = measure.interleaved(subjects, rounds)
    wanted = sum(job["parameters"]["max_new_tokens"] for job in jobs) * rounds
    if (followers.tokens, followers.ended) != (wanted, len(jobs) * rounds):
        raise RuntimeError(f"{followers.tokens} of {wanted} tokens were told")
    memory = max(c.memory_info().rss for c in psutil.Process(served.api.process.pid).children())
    found: dict[str, Any] = {name: spread.record() for name, spread in rates.items()}
    return found | {"jobs": len(jobs), "cores": dict(served.cores), "api_bytes": memory}


def tables(record: dict[str, Any]) -> str:
    facts = record["machine"]
    lines = [
        "| precision | streams | not followed, tokens/s | all followed, tokens/s |"
        f" share (aim {SHARE:.0%}), lowest to highest |"
        " cores busy while followed: worker, API, Redis, client | API's memory |",
        "|---|---|---|---|---|---|---:|",
    ]
    for precision, cases in record["found"].items():
        lines += [_line(precision, name, each) for name, each in cases.items()]
    rounds = record["asked"]["rounds"]
    lines += ["", f"{rounds} rounds, {ROWS} rows; {facts['cpu']}, {facts['cores']} cores."]
    return "\n".join(lines) + "\n"


def _line(precision: str, name: str, each: dict[str, Any]) -> str:
    pairs = zip(each["alone"]["values"], each["followed"]["values"], strict=True)
    shares = [theirs / own for own, theirs in pairs]
    # Turns alternate: every second one was followed.
    cores = (
        statistics.median(each["cores"][name][1::2])
        for name in ("worker", "API", "Redis", "client")
    )
    return (
        f"| {precision} | {each['jobs']}, {name} | {_spread(each['alone'])} |"
        f" {_spread(each['followed'])} | {statistics.median(shares):.0%},"
        f" {min(shares):.0%} to {max(shares):.0%} |"
        f" {', '.join(f'{value:.2f}' for value in cores)} | {each['api_bytes'] / 1e6:.0f} MB |"
    )


def _spread(spread: dict[str, Any]) -> str:
    return f"{spread['median']:,.0f} ({spread['low']:,.0f} to {spread['high']:,.0f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="more rounds, and int8")
    parser.add_argument("--precision", nargs="+")
    parser.add_argument("--jobs", type=int, default=200, help="from a queue; 0: none")
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args(arguments)
    options.precision = options.precision or (["float16", "int8"] if options.full else ["float16"])
    options.rounds = options.rounds or (5 if options.full else 2)
    measure.write("streaming", run(options), vars(options))
    print(tables(measure.read("streaming")))


if __name__ == "__main__":
    main()
