"""Lines over the number of rows or the load, as an SVG that is the same for the same figures.

matplotlib is in the dependency group `bench`: figures need it, measuring does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Series:
    #: None where nothing was measured.
    values: Sequence[float | None]
    bold: bool = False
    dotted: bool = False


@dataclass(frozen=True)
class Points:
    """Values by the load in percent."""

    values: Mapping[float, float]
    bold: bool = False
    dotted: bool = False


def over_rows(path: Path, rows: Sequence[int], series: Mapping[str, Series], label: str) -> None:
    pyplot = _pyplot(path)
    figure, axes = pyplot.subplots(figsize=(9, 5.5))
    for name, line in series.items():
        known = [(n, value) for n, value in zip(rows, line.values, strict=True) if value]
        style = ":" if line.dotted else "-"
        axes.plot(
            *zip(*known, strict=True), style, marker="o", label=name, lw=3 if line.bold else 1.5
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(rows, [str(n) for n in rows])
    axes.set_xlabel("concurrent rows")
    _save(path, figure, axes, label)


def over_load(path: Path, series: Mapping[str, Points], label: str) -> None:
    pyplot = _pyplot(path)
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for name, line in series.items():
        style = ":" if line.dotted else "-"
        loads, values = list(line.values), list(line.values.values())
        axes.plot(loads, values, style, marker="o", label=name, lw=3 if line.bold else 1.5)
    ticks = sorted({load for line in series.values() for load in line.values})
    axes.set_xticks(ticks, [f"{load:.0f}" for load in ticks])
    axes.set_xlabel("load, % of the subject's own capacity")
    _save(path, figure, axes, label)


def _pyplot(path: Path) -> Any:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = path.name
    from matplotlib import pyplot

    return pyplot


def _save(path: Path, figure: Any, axes: Any, label: str) -> None:
    axes.set_yscale("log")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    _pyplot(path).close(figure)
