"""Where the time of one decode step goes, in milliseconds.

    python -m benchmarks.step_profile

Clocks are put around the parts named in `_watch`: one reading of the clock at each boundary, and
all time between two boundaries counts for the part that runs there, so the parts add up to the
step. Steps with the clocks take turns with steps without, which shows what the clocks cost, and the
products alone follow in every round: int8's products in the step scale each row besides.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from worker import attention, sampling
from worker import model as model_module
from worker.engine import Engine
from worker.loading import random_distilgpt2

from . import measure
from .gemm import Products
from .subjects import Terms, own_engine

PRODUCTS = ("attention_in", "attention_out", "mlp_in", "mlp_out")
PARTS = (
    "layer products",
    "head product",
    "attention, cache writes",
    "layer norms",
    "GELU",
    "embedding, residuals",
    "sampling",
    "random numbers",
    "scheduling, emitting",
)
#: Steps of a round that count, and steps before them: prefill and set-up.
STEPS, BEFORE = 24, 4


class Clock:
    """Seconds by part; whatever runs now counts for `_part`."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._part = PARTS[-1]
        self._since = time.perf_counter()

    def switch(self, part: str) -> str:
        """Count for another part from now on; the one before."""
        now, before = time.perf_counter(), self._part
        self.seconds[before] += now - self._since
        self._part, self._since = part, now
        return before

    def around(
        self, call: Callable[..., Any], part: str, then: str | None = None
    ) -> Callable[..., Any]:
        """The call, counted for `part`; what follows it counts for `then`, or as before it."""

        def timed(*arguments: Any, **named: Any) -> Any:
            before = self.switch(part)
            try:
                return call(*arguments, **named)
            finally:
                self.switch(then or before)

        return timed


def _watch(clock: Clock, model: Any) -> list[tuple[Any, str, Callable[..., Any]]]:
    """(owner, attribute, the same with a clock): everything that this file knows of the engine.

    Cache writes have no function of their own: they follow the first product of a layer. Sums of
    residuals follow attention and the products after it.
    """
    rest = "embedding, residuals"
    watched: list[tuple[Any, str, str, str | None]] = [
        (layer, name, "layer products", "attention, cache writes" if name == PRODUCTS[0] else rest)
        for layer in model._layers
        for name in PRODUCTS
    ]
    watched += [
        (model, "_head", "head product", None),
        (model, "_normed", "layer norms", None),
        (model, "forward", rest, None),
        (model, "sample", "sampling", None),
        (model_module, "gelu", "GELU", None),
        (attention.DecodeAttention, "__call__", "attention, cache writes", rest),
        (attention.DecodeAttention, "__init__", "attention, cache writes", None),
        (sampling.Batch, "uniforms", "random numbers", None),
    ]
    return [
        (owner, name, clock.around(getattr(owner, name), part, then))
        for owner, name, part, then in watched
    ]


def watched_step(engine: Engine, clock: Clock) -> float:
    """Take one step under the clock; its seconds."""
    put = _watch(clock, engine.model)
    olds = [(owner, name, vars(owner).get(name)) for owner, name, _ in put]
    for owner, name, timed in put:
        setattr(owner, name, timed)
    try:
        start = time.perf_counter()
        clock.switch(PARTS[-1])
        clock.seconds = dict.fromkeys(PARTS, 0.0)
        engine.step()
        clock.switch(PARTS[-1])
        return time.perf_counter() - start
    finally:
        for owner, name, old in olds:
            if old is None:  # it was the class's
                delattr(owner, name)
            else:
                setattr(owner, name, old)


def profile(engine: Engine, products: Products, rows: int, rounds: int) -> dict[str, Any]:
    """Seconds of the parts in a step, the mean of the middle half of all, and the bare step's."""
    steps: list[dict[str, float]] = []
    bare: list[float] = []
    alone: list[float] = []
    for _ in range(rounds):
        asked = Parameters(max_new_tokens=BEFORE + STEPS + 4, top_k=50, seed=1)
        for number in range(rows):
            prompt = tuple(torch.randint(0, engine.model.info.vocab_size, (10,)).tolist())
            engine.submit(str(number), JobRequest(inputs=prompt, parameters=asked))
        for _ in range(BEFORE):
            engine.step()
        if engine.stats.rows != rows or engine.stats.waiting:
            raise RuntimeError(f"{engine.stats.rows} rows run where {rows} should")
        for _ in range(STEPS // 2):
            clock = Clock()
            watched_step(engine, clock)
            steps.append(clock.seconds)
            start = time.perf_counter()
            engine.step()
            bare.append(time.perf_counter() - start)
        while engine.stats.rows:
            engine.step()
        alone.append(rows / products.rate(rows, STEPS // 2))
    return {
        "parts": middle(steps),
        "bare_step": statistics.median(bare),
        "products_alone": statistics.median(alone),
    }


def middle(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of the steps that were neither among the fastest quarter nor the slowest."""
    by_length = sorted(steps, key=lambda step: sum(step.values()))
    quarter = len(by_length) // 4
    kept = by_length[quarter : len(by_length) - quarter]
    return {part: statistics.fmean(step[part] for step in kept) for part in kept[0]}


def tables(record: dict[str, Any]) -> str:
    """Milliseconds and the share of the step; a column for each precision and number of rows."""
    found = record["found"]
    columns = [(p, rows, each) for p, by_rows in found.items() for rows, each in by_rows.items()]
    head = "".join(f" {p}, {_rows(rows)} |" for p, rows, _ in columns)
    lines = [f"| ms of a step (share) |{head}", "|---|" + "---:|" * len(columns)]
    for part in PARTS:
        cells = []
        for _, _, each in columns:
            seconds = each["parts"][part]
            cells.append(f"{1000 * seconds:.2f} ({seconds / sum(each['parts'].values()):.0%})")
        lines.append(f"| {part} | {' | '.join(cells)} |")
    totals = [f"{1000 * sum(each['parts'].values()):.2f}" for _, _, each in columns]
    lines.append(f"| the step | {' | '.join(totals)} |")
    for key, words in (
        ("bare_step", "the step without clocks"),
        ("products_alone", "all its products alone"),
    ):
        cells = [f"{1000 * each[key]:.2f}" for _, _, each in columns]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rows(rows: str) -> str:
    return "1 row" if rows == "1" else f"{rows} rows"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="more rounds")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--precision", nargs="+", default=["float16", "int8"])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (8 if options.full else 3)
    torch.manual_seed(0)
    found: dict[str, dict[str, Any]] = {}
    for precision in options.precision:
        engine = own_engine(precision, Terms(options.threads, max(options.rows)))
        products = Products(random_distilgpt2(), precision)
        found[precision] = {
            str(n): profile(engine, products, n, options.rounds) for n in options.rows
        }
    measure.write("step_profile", found, vars(options))
    print(tables(measure.read("step_profile")))


if __name__ == "__main__":
    main()
