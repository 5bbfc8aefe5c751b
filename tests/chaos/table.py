"""Results of runs as a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]

COUNTERS = ("accepted", "lost", "duplicated", "unexpected", "recovered", "extra_executions")


def of(results: Mapping[str, Json]) -> str:
    """A column per run."""
    rows = [["", *results], ["---", *("---:" for _ in results)]]
    rows.append(["seconds", *(f"{result['seconds']:.0f}" for result in results.values())])
    rows.append(["kills", *(str(result["kills"]) for result in results.values())])
    rows += [
        [name.replace("_", " "), *(f"{r['verdict'][name]:,}" for r in results.values())]
        for name in COUNTERS
    ]
    faults = sorted({name for result in results.values() for name in result["faults"]})
    rows += [[f, *(str(r["faults"].get(f, 0)) for r in results.values())] for f in faults]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    complaints = [c for r in results.values() for c in r["verdict"]["complaints"][:20]]
    return table + "\n" + "\n".join(complaints)
