"""Tables and plots of `benchmarks.mixed`, from its raw figures."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from . import plot
from .mixed_traffic import percentile

LABELS = {
    "ours": "distilq",
    "batches": "celery-batches with `generate`",
    "pipeline": "a `pipeline` call per Celery task",
}
#: How many times a peer's served tokens are aimed at; how far p99 between tokens may be from p50.
AIMS = {"batches": 2.0, "pipeline": 10.0}
GAP_AIM = 2.0

WHAT = {"latency_s": "latency", "first_token_s": "first-token"}
GAPS = {"short": "short prompts only", "long": "and 1,000-token prompts, one a second"}

Figures = dict[str, Any]


def capacity(record: Figures, name: str) -> float:
    """The median of the rounds."""
    return float(statistics.median(each["capacity"] for each in record["found"]["rounds"][name]))


def at(record: Figures, name: str, load: str) -> Figures:
    """A load's figures: rates are means of the rounds, times are of the jobs of all rounds."""
    rounds = [each["loads"][load] for each in record["found"]["rounds"][name]]
    rates = {of: statistics.mean(each[of] for each in rounds) for of in ("offered", "served")}
    return rates | {of: [s for each in rounds for s in each[of]] for of in WHAT}


def _in_order(record: Figures) -> list[tuple[str, list[Figures]]]:
    rounds = record["found"]["rounds"]
    return [(name, rounds[name]) for name in LABELS if name in rounds]


def tables(record: Figures) -> str:
    absent = [
        f"Absent: {LABELS[name]}: {reason}." for name, reason in record["found"]["absent"].items()
    ]
    parts = [_served(record), *absent, _times(record), _gaps(record), _conditions(record)]
    return "\n".join(parts)


def _served(record: Figures) -> str:
    """What a peer can serve of a load is its capacity at most, measured from a full queue."""
    peers = [name for name in AIMS if name in record["found"]["rounds"]]
    head = "".join(f" {LABELS[name]} | distilq's multiple (aim {AIMS[name]:g}) |" for name in peers)
    lines = [
        f"| load, of distilq's capacity | offered, tokens/s | distilq serves |{head}",
        "|---|---:|---:|" + "---:|---:|" * len(peers),
    ]
    for load in record["found"]["rounds"]["ours"][0]["loads"]:
        ours = at(record, "ours", load)
        cells = [f"{float(load):.0%}", f"{ours['offered']:,.0f}", f"{ours['served']:,.0f}"]
        for name in peers:
            theirs = min(capacity(record, name), ours["offered"])
            cells += [f"{theirs:,.0f}", f"{ours['served'] / theirs:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    whole = capacity(record, "ours")
    cells = ["a full queue", "", f"{whole:,.0f}"]
    for name in peers:
        theirs = capacity(record, name)
        cells += [f"{theirs:,.0f}", f"{whole / theirs:.1f}"]
    return "\n".join([*lines, f"| {' | '.join(cells)} |"]) + "\n"


def _times(record: Figures) -> str:
    lines = [
        "| load, of its own capacity | offered, jobs/s | jobs looked at | latency, s: p50 | p99 |"
        " to the first token, s: p50 | p99 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, rounds in _in_order(record):
        for load in rounds[0]["loads"]:
            found = at(record, name, load)
            jobs = len(found["latency_s"])
            rate = jobs / len(rounds) / rounds[0]["seconds"]
            times = [f"{percentile(found[of], share):.2f}" for of in WHAT for share in (0.5, 0.99)]
            lines.append(
                f"| {LABELS[name]}, {float(load):.0%} | {rate:.1f} | {jobs} | {' | '.join(times)} |"
            )
    return "\n".join(lines) + "\n"


def _gaps(record: Figures) -> str:
    lines = [
        "| between a row's tokens | rows in a step | p50, ms | p99, ms |"
        f" p99 to p50 (aim under {GAP_AIM:g}) | longest, ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, found in record["found"]["gaps"].items():
        label = GAPS.get(name) or f"mixed traffic, {float(name):.0%} of capacity"
        lines.append(
            f"| {label} | {found['rows']:.0f} | {found['p50_ms']:.0f} | {found['p99_ms']:.0f} |"
            f" {found['p99_ms'] / found['p50_ms']:.2f} | {found['most_ms']:.0f} |"
        )
    gaps = record["found"]["gaps"]
    apart = gaps["long"]["p99_ms"] / gaps["short"]["p50_ms"]
    lines += ["", f"p99 beside 1,000-token prompts to p50 of short ones only: {apart:.2f}."]
    return "\n".join(lines) + "\n"


def _conditions(record: Figures) -> str:
    asked, machine = record["asked"], record["machine"]
    rounds = len(record["found"]["rounds"]["ours"])
    return (
        f"{asked['precision']}, {asked['rows']} rows; {machine['cpu']}, {asked['threads']} threads"
        f" on {machine['cores']} cores; {rounds} round{'s' * (rounds > 1)}.\n"
    )


def plots(record: Figures, folder: Path) -> None:
    """mixed-latency.svg and mixed-first-token.svg: percentiles over the load."""
    for of, name in WHAT.items():
        series = {}
        for subject, rounds in _in_order(record):
            for share in (0.5, 0.99):
                points = {
                    100 * float(load): percentile(at(record, subject, load)[of], share)
                    for load in rounds[0]["loads"]
                }
                label = f"{LABELS[subject].replace('`', '')}, p{100 * share:.0f}"
                series[label] = plot.Points(points, bold=subject == "ours", dotted=share > 0.5)
        label = "seconds to the result" if of == "latency_s" else "seconds to the first token"
        plot.over_load(folder / f"mixed-{name}.svg", series, label)
