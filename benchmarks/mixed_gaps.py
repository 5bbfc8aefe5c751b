"""The time between two tokens of a row, in the engine alone, while other prompts arrive.

A step gives every running row a token, so a row's gap is the time from the end of one step to the
end of the next, and a step counts as often as it has rows that were running before it.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from worker.engine import Engine

from .mixed_traffic import NEW_TOKENS, VOCABULARY, Arrival, Ask, percentile

#: Rows with short prompts that are kept running while long prompts arrive, and these.
RUNNING, SHORT_PROMPT = 48, 10
LONG = Ask(tuple(range(1000)), 5)
LONG_PER_S = 1.0


class Gaps:
    """The engine's steps, and who waited for each."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._vocabulary = min(VOCABULARY, engine.model.info.vocab_size)
        self._last = time.perf_counter()
        self._sent = 0
        self._found: list[tuple[float, int]] = []

    def submit(self, ask: Ask) -> str:
        self._sent += 1
        key = str(self._sent)
        asked = Parameters(max_new_tokens=ask.new_tokens, top_k=50, seed=self._sent)
        inputs = tuple(token % self._vocabulary for token in ask.prompt)
        self._engine.submit(key, JobRequest(inputs=inputs, parameters=asked, timeout_s=3600))
        return key

    def step(self) -> list[str]:
        """One step; the jobs that ended in it. Raises RuntimeError when one has failed."""
        running = sum(bool(row.tokens) for row in self._engine._scheduler.ready())
        ended = self._engine.step()
        now = time.perf_counter()
        if running:
            self._found.append((now - self._last, running))
        self._last = now
        if failed := [outcome.error for _, outcome in ended if outcome.error]:
            raise RuntimeError(failed[0])
        return [key for key, _ in ended]

    def forget(self) -> None:
        """Count from here on."""
        self._found = []

    def taken(self) -> dict[str, Any]:
        """What came since the last call, or since `forget`."""
        found, self._found = self._found, []
        if not found:
            raise RuntimeError("no row was running")
        gaps, rows = [gap for gap, _ in found], [rows for _, rows in found]
        return {
            "steps": len(found),
            "rows": sum(rows) / len(rows),
            "p50_ms": 1000 * percentile(gaps, 0.5, rows),
            "p99_ms": 1000 * percentile(gaps, 0.99, rows),
            "most_ms": 1000 * max(gaps),
        }

    def clear(self) -> None:
        """Leave the engine empty."""
        for key in self._engine.progress():
            self._engine.cancel(key)
        while self._engine.stats.rows or self._engine.stats.waiting:
            self._engine.step()


def under_load(gaps: Gaps, engine: Engine, arrivals: Sequence[Arrival], until: float) -> None:
    """Serve arrivals at their time, for so many seconds; what is left then stays."""
    coming = deque(arrivals)
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < until:
        while coming and coming[0].at <= now:
            gaps.submit(coming.popleft().ask)
        if engine.wait(min(until, coming[0].at if coming else until) - now):
            gaps.step()


def beside_long_prompts(gaps: Gaps, per_s: float, settle: float, seconds: float) -> dict[str, Any]:
    """The gaps of rows with short prompts that are kept running while long prompts arrive."""
    draw = random.Random(1)
    moments = [draw.uniform(0, settle + seconds) for _ in range(round(per_s * (settle + seconds)))]
    coming, short = deque(sorted(moments)), set[str]()
    start, settled = time.perf_counter(), False
    while (now := time.perf_counter() - start) < settle + seconds:
        while len(short) < RUNNING:
            short.add(gaps.submit(_short(draw)))
        while coming and coming[0] <= now:
            coming.popleft()
            gaps.submit(LONG)
        if now > settle and not settled:
            gaps.forget()
            settled = True
        short.difference_update(gaps.step())
    return gaps.taken()


def _short(draw: random.Random) -> Ask:
    prompt = tuple(draw.randrange(VOCABULARY) for _ in range(SHORT_PROMPT))
    return Ask(prompt, draw.randint(*NEW_TOKENS))
