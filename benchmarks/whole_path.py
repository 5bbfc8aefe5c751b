"""From the HTTP request to the stored result, beside the engine alone.

    python -m benchmarks.whole_path [--full]

Under saturation: tokens per second. On an idle system: the milliseconds that one job with
`Prefer: wait` takes over the engine's own.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

from distilq.settings import Settings

from . import measure, one_job
from .saturated import Alone, Served, drawn_jobs
from .service import started

MODEL = "random:distilgpt2"
#: Models of the idle system, and the new tokens of their job.
IDLE = {"simulated:step_ms=2": 20, MODEL: 8}

SHARE, OVER_MS = 0.9, 5.0


def run(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"saturated": {}, "idle": {}}
    for model, new_tokens in IDLE.items():
        with started() as service:
            settings = Settings(redis_url=service.redis_url, model=model, precision="float16")
            found["idle"][model] = one_job.measure_one(
                service, settings, new_tokens, options.single
            )
    for precision in options.precision:
        found["saturated"][precision] = _saturated(precision, options)
    return found


def _saturated(precision: Any, options: argparse.Namespace) -> dict[str, Any]:
    with started() as service:
        settings = Settings(
            redis_url=service.redis_url, model=MODEL, precision=precision, max_rows=options.rows
        )
        alone, served = Alone(settings), Served(service, settings)
        jobs = drawn_jobs(options.jobs)
        subjects = {"alone": partial(alone.rate, jobs), "served": partial(served.rate, jobs)}
        rates = measure.interleaved(subjects, options.rounds)
        served.stop()
    return {name: spread.record() for name, spread in rates.items()} | {"cores": served.cores}


def tables(record: dict[str, Any]) -> str:
    asked, facts = record["asked"], record["machine"]
    said = f"{asked['rounds']} rounds of {asked['jobs']} jobs, {asked['rows']} rows; "
    lines = _saturated_lines(record["found"]["saturated"])
    lines += ["", said + f"{facts['cpu']}, {facts['cores']} cores.", ""]
    lines += _idle_lines(record["found"]["idle"])
    lines += ["", f"Medians of {asked['single']} jobs."]
    return "\n".join(lines) + "\n"


def _saturated_lines(found: dict[str, Any]) -> list[str]:
    lines = [
        "| precision | engine alone, tokens/s | HTTP to stored result, tokens/s |"
        f" share (aim {SHARE:.0%}) | cores busy: worker, API, Redis, client |",
        "|---|---|---|---:|---|",
    ]
    for precision, each in found.items():
        alone, served = each["alone"], each["served"]
        pairs = zip(alone["values"], served["values"], strict=True)
        share = statistics.median(theirs / own for own, theirs in pairs)
        cores = (statistics.median(each["cores"][n]) for n in ("worker", "API", "Redis", "client"))
        lines.append(
            f"| {precision} | {_spread(alone)} | {_spread(served)} | {share:.0%} |"
            f" {', '.join(f'{value:.2f}' for value in cores)} |"
        )
    return lines


def _spread(spread: dict[str, Any]) -> str:
    return f"{spread['median']:,.0f} ({spread['low']:,.0f} to {spread['high']:,.0f})"


def _idle_lines(found: dict[str, Any]) -> list[str]:
    lines = [
        "| one job, idle system | engine alone, ms | with `Prefer: wait`, ms |"
        f" over it, ms (aim {OVER_MS:g}) | the worker's engine, ms | all around it, ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for model, each in found.items():
        s = one_job.summary(each)
        lines.append(
            f"| {model}, {IDLE[model]} tokens | {s['alone']:.1f} | {s['whole']:.1f} |"
            f" {s['over']:.1f} | {s['engine']:.1f} | {s['around']:.1f} |"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="more jobs and rounds")
    parser.add_argument("--precision", nargs="+")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--single", type=int, help="jobs of the idle system")
    options = parser.parse_args(arguments)
    options.precision = options.precision or (["float16", "int8"] if options.full else ["float16"])
    options.jobs = options.jobs or (512 if options.full else 128)
    options.rounds = options.rounds or (5 if options.full else 2)
    options.single = options.single or (100 if options.full else 30)
    measure.write("whole_path", run(options), vars(options))
    print(tables(measure.read("whole_path")))


if __name__ == "__main__":
    main()
