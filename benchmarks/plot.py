"""Lines over the number of rows, as an SVG that is the same for the same figures.

matplotlib is in the dependency group `bench`: figures need it, measuring does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Series:
    #: None where nothing was measured.
    values: Sequence[float | None]
    bold: bool = False
    dotted: bool = False


def over_rows(path: Path, rows: Sequence[int], series: Mapping[str, Series], label: str) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = path.name
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5))
    for name, line in series.items():
        known = [(n, value) for n, value in zip(rows, line.values, strict=True) if value]
        style = ":" if line.dotted else "-"
        axes.plot(
            *zip(*known, strict=True), style, marker="o", label=name, lw=3 if line.bold else 1.5
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(rows, [str(n) for n in rows])
    axes.set_yscale("log")
    axes.set_xlabel("concurrent rows")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
