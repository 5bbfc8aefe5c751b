"""Tables and plot of `benchmarks.scale`, from its raw figures."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

PLOT = Path(__file__).parent.parent / "docs" / "plots" / "scale.svg"

Figures = dict[str, float]


def medians(record: dict[str, Any], load: str) -> dict[int, Figures]:
    """Of each number of workers, every figure's median over the rounds."""
    return {
        int(count): {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
        for count, rounds in record["found"]["loads"][load].items()
    }


def tables(record: dict[str, Any]) -> str:
    parts = [_scaling(record, load) for load in record["found"]["loads"]]
    return "\n".join([*parts, _cost(record)])


def _scaling(record: dict[str, Any], load: str) -> str:
    found = medians(record, load)
    first = min(found)
    alone = found[first]["jobs_per_s"] / first
    lines = [
        f"| workers, {load} jobs | jobs/s | of linear | workers' CPUs | Redis' CPU |"
        f" of {record['machine']['cores']} cores busy |",
        "|---|---|---|---|---|---|",
    ]
    for count, each in found.items():
        lines.append(
            f"| {count} | {each['jobs_per_s']:,.0f} | {each['jobs_per_s'] / (count * alone):.0%} |"
            f" {each['workers_cpu']:.2f} | {each['redis_cpu']:.2f} | {each['machine_busy']:.0%} |"
        )
    return "\n".join(lines) + "\n"


def served_us(record: dict[str, Any]) -> float:
    """Redis' microseconds to claim, renew and finish a long job, with most workers."""
    found = medians(record, "long")
    most = found[max(found)]
    return 1e6 * most["redis_cpu"] / most["jobs_per_s"]


def _cost(record: dict[str, Any]) -> str:
    clients = record["found"]["client_stages_us"]
    stages = clients | {"claim, renew, finish": served_us(record)}
    lines = ["| stage of a job | Redis CPU per job |", "|---|---|"]
    lines += [f"| {name} | {us:,.0f} µs |" for name, us in stages.items()]
    for how, submit, read in (
        ("one by one", "submit, one by one", "read, one by one"),
        ("in batches", "submit, in batches", "read, 1,000 at a time"),
    ):
        whole = clients[submit] + clients[read] + stages["claim, renew, finish"]
        lines.append(
            f"| **whole life, submitted and read {how}** |"
            f" **{whole:,.0f} µs: one Redis carries {1e6 / whole:,.0f} jobs/s** |"
        )
    return "\n".join(lines) + "\n"


def plot(record: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for load in record["found"]["loads"]:
        found = medians(record, load)
        counts, alone = list(found), found[min(found)]["jobs_per_s"] / min(found)
        line = axes.plot(
            counts, [found[n]["jobs_per_s"] for n in counts], "o-", label=f"{load} jobs"
        )
        linear = [alone * n for n in counts]
        axes.plot(counts, linear, ":", color=line[0].get_color(), label=f"{load} jobs, linear")
    axes.set(xlabel="worker processes", ylabel="jobs per second", xscale="log", yscale="log")
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None})
