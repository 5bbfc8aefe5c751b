"""int8 with some of its products in float16: what it would take to lower its cost.

    python -m benchmarks.int8_parts --full --books books.txt.xz

Perplexity on the windows of benchmarks/perplexity.py, which has the same options, and new tokens
per second at DistilGPT2's shape, where those products are larger.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from worker.engine import Engine
from worker.model import GPT2
from worker.rows import Tokenizer

from . import measure
from .mixed_precision import MIXED, load
from .perplexity import asked, evaluated, median_ratio, parse, text_table, texts

SPEED_MODEL = "random:distilgpt2"
ROWS = 64


def decode_rates(rounds: int) -> dict[str, Any]:
    """New tokens per second at DistilGPT2's shape, where generation spends its time."""
    loaded = {name: load(SPEED_MODEL, name) for name in ("float16", "int8", *MIXED)}
    turns = {
        name: lambda model=model, tokenizer=tokenizer: decode_rate(model, tokenizer)
        for name, (model, tokenizer) in loaded.items()
    }
    measure.interleaved(turns, 1)  # first calls page in what later ones use
    found = measure.interleaved(turns, rounds)
    return {name: rates.record() for name, rates in found.items()}


def decode_rate(model: GPT2, tokenizer: Tokenizer) -> float:
    engine = Engine(model, tokenizer, max_rows=ROWS, max_batch_tokens=64 * ROWS, prefill_budget=512)
    asked = Parameters(max_new_tokens=20, top_k=50, seed=1)
    for number in range(ROWS):
        engine.submit(
            str(number), JobRequest(inputs=tuple(range(number, 10 + number)), parameters=asked)
        )
    while not engine.stats.generated_tokens:  # the prompts are not what is measured
        engine.step()
    before, start, left = engine.stats.generated_tokens, time.perf_counter(), ROWS
    while left:
        left -= len(engine.step())
    return (engine.stats.generated_tokens - before) / (time.perf_counter() - start)


def tables(record: dict[str, Any]) -> str:
    found = record["found"]
    parts = [text_table(name, text, record["asked"]) for name, text in found["texts"].items()]
    return "\n\n".join([*parts, decode_table(found["decode"])])


def decode_table(rates: dict[str, Any]) -> str:
    lines = [
        f"**decoding at DistilGPT2's shape**, {ROWS} rows",
        "",
        "| | new tokens/s (range) | against int8 |",
        "|---|---|---|",
    ]
    for who, rate in rates.items():
        ratio = median_ratio(rate, rates["int8"])
        span = f"{rate['low']:,.0f} to {rate['high']:,.0f}"
        lines.append(f"| {who} | {rate['median']:,.0f} ({span}) | {ratio:.2f}x |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(__doc__, arguments)
    subjects = ("float32", "int8", *MIXED)
    found = {
        "texts": {
            name: evaluated(text, subjects, options) for name, text in texts(options).items()
        },
        "decode": decode_rates(5 if options.full else 3),
    }
    measure.write("int8_parts", found, asked(options))
    print(tables(measure.read("int8_parts")))


if __name__ == "__main__":
    main()
