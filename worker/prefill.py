"""Which prompts are prefilled, and how much of them in one step."""

from __future__ import annotations

from .lines import TURN, urgency
from .rows import Chunk, Prompt, Row

#: Prompts are cut at multiples of this many of their own tokens, whatever else is prefilled in the
#: same step: the arithmetic of a prompt must not depend on its neighbours.
CHUNK = 16

#: Prompt tokens per running row that a step may prefill beside decoding. A row then waits for a
#: step of about three times as many tokens at most, however long the prompts that arrive.
PER_ROW = 2


class Prefills:
    """Prompts whose keys are being computed, each into the segment of its first row."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._chunk = min(CHUNK, budget)
        #: In the order in which they came.
        self._prompts: dict[Prompt, None] = {}
        self._overtaken = 0

    def enter(self, row: Row) -> None:
        """A row has been given a place."""
        prompt = row.prompt
        if not prompt.admitted and not prompt.is_prefilled:
            self._prompts[prompt] = None
        prompt.admitted.append(row)

    def leave(self, row: Row) -> None:
        """A row has lost its place: its prompt's keys are lost if no other row has them."""
        prompt = row.prompt
        lost = prompt.admitted == [row] or (
            prompt in self._prompts and prompt.admitted[0] is row  # the others wait for its keys
        )
        prompt.admitted.remove(row)
        if not prompt.admitted:
            self._prompts.pop(prompt, None)
        if lost and (prompt.new_tokens or not prompt.is_prefilled):
            prompt.prefilled = 0

    def chunks(self, beside: int = 0) -> list[Chunk]:
        """What to prefill in this step, within the token budget, `beside` so many rows."""
        chunks: list[Chunk] = []
        left = self._budget
        if beside:  # where many prompts are short, their rows would else wait for each other
            left = min(left, max(PER_ROW * beside, self._chunk * len(self._prompts)))
        for prompt in self._in_order():
            start, segment = prompt.prefilled, prompt.admitted[0].place
            while start < prompt.to_prefill:
                stop = min(start + self._chunk, prompt.to_prefill)
                if stop - start > left:
                    return chunks
                chunks.append(Chunk(prompt, segment, start, stop))
                left -= stop - start
                start = stop
        return chunks

    def _in_order(self) -> list[Prompt]:
        """The most urgent first; the oldest, once it has been overtaken seven times."""
        by_age = list(self._prompts)
        by_urgency = sorted(by_age, key=lambda prompt: urgency(prompt.job))
        if by_urgency[:1] == by_age[:1]:
            self._overtaken = 0
            return by_urgency
        self._overtaken = (self._overtaken + 1) % TURN
        return by_urgency if self._overtaken else by_age

    def note(self, chunk: Chunk) -> None:
        """A chunk has been computed."""
        prompt = chunk.prompt
        prompt.prefilled = chunk.stop
        if prompt.is_prefilled:
            del self._prompts[prompt]
