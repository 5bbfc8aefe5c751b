"""A model that only sleeps: for trials of queue and workers, where tokens do not matter."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .names import ResolvedModel
from .rows import Candidates, Chunk, Draws, ModelInfo, Row, Segment
from .tokens import ByteTokenizer

LETTERS = b"etaoin shrdlu"


class SimulatedModel:
    """Every decode step takes `step_ms`; tokens follow from seed, input, sequence and step."""

    def __init__(self, resolved: ResolvedModel) -> None:
        self._step_s = resolved.step_ms / 1000
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
            eos_token_id=ByteTokenizer.END,
            note=resolved.note,
        )

    def reserve(self, tokens: int) -> None:
        pass

    def copy(self, source: Segment, target: Segment, tokens: int) -> None:
        pass

    def prefill(self, chunks: Sequence[Chunk]) -> list[list[Candidates]]:
        return [
            [Candidates(0.0, [])] * (chunk.stop - chunk.start) if chunk.wants_logits else []
            for chunk in chunks
        ]

    def decode(self, rows: Sequence[Row]) -> None:
        time.sleep(self._step_s)

    def sample(self, logits: None, rows: Sequence[Row]) -> Draws:
        draws = Draws([_token(row) for row in rows])
        for number, row in enumerate(rows):
            if row.wants_logprob:
                draws.candidates[number] = Candidates(0.0, [])
        return draws


def _token(row: Row) -> int:
    place = row.seed + 7 * row.prompt.index + 3 * row.sequence + len(row.tokens)
    return LETTERS[place % len(LETTERS)]
