"""What every precision costs in perplexity and gives in speed, on the same windows in turn.

    python -m benchmarks.perplexity --full --books books.txt.xz --text wikitext=test.txt

`--books` takes the documents that worker/models/train.py holds out of that corpus, `--text` a file
as it is; without either the text is this project's licence. int8 is measured with parts of the
model left in float16 too: what would it cost to lower its cost?
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from worker.engine import Engine
from worker.model import GPT2
from worker.models.train import END, read_documents
from worker.perplexity import Window, loss, windows
from worker.rows import Tokenizer

from . import measure
from .mixed import FINE, MIXED, load

LICENCE = Path(__file__).parent.parent / "LICENSE"
#: As many as docs/model-card.md says were never trained on.
HELD_OUT = 6
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
DECODED = ("float16", "int8", *MIXED)
SPEED_MODEL = "random:distilgpt2"


class Subject:
    """A model on its way through the windows of a text, a round at a time."""

    def __init__(self, model: GPT2, ids: Sequence[int], rounds: list[list[Window]]) -> None:
        self._model, self._ids = model, ids
        self._left = iter(rounds)
        self.nats: list[float] = []
        self.scored: list[int] = []
        model.reserve(max(each.stop - each.start for part in rounds for each in part))
        loss(model, ids, rounds[0][0])  # the first call allocates what the others use

    def turn(self) -> float:
        """Score the next windows; scored tokens per second."""
        part = next(self._left)
        start = time.perf_counter()
        self.nats.append(sum(loss(self._model, self._ids, window) for window in part))
        self.scored.append(sum(window.scored for window in part))
        return self.scored[-1] / (time.perf_counter() - start)


def evaluated(text: str, subjects: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Every subject's loss and speed on evenly spread windows of a text."""
    loaded = {name: load(options.model, name) for name in subjects}
    tokenizer = loaded["float32"][1]
    ids = tokenizer.encode(text)
    all_windows = windows(len(ids), options.window, options.stride)
    chosen = spread(all_windows, options.windows)
    rounds = [chosen[number :: options.rounds] for number in range(options.rounds)]
    running = {name: Subject(model, ids, rounds) for name, (model, _) in loaded.items()}
    turns: dict[str, Callable[[], float]] = {name: one.turn for name, one in running.items()}
    rates = measure.interleaved(turns, options.rounds)
    return {
        "bytes": len(text.encode()),
        "tokens": len(ids),
        "windows": len(all_windows),
        "windows_scored": len(chosen),
        "scored": sum(window.scored for window in chosen),
        "subjects": {
            name: {"nats": one.nats, "scored": one.scored, "tokens_per_s": rates[name].record()}
            for name, one in running.items()
        },
    }


def spread(found: list[Window], most: int) -> list[Window]:
    """At most so many of them, at even distances."""
    count = min(most, len(found))
    return [found[number * len(found) // count] for number in range(count)]


def decode_rates(options: argparse.Namespace) -> dict[str, Any]:
    """New tokens per second at DistilGPT2's shape, where generation spends its time."""
    loaded = {name: load(SPEED_MODEL, name) for name in DECODED}
    turns = {
        name: lambda model=model, tokenizer=tokenizer: decode_rate(model, tokenizer, options.rows)
        for name, (model, tokenizer) in loaded.items()
    }
    found = measure.interleaved(turns, options.decode_rounds)
    return {name: rates.record() for name, rates in found.items()}


def decode_rate(model: GPT2, tokenizer: Tokenizer, rows: int) -> float:
    engine = Engine(model, tokenizer, max_rows=rows, max_batch_tokens=64 * rows, prefill_budget=512)
    asked = Parameters(max_new_tokens=20, top_k=50, seed=1)
    for number in range(rows):
        engine.submit(
            str(number), JobRequest(inputs=tuple(range(number, 10 + number)), parameters=asked)
        )
    while not engine.stats.generated_tokens:  # the prompts are not what is measured
        engine.step()
    before, start, left = engine.stats.generated_tokens, time.perf_counter(), rows
    while left:
        left -= len(engine.step())
    return (engine.stats.generated_tokens - before) / (time.perf_counter() - start)


def texts(options: argparse.Namespace) -> dict[str, str]:
    found = {}
    if options.books:
        _, held_out = read_documents(options.books, HELD_OUT)
        found["held-out books"] = END.join(held_out)
    for given in options.text:
        name, _, path = given.rpartition("=")
        found[name or Path(path).stem] = Path(path).read_bytes().decode()
    return found or {"licence": LICENCE.read_text()}


def tables(record: dict[str, Any]) -> str:
    found, asked = record["found"], record["asked"]
    parts = [text_table(name, each, asked) for name, each in found["texts"].items()]
    if found["decode"]:
        parts.append(decode_table(found["decode"], asked["rows"]))
    return "\n\n".join(parts)


def text_table(name: str, text: dict[str, Any], asked: dict[str, Any]) -> str:
    losses = {who: sum(one["nats"]) / text["scored"] for who, one in text["subjects"].items()}
    base = text["subjects"]["float32"]
    head = (
        f"**{name}**: {text['scored']:,} tokens scored, in {text['windows_scored']:,} of"
        f" {text['windows']:,} windows of {asked['window']:,}, stride {asked['stride']:,}"
    )
    lines = [
        head,
        "",
        "| | perplexity | against float32 (rounds) | bits per byte | tokens/s | against float32 |",
        "|---|---|---|---|---|---|",
    ]
    for who, one in text["subjects"].items():
        bits = losses[who] * text["tokens"] / math.log(2) / text["bytes"]
        cost = f"{100 * math.expm1(losses[who] - losses['float32']):+.3f} %"
        costs = [
            100 * math.expm1((mine - its) / scored)
            for mine, its, scored in zip(one["nats"], base["nats"], one["scored"], strict=True)
        ]
        ratio = statistics.median(
            mine / its
            for mine, its in zip(
                one["tokens_per_s"]["values"], base["tokens_per_s"]["values"], strict=True
            )
        )
        cells = [
            who,
            f"{math.exp(losses[who]):.3f}",
            f"{cost} ({min(costs):+.3f} to {max(costs):+.3f})",
            f"{bits:.4f}",
            f"{one['tokens_per_s']['median']:,.0f}",
            f"{ratio:.2f}x",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def decode_table(rates: dict[str, Any], rows: int) -> str:
    lines = [
        f"**decoding at DistilGPT2's shape**, {rows} rows",
        "",
        "| | new tokens/s (range) | against int8 |",
        "|---|---|---|",
    ]
    base = rates["int8"]["values"]
    for who, rate in rates.items():
        ratio = statistics.median(m / b for m, b in zip(rate["values"], base, strict=True))
        span = f"{rate['low']:,.0f} to {rate['high']:,.0f}"
        lines.append(f"| {who} | {rate['median']:,.0f} ({span}) | {ratio:.2f}x |")
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--books", type=Path, help="a corpus of worker/models/train.py; its held-out documents")
    add("--text", action="append", default=[], metavar="[NAME=]FILE", help="may be repeated")
    add("--model", default="bundled")
    add("--window", type=int, default=1024)
    add("--stride", type=int, default=512)
    add("--windows", type=int, default=6, help="of each text, evenly spread")
    add("--rounds", type=int, default=3)
    add("--rows", type=int, default=64, help="of the decoding")
    add("--decode-rounds", type=int, default=5)
    add("--full", action="store_true", help="128 windows in 8 rounds, all variants, decoding too")
    options = parser.parse_args(arguments)
    if options.full:
        options.windows, options.rounds = 128, 8
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    subjects = [*PRECISIONS, *([FINE, *MIXED] if options.full else ())]
    given = texts(options)
    found = {
        "texts": {name: evaluated(text, subjects, options) for name, text in given.items()},
        "decode": decode_rates(options) if options.full else {},
    }
    asked = {name: getattr(options, name) for name in ("model", "window", "stride", "rows", "full")}
    measure.write("perplexity", found, asked)
    print(tables(measure.read("perplexity")))


if __name__ == "__main__":
    main()
