"""Perplexity through the engine's own forward pass: its chunks, its packed weights, its cache.

The windows are those of transformers' guide, https://huggingface.co/docs/transformers/perplexity:
each begins `stride` tokens after the one before and scores what that one did not reach; the rest of
it is context. Every token counts once, except the first of the text, and with a stride as long as
the window the first of every window: nothing comes before it. (The guide weights a window by one
token less than it scores.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distilq.jobs import JobRequest

from .model import GPT2
from .rows import ActiveJob, Chunk, Prompt, Segment

#: Tokens in a chunk, and chunks in one pass: more per chunk than where others wait for a step.
CHUNK = 64
AT_ONCE = 8


class NotFinite(Exception):
    """A window has no loss that could be summed."""


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens `start` to `stop` of a text; those from `first` on are scored."""

    start: int
    first: int
    stop: int

    @property
    def scored(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True, slots=True)
class Score:
    """The loss of a text."""

    tokens: int
    scored: int
    nats: float

    @property
    def loss(self) -> float:
        """Nats per scored token."""
        return self.nats / self.scored

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss)

    def bits_per_byte(self, size: int) -> float:
        """Of a text of `size` bytes, as if the tokens not scored had the others' mean loss."""
        return self.loss * self.tokens / math.log(2) / size


def windows(tokens: int, size: int, stride: int) -> list[Window]:
    """All that score something, in the order of the text."""
    found: list[Window] = []
    reached = 0
    for start in range(0, tokens, stride):
        window = Window(start, max(reached, start + 1), min(start + size, tokens))
        if window.scored:
            found.append(window)
        reached = window.stop
        if reached == tokens:
            break
    return found


def evaluate(
    model: GPT2,
    ids: Sequence[int],
    size: int,
    stride: int,
    progress: Callable[[int], None] = lambda scored: None,
) -> Score:
    """The loss of a text of two tokens at least; `progress` hears how many have been scored.

    The model's cache is made anew, for one window.

    Raises:
        NotFinite: the model gives one of the tokens no probability.
    """
    model.reserve(size)
    scored, nats = 0, 0.0
    for window in windows(len(ids), size, stride):
        nats += loss(model, ids, window)
        scored += window.scored
        progress(scored)
    return Score(len(ids), scored, nats)


def loss(model: GPT2, ids: Sequence[int], window: Window) -> float:
    """Nats of the tokens that a window scores, summed in float64."""
    prompt = Prompt(_JOB, 0, "", list(ids[window.start : window.stop]), 0)
    segment = Segment(0, len(prompt.ids))
    chunks = [
        Chunk(prompt, segment, start, min(start + CHUNK, prompt.to_prefill))
        for start in range(0, prompt.to_prefill, CHUNK)
    ]
    before = window.first - window.start - 1  # the position that predicts the first to be scored
    nats = 0.0
    for number in range(0, len(chunks), AT_ONCE):
        some = chunks[number : number + AT_ONCE]
        if some[-1].stop <= before:
            model.forward([], some)
        else:
            nats += model.losses(some, before).double().sum().item()
    if not math.isfinite(nats):
        raise NotFinite(f"tokens {window.first} to {window.stop} have no finite loss")
    return nats


#: A chunk's prompt belongs to a job; this one asks for nothing.
_JOB = ActiveJob("evaluation", JobRequest(inputs=""), 0.0)
