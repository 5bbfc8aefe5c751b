"""How fast jobs go in and looks come out over HTTP, beside the least that could be done.

    python -m benchmarks.submission [--full]

`POST /v1/jobs` beside an empty Flask view behind the same gunicorn, `POST /v1/jobs:batch` beside a
pipelined LPUSH of the same bytes, `POST /v1/jobs:status` beside a pipelined HMGET of the same
fields.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from . import measure
from .served import redis_alone
from .submission_turns import Bench, Took, begin

#: The share of the peer's rate that is aimed at.
AIM = 0.5

LABELS = {
    "empty": "an empty Flask view, same gunicorn",
    "jobs": "`POST /v1/jobs`",
    "lpush": "`LPUSH`, redis-py as pip installs it",
    "lpush-hiredis": "`LPUSH`, redis-py with hiredis",
    "batch": "`POST /v1/jobs:batch`",
    "hmget": "`HMGET`, redis-py as pip installs it",
    "hmget-hiredis": "`HMGET`, redis-py with hiredis",
    "status": "`POST /v1/jobs:status`",
}


def run(options: argparse.Namespace) -> dict[str, Any]:
    with redis_alone() as service:
        bench = begin(service, options)
        groups = [
            _interleaved(bench, _single(bench, connections), options.rounds)
            for connections in options.connections
        ]
        groups.append(_interleaved(bench, _batches(bench), options.rounds))
        bench.finish_some()
        groups.append(_interleaved(bench, _looks(bench), options.rounds))
    return {"groups": groups, "cpu_us": bench.cpu_us}


def _single(bench: Bench, connections: int) -> dict[str, Callable[[], Took]]:
    return {
        f"empty {connections}": partial(bench.empty_view, connections),
        f"jobs {connections}": partial(bench.jobs, connections),
    }


def _batches(bench: Bench) -> dict[str, Callable[[], Took]]:
    return {
        "lpush": partial(bench.lpush, False),
        "lpush-hiredis": partial(bench.lpush, True),
        "batch": bench.batch,
    }


def _looks(bench: Bench) -> dict[str, Callable[[], Took]]:
    return {
        "hmget": partial(bench.hmget, False),
        "hmget-hiredis": partial(bench.hmget, True),
        "status": bench.status,
    }


def _interleaved(
    bench: Bench, turns: dict[str, Callable[[], Took]], rounds: int
) -> dict[str, dict[str, Any]]:
    subjects = {name: bench.subject(name, turn) for name, turn in turns.items()}
    return {name: s.record() for name, s in measure.interleaved(subjects, rounds).items()}


def tables(record: dict[str, Any]) -> str:
    """Per group its peers and, last, the subject with its share of each of them."""
    lines = [
        "| | per second | lowest to highest | share of it (aim) |"
        " µs of CPU each: API, Redis, client |",
        "|---|---:|---|---:|---|",
    ]
    for group in record["found"]["groups"]:
        *peers, subject = group
        for peer in peers:
            share = f"{group[subject]['median'] / group[peer]['median']:.0%} ({AIM:.0%})"
            lines.append(_line(record, group, peer, share))
        lines.append(_line(record, group, subject, ""))
    facts = record["machine"]
    lines += ["", f"{record['asked']['rounds']} rounds; {facts['cpu']}, {facts['cores']} cores."]
    return "\n".join(lines) + "\n"


def _line(record: dict[str, Any], group: dict[str, Any], name: str, share: str) -> str:
    kind, _, connections = name.partition(" ")
    label = LABELS[kind] + (f", {connections} connections" if connections else "")
    found = group[name]
    cpu = record["found"]["cpu_us"][name]
    spent = [f"{statistics.median(cpu[program]):,.0f}" for program in ("api", "redis", "client")]
    if kind.startswith(("lpush", "hmget")):
        spent[0] = spent[2] = "-"  # the client is a process of its own, and not counted
    return (
        f"| {label if share else f'**{label}**'} | {found['median']:,.0f}"
        f" | {found['low']:,.0f} to {found['high']:,.0f} | {share} | {', '.join(spent)} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="more connections, longer turns")
    parser.add_argument("--connections", type=int, nargs="+")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a turn of single requests")
    parser.add_argument("--batch", type=int, default=5_000, help="jobs per batch")
    parser.add_argument("--repeats", type=int, default=2, help="batches or looks per turn")
    options = parser.parse_args(arguments)
    options.connections = options.connections or ([4, 16, 64] if options.full else [16])
    options.rounds = options.rounds or (7 if options.full else 3)
    measure.write("submission", run(options), vars(options))
    print(tables(measure.read("submission")))


if __name__ == "__main__":
    main()
