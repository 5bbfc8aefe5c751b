"""Tokens per second of the engine beside its peers, and beside its own matrix products.

    python -m benchmarks.engine
    python -m benchmarks.engine --full

Every subject continues the same random 10-token prompts by exactly 30 tokens, with DistilGPT2's
shape, top-k 50 sampling and one thread per core. They take turns, peers in processes of their own.
`make peers` and `make peers-full` install the peers; one that is not there is said to be absent.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from . import measure, plot
from .peers.process import PeerFailed
from .subjects import SUBJECTS, Prompts, Running, Terms, started
from .targets import judged

SHORT = {"rows": [1, 8, 64], "rounds": 2}
FULL = {"rows": [1, 8, 32, 64, 128], "rounds": 5}
#: Tokens per row of the run at every size that is not timed: first calls plan and allocate.
WARM_UP = 3


def compare(
    running: dict[str, Running], absent: dict[str, str], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Every round's rate, by the number of rows and the subject."""
    torch.manual_seed(0)
    found: dict[str, dict[str, Any]] = {}
    for rows in options.rows:
        drawn = torch.randint(0, 50257, (rows, options.prompt_tokens)).tolist()
        prompts = [tuple(prompt) for prompt in drawn]
        _warm_up(running, absent, prompts)
        spreads = measure.interleaved(
            {name: partial(s.rate, prompts, options.new_tokens) for name, s in running.items()},
            options.rounds,
        )
        found[str(rows)] = {name: spread.record() for name, spread in spreads.items()}
        print(f"{rows} rows measured", file=sys.stderr, flush=True)
    return found


def _warm_up(running: dict[str, Running], absent: dict[str, str], prompts: Prompts) -> None:
    """One short run of each; a peer that cannot do it is absent from here on."""
    for name, subject in list(running.items()):
        try:
            subject.rate(prompts, WARM_UP)
        except PeerFailed as error:
            absent[name] = f"it failed at {len(prompts)} rows: {error}"
            running.pop(name).close()


def medians(record: dict[str, Any]) -> dict[int, dict[str, float]]:
    return {
        int(rows): {name: spread["median"] for name, spread in by_subject.items()}
        for rows, by_subject in record["found"]["rates"].items()
    }


def tables(record: dict[str, Any]) -> str:
    """Tokens per second, the share of the products' own rate, and the targets."""
    by_rows = medians(record)
    absent = "".join(
        f"Absent: {_label(name)}: {reason}.\n" for name, reason in record["found"]["absent"].items()
    )
    parts = [
        _rates(record, by_rows),
        absent,
        _shares(by_rows),
        judged(by_rows),
        _conditions(record),
    ]
    return "\n".join(part for part in parts if part)


def _rates(record: dict[str, Any], by_rows: Mapping[int, Mapping[str, float]]) -> str:
    """Ratios are to `generate`; the spread is the widest of any size."""
    head = "".join(f" {rows} |" for rows in by_rows)
    lines = [f"| tokens/s (ratio to `generate`), rows: |{head} spread |"]
    lines.append("|---|" + "---:|" * (len(by_rows) + 1))
    for subject in SUBJECTS:
        cells = [_cell(rates, subject.name) for rates in by_rows.values()]
        if any(cells):
            spread = _spread(record, subject.name)
            lines.append(f"| {subject.label} | {' | '.join(cells)} | ±{spread:.0%} |")
    return "\n".join(lines) + "\n"


def _cell(rates: Mapping[str, float], name: str) -> str:
    if name not in rates:
        return ""
    ratio = f" ({rates[name] / rates['generate']:.2f}x)" if "generate" in rates else ""
    return f"{rates[name]:,.0f}{ratio}"


def _spread(record: dict[str, Any], name: str) -> float:
    """Half of what lies between the slowest round and the fastest, as a share of the median."""
    found = [by_subject.get(name) for by_subject in record["found"]["rates"].values()]
    spread: float = max((each["high"] - each["low"]) / 2 / each["median"] for each in found if each)
    return spread


def _shares(by_rows: Mapping[int, Mapping[str, float]]) -> str:
    head = "".join(f" {rows} |" for rows in by_rows)
    lines = [f"| share of the products' own rate, rows: |{head}", "|---|" + "---:|" * len(by_rows)]
    for precision in ("float16", "int8"):
        cells = [
            f"{rates[f'ours-{precision}'] / rates[f'limit-{precision}']:.0%}"
            if {f"ours-{precision}", f"limit-{precision}"} <= rates.keys()
            else ""
            for rates in by_rows.values()
        ]
        lines.append(f"| {precision} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _conditions(record: dict[str, Any]) -> str:
    machine, asked = record["machine"], record["asked"]
    versions = {name: v for about in record["found"]["peers"].values() for name, v in about.items()}
    versions["torch"] = machine["packages"]["torch"]
    versions["transformers"] = machine["packages"]["transformers"]
    peers = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return f"{machine['cpu']}, {asked['threads']} threads on {machine['cores']} cores; {peers}.\n"


def _label(name: str) -> str:
    return next(subject.label for subject in SUBJECTS if subject.name == name)


def plots(record: dict[str, Any], folder: Path) -> None:
    """engine.svg: a line per subject over the rows."""
    by_rows = medians(record)
    series = {
        subject.label.replace("*", "").replace("`", ""): plot.Series(
            [rates.get(subject.name) for rates in by_rows.values()],
            bold=subject.name.startswith("ours-"),
            dotted=subject.limit,
        )
        for subject in SUBJECTS
        if any(subject.name in rates for rates in by_rows.values())
    }
    plot.over_rows(folder / "engine.svg", list(by_rows), series, "tokens per second")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="every size, and all the peers")
    parser.add_argument("--rows", type=int, nargs="+")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--subjects", nargs="+", choices=[s.name for s in SUBJECTS])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--prompt-tokens", type=int, default=10)
    parser.add_argument("--new-tokens", type=int, default=30)
    options = parser.parse_args(arguments)
    defaults = FULL if options.full else SHORT
    options.rows = options.rows or defaults["rows"]
    options.rounds = options.rounds or defaults["rounds"]
    names = options.subjects or [s.name for s in SUBJECTS if options.full or not s.full]
    running, absent = started(names, Terms(options.threads, max(options.rows)))
    try:
        rates = compare(running, absent, options)
    finally:
        for subject in running.values():
            subject.close()
    about = {name: subject.about for name, subject in running.items() if subject.about}
    measure.write("engine", {"rates": rates, "absent": absent, "peers": about}, vars(options))
    print(tables(measure.read("engine")))


if __name__ == "__main__":
    main()
