"""`python -m distilq.worker.evaluate`: the perplexity of a text; `distilq evaluate` runs it.

The result on stdout, progress on stderr; exit status 1 and one line on stderr if there is none.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distilq.settings import Settings

from .names import ModelUnavailable

if TYPE_CHECKING:  # they import torch, which may be missing
    from .perplexity import Score
    from .rows import ModelInfo


class CannotEvaluate(Exception):
    """The message names the option and what it may be."""


@dataclass(frozen=True)
class Span:
    """Sizes of the sliding window, within what the model can see."""

    window: int
    stride: int

    @classmethod
    def within(cls, positions: int, window: int | None, stride: int | None) -> Span:
        """The whole of the model's positions and half the window, where nothing else is asked for.

        Raises:
            CannotEvaluate: it cannot be so.
        """
        size = positions if window is None else window
        step = max(1, size // 2) if stride is None else stride
        if size > positions:
            raise CannotEvaluate(f"--window {size}: the model has {positions} positions")
        if size < 2:
            raise CannotEvaluate(f"--window {size}: must be at least 2, as the first is not scored")
        if step < 1:
            raise CannotEvaluate(f"--stride {step}: must be at least 1")
        if step > size:
            raise CannotEvaluate(f"--stride {step}: must be at most the window, {size}")
        return cls(size, step)


class Progress:
    """Tokens done, on one line of a terminal; elsewhere a line now and then."""

    def __init__(self, of: int) -> None:
        self._of = of
        self._terminal = sys.stderr.isatty()
        self._every_s = 0.2 if self._terminal else 10.0
        self._start = self._said = time.monotonic()

    def __call__(self, scored: int) -> None:
        now = time.monotonic()
        if now - self._said < self._every_s:
            return
        self._said = now
        words = f"{scored:,} of {self._of:,} tokens, {scored / (now - self._start):,.0f} tokens/s"
        print(words, end="\r" if self._terminal else "\n", file=sys.stderr, flush=True)

    def close(self) -> float:
        """Wipe the line; the seconds it all took."""
        if self._terminal:
            print("\x1b[K", end="", file=sys.stderr, flush=True)
        return time.monotonic() - self._start


def read_text(name: str) -> bytes:
    """A file as it is, or for `-` standard input; UTF-8.

    Raises:
        CannotEvaluate: it cannot be read, or is something else.
    """
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        raw.decode()
    except OSError as error:
        raise CannotEvaluate(f"--text {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        raise CannotEvaluate(f"--text {name}: not UTF-8 ({byte})") from error
    return raw


def report(settings: Settings, asked: argparse.Namespace) -> dict[str, Any]:
    """All that is told of a text, by the names of `--json`.

    Raises:
        CannotEvaluate, ModelUnavailable: one line each.
    """
    raw = read_text(asked.text)
    from .loading import load_model
    from .model import GPT2
    from .perplexity import NotFinite, evaluate

    model, tokenizer = load_model(settings)
    if not isinstance(model, GPT2):
        raise ModelUnavailable(f"{model.info.name} has no probabilities to evaluate")
    span = Span.within(model.info.n_positions, asked.window, asked.stride)
    ids = tokenizer.encode(raw.decode())
    if len(ids) < 2:
        count = "1 token" if ids else "no tokens"
        raise CannotEvaluate(
            f"--text {asked.text}: has {count}, must have at least 2, as the first is not scored"
        )
    progress = Progress(len(ids))
    try:
        score = evaluate(model, ids, span.window, span.stride, progress)
    except NotFinite as error:
        raise ModelUnavailable(f"{model.info.name} in {model.info.precision}: {error}") from error
    finally:
        seconds = progress.close()
    return record(model.info, span, score, len(raw), seconds)


def record(info: ModelInfo, span: Span, score: Score, size: int, seconds: float) -> dict[str, Any]:
    return {
        "model": info.name,
        "source": info.source,
        "revision": info.revision,
        "precision": info.precision,
        "device": info.device,
        "window": span.window,
        "stride": span.stride,
        "bytes": size,
        "tokens": score.tokens,
        "scored_tokens": score.scored,
        "nats": score.nats,
        "nats_per_token": score.loss,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte(size),
        "seconds": seconds,
        "tokens_per_s": score.scored / seconds,
    }


def in_words(found: dict[str, Any]) -> str:
    of = argparse.Namespace(**found)
    return "\n".join(
        [
            f"model          {of.model}, {of.precision} on {of.device}",
            f"text           {of.bytes:,} bytes, {of.tokens:,} tokens",
            f"windows        of {of.window:,} tokens, stride {of.stride:,}",
            f"scored         {of.scored_tokens:,} tokens, {of.nats:,.2f} nats",
            f"loss           {of.nats_per_token:.4f} nats per token",
            f"perplexity     {of.perplexity:.3f} per token",
            f"bits per byte  {of.bits_per_byte:.4f}",
            f"speed          {of.tokens_per_s:,.0f} tokens/s, {of.seconds:.1f} s",
        ]
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="distilq evaluate", allow_abbrev=False)
    parser.add_argument("--text", required=True)
    parser.add_argument("--stride", type=int)
    parser.add_argument("--window", type=int)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parse(arguments)
    try:
        found = report(Settings.from_env(), asked)
    except (CannotEvaluate, ModelUnavailable, ValueError) as error:
        print(f"distilq: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"distilq: {error.name} is missing: pip install 'distilq[worker]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(found) if asked.json else in_words(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
