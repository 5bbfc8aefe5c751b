"""A model that only sleeps: for trials of queue and workers, where tokens do not matter.

With a folder for faults, whoever can write there breaks a worker: the first to see a file named
`freeze` takes it away and stands still, `crash` and it dies, as does whoever runs the prompt CRASH.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from .names import ResolvedModel
from .rows import Candidates, Chunk, Draws, ModelInfo, Row, Segment
from .tokens import ByteTokenizer

LETTERS = b"etaoin shrdlu"
CRASH = "this prompt kills its worker"
FROZEN_S = 3600.0


class SimulatedModel:
    """Every decode step takes `step_ms`; tokens follow from seed, input, sequence and step."""

    def __init__(self, resolved: ResolvedModel) -> None:
        self._step_s = resolved.step_ms / 1000
        self._faults = Path(resolved.faults) if resolved.faults else None
        self.info = ModelInfo(
            name=resolved.name,
            source=resolved.source,
            revision=None,
            precision="none",
            device="none",
            n_positions=1024,
            vocab_size=ByteTokenizer.END + 1,
            parameters=0,
            bundled=False,
            eos_token_ids=frozenset({ByteTokenizer.END}),
            bos_token_id=ByteTokenizer.END,
            note=resolved.note,
        )

    def reserve(self, tokens: int) -> None:
        pass

    def copy(self, source: Segment, target: Segment, tokens: int) -> None:
        pass

    def forward(
        self, rows: Sequence[Row], chunks: Sequence[Chunk]
    ) -> tuple[None, list[list[Candidates]]]:
        if rows:
            if self._step_s:  # even a sleep of 0 s lets go of the interpreter, and waits for it
                time.sleep(self._step_s)
            self._break(rows)
        return None, [
            [Candidates(0.0, [])] * (chunk.stop - chunk.start) if chunk.wants_logits else []
            for chunk in chunks
        ]

    def _break(self, rows: Sequence[Row]) -> None:
        if self._faults is None:
            return
        if self._takes("crash") or any(row.prompt.given == CRASH for row in rows):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._takes("freeze"):
            time.sleep(FROZEN_S)

    def _takes(self, fault: str) -> bool:
        try:
            (self._faults or Path()).joinpath(fault).unlink()
        except FileNotFoundError:
            return False
        return True

    def sample(self, logits: None, rows: Sequence[Row]) -> Draws:
        draws = Draws([_token(row) for row in rows])
        for number, row in enumerate(rows):
            if row.wants_logprob:
                draws.candidates[number] = Candidates(0.0, [])
        return draws


def _token(row: Row) -> int:
    place = row.seed + 7 * row.prompt.index + 3 * row.sequence + len(row.tokens)
    return LETTERS[place % len(LETTERS)]
