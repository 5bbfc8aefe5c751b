"""`make chaos`: a long run, its result as JSON and as a table.

make chaos ARGS="--minutes 12 --seed 7 --rate 40"
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from distilq.cli.redis_binary import find_redis_server
from tests.chaos import stock, table
from tests.chaos.run import Plan, Report, run
from tests.chaos.schedule import Step, weighted


def main() -> int:
    asked = _arguments()
    binary = find_redis_server()
    if binary is None:
        sys.exit("chaos needs a redis-server 6.2 or newer")
    folder = Path(tempfile.mkdtemp(prefix="distilq-chaos-"))
    print(f"logs are in {folder}", file=sys.stderr)
    steps = weighted(asked.seed, asked.minutes * 60, asked.every)
    report = _run(asked, steps, folder, binary)
    found = asdict(report) | {"verdict": report.verdict.as_dict()}
    found["plan"]["steps"] = len(steps)
    asked.out.mkdir(parents=True, exist_ok=True)
    name = "stock" if asked.stock else "bundled" if asked.bundled else "distilq"
    (asked.out / f"chaos-{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table.of({name: found}))
    return 0 if asked.stock or report.verdict.clean else 1


def _run(asked: argparse.Namespace, steps: list[Step], folder: Path, binary: Path) -> Report:
    plan = Plan(
        seed=asked.seed,
        steps=steps,
        rate=asked.rate,
        workers=asked.workers,
        crashing_jobs=0 if asked.bundled else 3,
        bundled=asked.bundled,
    )
    return (stock.run if asked.stock else run)(plan, folder, binary)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=20_240_229)
    parser.add_argument("--minutes", type=float, default=12, help="in which faults come")
    parser.add_argument("--every", type=float, default=4, help="seconds between two faults")
    parser.add_argument("--rate", type=float, default=40, help="jobs a second")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--bundled", action="store_true", help="with the bundled model")
    parser.add_argument("--stock", action="store_true", help="stock Celery, for comparison")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for the JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
