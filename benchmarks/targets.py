"""What the engine is to reach beside its peers, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Tokens per second by subject, of one number of rows.
Rates = Mapping[str, float]

FASTEST_FLOAT32 = ("ctranslate2-float32-whole", "ctranslate2-float32-split")
FASTEST_INT8 = ("ctranslate2-int8-whole", "ctranslate2-int8-split")


@dataclass(frozen=True)
class Target:
    """`ours` is to be at least `factor` times the fastest of `others`, at `rows` rows."""

    ours: str
    others: tuple[str, ...]
    words: str
    rows: int
    factor: float

    def ratio(self, by_rows: Mapping[int, Rates]) -> float | None:
        """None if one side was not measured."""
        rates = by_rows.get(self.rows, {})
        known = [rates[name] for name in self.others if name in rates]
        if self.ours not in rates or not known:
            return None
        return rates[self.ours] / max(known)


TARGETS = [
    Target("ours-float16", FASTEST_FLOAT32, "CTranslate2 float32", 8, 1.5),
    Target("ours-float16", FASTEST_FLOAT32, "CTranslate2 float32", 64, 1.4),
    Target("ours-int8", FASTEST_INT8, "CTranslate2 int8", 8, 2.0),
    Target("ours-int8", FASTEST_INT8, "CTranslate2 int8", 64, 1.3),
    Target("ours-float16", ("generate",), "transformers `generate`", 1, 2.3),
    Target("ours-float16", ("generate",), "transformers `generate`", 64, 3.0),
    Target("ours-float16", ("batching",), "transformers continuous batching", 64, 6.0),
    *(
        Target("ours-float16", ("openvino",), "OpenVINO GenAI", rows, 1.0)
        for rows in (1, 8, 32, 64, 128)
    ),
    Target("ours-float16", ("limit-float16",), "its products alone", 64, 0.85),
    Target("ours-int8", ("limit-int8",), "its products alone", 64, 0.75),
]


def judged(by_rows: Mapping[int, Rates]) -> str:
    """A table of every target, what was measured, and met or missed."""
    lines = ["| target | rows | at least | measured | |", "|---|---:|---:|---:|---|"]
    for target in TARGETS:
        ratio = target.ratio(by_rows)
        if ratio is None:
            measured, verdict = "", "not measured"
        else:
            measured, verdict = f"{ratio:.2f}x", "met" if ratio >= target.factor else "**missed**"
        ours = target.ours.removeprefix("ours-")
        lines.append(
            f"| {ours} to {target.words} | {target.rows} | {target.factor:g}x "
            f"| {measured} | {verdict} |"
        )
    return "\n".join(lines) + "\n"
