"""Mixed traffic: what is asked, when it arrives, and what can be said of what was served."""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import dataclass

PROMPT_TOKENS = (5, 200)
NEW_TOKENS = (5, 120)
VOCABULARY = 50_257


@dataclass(frozen=True)
class Ask:
    prompt: tuple[int, ...]
    new_tokens: int


@dataclass(frozen=True)
class Arrival:
    at: float
    ask: Ask


@dataclass(frozen=True)
class Served:
    """A job's moments, all of one clock, in seconds."""

    due: float
    #: From here to `ended` its tokens came, evenly.
    began: float
    #: When there was something of it to be read.
    first: float
    ended: float
    tokens: int


def drawn(draw: random.Random) -> Ask:
    prompt = tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(*PROMPT_TOKENS)))
    return Ask(prompt, draw.randint(*NEW_TOKENS))


def all_at_once(count: int, seed: int) -> list[Arrival]:
    """A full queue."""
    draw = random.Random(seed)
    return [Arrival(0, drawn(draw)) for _ in range(count)]


def poisson(tokens_per_s: float, start: float, seconds: float, seed: int) -> list[Arrival]:
    """Arrivals that ask for so many new tokens per second.

    Moments drawn evenly over an interval are a Poisson process whose number of arrivals is known.
    So a short run has the load that it is said to have.
    """
    draw = random.Random(seed)
    asks: list[Ask] = []
    left = tokens_per_s * seconds
    while (ask := drawn(draw)).new_tokens / 2 <= left:
        asks.append(ask)
        left -= ask.new_tokens
    moments = sorted(start + seconds * draw.random() for _ in asks)
    return [Arrival(at, ask) for at, ask in zip(moments, asks, strict=True)]


def tokens_per_s(served: Sequence[Served], start: float, end: float) -> float:
    """The rate at which tokens came between two moments."""
    tokens = sum(
        job.tokens
        * max(0.0, min(job.ended, end) - max(job.began, start))
        / max(1e-9, job.ended - job.began)
        for job in served
    )
    return tokens / (end - start)


def percentile(values: Sequence[float], share: float, weights: Sequence[float] = ()) -> float:
    """The least value that `share` of all are not above; each counts by its weight."""
    pairs = sorted(zip(values, weights or [1.0] * len(values), strict=True))
    sums, whole = [], 0.0
    for _, weight in pairs:
        whole += weight
        sums.append(whole)
    return pairs[min(bisect.bisect_left(sums, share * whole - 1e-9), len(pairs) - 1)][0]
