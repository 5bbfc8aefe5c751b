"""Every benchmark in turn; each writes results/NAME.json and prints its tables.

python -m benchmarks
python -m benchmarks --full
python -m benchmarks --only engine step_profile
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Sequence

NAMES = [
    "engine",
    "step_profile",
    "queue_path",
    "queue_depth",
    "scale",
    "memory",
    "submission",
    "whole_path",
    "mixed",
    "streaming",
    "batch_files",
    "perplexity",
]


def run(names: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Those that failed; one that fails does not keep the others from their turn."""
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        try:
            importlib.import_module(f"benchmarks.{name}").main(arguments)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            print(f"{name} FAILED: {type(error).__name__}: {error}", flush=True)
            failed.append(name)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run benchmarks.")
    parser.add_argument("--full", action="store_true", help="sizes and peers of the long run")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, default=NAMES)
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    failed = run(options.only, ["--full"] if options.full else [])
    print(f"\n{len(options.only)} benchmarks in {time.perf_counter() - start:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
