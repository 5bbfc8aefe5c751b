"""What every benchmark shares: alternating rounds, medians with their spread, and raw records.

Machines are noisy, so a figure means something beside another of the same run only: subjects take
turns (A B A B), and every table gives ratios.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "celery", "kombu", "redis", "flask", "gunicorn")


@dataclass(frozen=True)
class Spread:
    """Every round's figure of one subject, in the order of the rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def record(self) -> dict[str, Any]:
        return {"median": self.median, "low": self.low, "high": self.high, "values": self.values}


def interleaved(subjects: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Spread]:
    """Call every subject once per round; a busy minute falls on all of them alike."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, measure in subjects.items():
            found[name].append(measure())
    return {name: Spread(tuple(values)) for name, values in found.items()}


def machine() -> dict[str, Any]:
    """What ran the benchmark, as far as it decides the figures."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.system(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def write(name: str, found: Mapping[str, Any], asked: Mapping[str, Any]) -> Path:
    """Keep a run's raw figures in results/NAME.json: what was asked, on what machine, what came."""
    RESULTS.mkdir(exist_ok=True)
    record = {
        "benchmark": name,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "asked": dict(asked),
        "found": dict(found),
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def read(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return record


def _cpu() -> str:
    """The processor's name and the vector extensions that matrix products use."""
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in facts.read_text().splitlines() if ":" in line)
    known = {name.strip(): value.strip() for name, value in lines.items()}
    flags = set(known.get("flags", "").split())
    wide = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if flag in flags]
    return f"{known.get('model name', platform.machine())} ({', '.join(wide)})"
