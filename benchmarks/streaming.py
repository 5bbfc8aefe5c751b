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
from collections.abc import Sequence
from functools import partial
from typing import Any

import psutil

from distilq.settings import Settings

from . import measure
from .http_load import Connection, get
from .saturated import Served, drawn_jobs
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
        part = connection.recv(1 << 16)
        self.tokens += part.count(b"event: token\n")
        self.ended += part.count(b"event: done\n")
        if not part:
            selector.unregister(connection)
            connection.close()


def run(options: argparse.Namespace) -> dict[str, Any]:
    jobs = drawn_jobs(options.jobs)
    streaming = [{**job, "stream": True} for job in jobs]
    found: dict[str, Any] = {}
    for precision in options.precision:
        with started() as service:
            settings = Settings(
                redis_url=service.redis_url, model=MODEL, precision=precision, max_rows=ROWS
            )
            served = Served(service, settings)
            followers = Followers(served.port)

            def followed(served: Served = served, followers: Followers = followers) -> float:
                rate = served.rate(streaming, followers.follow)
                followers.join()
                return rate

            subjects = {"alone": partial(served.rate, jobs), "followed": followed}
            rates = measure.interleaved(subjects, options.rounds)
            api = psutil.Process(served.api.process.pid)
            memory = max(child.memory_info().rss for child in api.children())
            wanted = sum(job["parameters"]["max_new_tokens"] for job in jobs) * options.rounds
            if (followers.tokens, followers.ended) != (wanted, len(jobs) * options.rounds):
                raise RuntimeError(f"{followers.tokens} of {wanted} tokens were told")
            found[precision] = {name: spread.record() for name, spread in rates.items()}
            found[precision] |= {"cores": served.cores, "api_bytes": memory}
            served.stop()
    return found


def tables(record: dict[str, Any]) -> str:
    asked, facts = record["asked"], record["machine"]
    lines = [
        "| precision | not followed, tokens/s | all followed, tokens/s |"
        f" share (aim {SHARE:.0%}) | cores busy while followed: worker, API, Redis, client |"
        " API's memory |",
        "|---|---|---|---:|---|---:|",
    ]
    for precision, each in record["found"].items():
        pairs = zip(each["alone"]["values"], each["followed"]["values"], strict=True)
        share = statistics.median(theirs / own for own, theirs in pairs)
        # Turns alternate: every second one was followed.
        cores = (
            statistics.median(each["cores"][name][1::2])
            for name in ("worker", "API", "Redis", "client")
        )
        lines.append(
            f"| {precision} | {_spread(each['alone'])} | {_spread(each['followed'])} |"
            f" {share:.0%} | {', '.join(f'{value:.2f}' for value in cores)} |"
            f" {each['api_bytes'] / 1e6:.0f} MB |"
        )
    said = f"{asked['rounds']} rounds of {asked['jobs']} jobs, {ROWS} rows, all followed at once"
    lines += ["", f"{said}; {facts['cpu']}, {facts['cores']} cores."]
    return "\n".join(lines) + "\n"


def _spread(spread: dict[str, Any]) -> str:
    return f"{spread['median']:,.0f} ({spread['low']:,.0f} to {spread['high']:,.0f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="more rounds, and int8")
    parser.add_argument("--precision", nargs="+")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args(arguments)
    options.precision = options.precision or (["float16", "int8"] if options.full else ["float16"])
    options.rounds = options.rounds or (5 if options.full else 2)
    measure.write("streaming", run(options), vars(options))
    print(tables(measure.read("streaming")))


if __name__ == "__main__":
    main()
