"""Stock Celery under the same faults, set up as well as it can be, for comparison."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.run import Plan, Report


def run(plan: Plan, folder: Path, binary: Path) -> Report:
    raise NotImplementedError
