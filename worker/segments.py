"""First-fit allocation of the cache's tokens."""

from __future__ import annotations

from collections.abc import Iterable

from .rows import Segment

#: Sizes are powers of two from here on, so that neighbours are often of one size: the attention of
#: adjacent segments of one size is a single call.
SMALLEST = 64


class Segments:
    """Hands out stretches of `capacity` tokens; adjacent holes are always one hole."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._holes = [Segment(0, capacity)]

    def size_for(self, tokens: int) -> int:
        return min(max(SMALLEST, 1 << (tokens - 1).bit_length()), self.capacity)

    def fits(self, tokens: int, returned: Iterable[Segment] = ()) -> bool:
        """Whether `take` would find a segment, once those `returned` were given back."""
        size = max(tokens, self.size_for(tokens))
        return any(hole.size >= size for hole in _merged([*self._holes, *returned]))

    def take(self, tokens: int) -> Segment | None:
        """A segment of at least `tokens`, or None while no hole is long enough."""
        size = max(tokens, self.size_for(tokens))
        for number, hole in enumerate(self._holes):
            if hole.size >= size:
                rest = Segment(hole.offset + size, hole.size - size)
                self._holes[number : number + 1] = [rest] if rest.size else []
                self.used += size
                return Segment(hole.offset, size)
        return None

    def give_back(self, segment: Segment) -> None:
        self.used -= segment.size
        self._holes = _merged([*self._holes, segment])


def _merged(holes: list[Segment]) -> list[Segment]:
    """The holes by offset, adjacent ones as one."""
    holes = sorted(holes, key=lambda hole: hole.offset)
    merged = holes[:1]
    for hole in holes[1:]:
        last = merged[-1]
        if last.offset + last.size == hole.offset:
            merged[-1] = Segment(last.offset, last.size + hole.size)
        else:
            merged.append(hole)
    return merged
