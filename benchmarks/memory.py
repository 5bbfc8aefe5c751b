"""Memory: Redis' per job, the API's per process, a worker's at each precision.

    python -m benchmarks.memory [--full] [--parts redis api worker]

Redis' is the growth of `used_memory` over tens of thousands of jobs; a process' is the most that
was ever resident of it, as the kernel noted it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from . import measure, memory_api, memory_redis, memory_worker

PARTS = {"redis": memory_redis, "api": memory_api, "worker": memory_worker}


def tables(record: dict[str, Any]) -> str:
    found = record["found"]
    return "\n".join(PARTS[part].tables(found[part]) for part in PARTS if part in found)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="texts of 200 tokens rather than 30")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--jobs", type=int, help="in Redis")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--new-tokens", type=int)
    options = parser.parse_args(arguments)
    options.jobs = options.jobs or (30_000 if options.full else 5_000)
    options.new_tokens = options.new_tokens or (200 if options.full else 30)
    found = {part: PARTS[part].run(options) for part in options.parts}
    measure.write("memory", found, vars(options))
    print(tables(measure.read("memory")))


if __name__ == "__main__":
    main()
