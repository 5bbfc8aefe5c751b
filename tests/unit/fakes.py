"""A model with known answers: it counts upwards from the last token, and remembers what it ran."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from worker.rows import Candidates, Chunk, Draws, ModelInfo, Row, Segment

END = 256


class CountingModel:
    """Draws last token + 1, or what `draw` says; checks that rows keep to their own segments."""

    def __init__(self, n_positions: int = 1024) -> None:
        self.info = ModelInfo(
            name="counting",
            source="tests",
            revision=None,
            precision="none",
            device="none",
            n_positions=n_positions,
            vocab_size=END + 1,
            parameters=0,
            bundled=False,
            eos_token_ids=frozenset({END}),
            bos_token_id=END,
        )
        self.draw: Callable[[Row], int] = lambda row: (row.last_token + 1) % END
        self.batches: list[list[Row]] = []
        self.prefilled: list[Chunk] = []
        self.copies: list[tuple[Segment, Segment, int]] = []
        self.reserved: list[int] = []

    def reserve(self, tokens: int) -> None:
        self.reserved.append(tokens)

    def copy(self, source: Segment, target: Segment, tokens: int) -> None:
        self.copies.append((source, target, tokens))

    def forward(
        self, rows: Sequence[Row], chunks: Sequence[Chunk]
    ) -> tuple[None, list[list[Candidates]]]:
        self.prefill(chunks)
        if rows:
            self.decode(rows)
        return None, [
            [Candidates(-1.0, [])] * (each.stop - each.start) if each.wants_logits else []
            for each in chunks
        ]

    def prefill(self, chunks: Sequence[Chunk]) -> None:
        self.prefilled += chunks

    def decode(self, rows: Sequence[Row]) -> None:
        ends = 0
        for row in rows:
            assert row.place.offset >= ends, "two rows share cache"
            assert row.position < row.place.size, "a row outgrew its segment"
            ends = row.place.offset + row.place.size
        self.batches.append(list(rows))

    def sample(self, logits: None, rows: Sequence[Row]) -> Draws:
        draws = Draws([self.draw(row) for row in rows])
        for number, row in enumerate(rows):
            if row.wants_logprob:
                draws.candidates[number] = Candidates(-float(row.sequence), [])
        return draws


class RememberingModel(CountingModel):
    """Keeps tokens where others keep keys, and draws a token by all that it finds there."""

    def __init__(self, n_positions: int = 1024) -> None:
        super().__init__(n_positions)
        self.draw = lambda row: zlib.crc32(self._drawn_from(row)) % END

    def reserve(self, tokens: int) -> None:
        super().reserve(tokens)
        self.keys = [-1] * tokens

    def copy(self, source: Segment, target: Segment, tokens: int) -> None:
        super().copy(source, target, tokens)
        found = self.keys[source.offset : source.offset + tokens]
        self.keys[target.offset : target.offset + tokens] = found

    def prefill(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            ids, first = chunk.prompt.ids, chunk.segment.offset
            self.keys[first + chunk.start : first + chunk.stop] = ids[chunk.start : chunk.stop]
            assert self.keys[first : first + chunk.stop] == ids[: chunk.stop], (
                "a chunk was left out"
            )
        super().prefill(chunks)

    def decode(self, rows: Sequence[Row]) -> None:
        super().decode(rows)
        for row in rows:
            self.keys[row.place.offset + row.position] = row.last_token
            tokens = [*row.prompt.ids, *row.tokens][: row.position + 1]
            assert self._found(row) == tokens, "these keys are of other tokens"

    def _found(self, row: Row) -> list[int]:
        return self.keys[row.place.offset : row.place.offset + row.position + 1]

    def _drawn_from(self, row: Row) -> bytes:
        return repr((row.seed, row.sequence, self._found(row))).encode()
