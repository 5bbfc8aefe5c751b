"""Put every benchmark's tables into docs/performance.md, from its raw figures.

    python -m benchmarks.report

A table stands between `<!-- table NAME -->` and `<!-- end -->`. It comes from `tables(record)` of
the benchmark that wrote results/NAME.json, so what the page says is what was measured. A benchmark
with `plots(record, folder)` draws its figures into docs/plots.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from . import measure

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PLOTS = PAGE.parent / "plots"
BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """The page with every table as its raw figures have it."""
    return BLOCK.sub(lambda found: found[1] + _tables(found[2]) + found[3], page)


def _tables(name: str) -> str:
    benchmark = importlib.import_module(f"benchmarks.{name}")
    record = measure.read(name)
    if hasattr(benchmark, "plots"):
        benchmark.plots(record, PLOTS)
    tables: str = benchmark.tables(record)
    return tables.rstrip("\n") + "\n"


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text()))


if __name__ == "__main__":
    main()
