"""What every precision costs in perplexity and gives in speed, on the same windows in turn.

    python -m benchmarks.perplexity --full --books books.txt.xz --text wikitext=test.txt

`--books` takes the documents that worker/models/train.py holds out of that corpus, `--text` a file
as it is; without either the text is this project's licence.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from worker.model import GPT2
from worker.models.train import END, read_documents
from worker.perplexity import Window, loss, windows

from . import measure
from .mixed_precision import FINE, load

LICENCE = Path(__file__).parent.parent / "LICENSE"
#: As many as docs/model-card.md says were never trained on.
HELD_OUT = 6
PRECISIONS = ("float32", "float16", "bfloat16", "int8")


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
    return "\n\n".join(text_table(name, text, asked) for name, text in found["texts"].items())


def text_table(name: str, text: dict[str, Any], asked: dict[str, Any]) -> str:
    head = (
        f"**{name}**: {text['scored']:,} tokens scored, in {text['windows_scored']:,} of"
        f" {text['windows']:,} windows of {asked['window']:,}, stride {asked['stride']:,}"
    )
    lines = [
        head,
        "",
        "| | perplexity | against float32 (rounds) | bits per byte | tokens/s | against float32 |",
        "|---|---|---|---|---|---|",
        *(row(who, one, text) for who, one in text["subjects"].items()),
    ]
    return "\n".join(lines)


def row(who: str, one: dict[str, Any], text: dict[str, Any]) -> str:
    """A subject's figures, its costs and speeds beside float32's of the same rounds."""
    base = text["subjects"]["float32"]
    loss, least = (sum(each["nats"]) / text["scored"] for each in (one, base))
    rounds = zip(one["nats"], base["nats"], one["scored"], strict=True)
    costs = [percent((mine - its) / scored) for mine, its, scored in rounds]
    rates = one["tokens_per_s"]
    bits = loss * text["tokens"] / math.log(2) / text["bytes"]
    cost = f"{percent(loss - least):+.3f} % ({min(costs):+.3f} to {max(costs):+.3f})"
    ratio = median_ratio(rates, base["tokens_per_s"])
    cells = [who, f"{math.exp(loss):.3f}", cost, f"{bits:.4f}", f"{rates['median']:,.0f}"]
    return f"| {' | '.join([*cells, f'{ratio:.2f}x'])} |"


def percent(nats: float) -> float:
    """What a loss per token higher by so much adds to the perplexity."""
    return 100 * math.expm1(nats)


def median_ratio(rates: dict[str, Any], base: dict[str, Any]) -> float:
    pairs = zip(rates["values"], base["values"], strict=True)
    ratios: list[float] = [mine / its for mine, its in pairs]
    return statistics.median(ratios)


def parse(description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    add = parser.add_argument
    add("--books", type=Path, help="a corpus of worker/models/train.py; its held-out documents")
    add("--text", action="append", default=[], metavar="[NAME=]FILE", help="may be repeated")
    add("--model", default="bundled")
    add("--window", type=int, default=1024)
    add("--stride", type=int, default=512)
    add("--windows", type=int, default=3, help="of each text, evenly spread")
    add("--rounds", type=int, default=3)
    add("--full", action="store_true", help="128 windows in 8 rounds")
    options = parser.parse_args(arguments)
    if options.full:
        options.windows, options.rounds = 128, 8
    return options


def asked(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("model", "window", "stride", "full")}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(__doc__, arguments)
    subjects = [*PRECISIONS, *([FINE] if options.model == "bundled" else ())]
    found = {name: evaluated(text, subjects, options) for name, text in texts(options).items()}
    measure.write("perplexity", {"texts": found}, asked(options))
    print(tables(measure.read("perplexity")))


if __name__ == "__main__":
    main()
