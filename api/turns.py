"""Turns for requests that bring or read jobs by the thousand, so that memory holds few of them.

Python runs one thread at a time, so two at once are as fast as thirty; the second makes use of the
time in which the first waits for Redis.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .context import large_turns

#: What makes a request large: bytes of its body, if it is a batch, or ids that it asks for. Sixty
#: that are smaller take the memory of one batch of 10,000 jobs.
LARGE_BYTES, LARGE_IDS = 16_384, 50

#: Seconds after which one goes on without its turn: none holds it for so long, unless Redis hangs
#: and all are about to fail.
PATIENCE_S = 10.0


@contextmanager
def turn(large: bool) -> Iterator[None]:
    """Wait for this request's turn, if it is a large one."""
    turns = large_turns()
    taken = large and turns.acquire(timeout=PATIENCE_S)
    try:
        yield
    finally:
        if taken:
            turns.release()
