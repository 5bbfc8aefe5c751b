"""The keys and values of all rows, in one allocation per layer."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .rows import Row, Segment
from .transfer import send

#: Keys beyond a row's own are masked. Lengths are rounded up to this many, a multiple of the widest
#: vector, so that the padding only ever adds exact zeros.
PADDING = 16


@dataclass(frozen=True)
class Run:
    """Rows `first` to `last` of a batch whose segments are adjacent and of one size."""

    first: int
    last: int
    segment: Segment


class Cache:
    """Segments, each laid out as (heads, size, width): a run of them is one strided view."""

    def __init__(self, tokens: int, layers: int, heads: int, width: int, like: Tensor) -> None:
        self._heads = heads
        self._width = width
        #: Behind all that is handed out: where padded rows of a batch write.
        self.spare = Segment(tokens, 1)
        tokens += self.spare.size
        self.keys = [_zeros(tokens * heads, width, like) for _ in range(layers)]
        self.values = [_zeros(tokens * heads, width, like) for _ in range(layers)]

    def view(self, store: Tensor, segment: Segment, rows: int = 1) -> Tensor:
        """(rows x heads, size, width) of `rows` adjacent segments, the first being `segment`."""
        first = segment.offset * self._heads
        stretch = store[first : first + rows * segment.size * self._heads]
        return stretch.view(rows * self._heads, segment.size, self._width)

    def index(self, segments: Sequence[Segment]) -> Tensor:
        """Number of the vector at position 0 of every (segment, head)."""
        offsets = torch.tensor([segment.offset for segment in segments], dtype=torch.long)
        sizes = torch.tensor([segment.size for segment in segments], dtype=torch.long)
        return send(self.starts(offsets, sizes), self.keys[0].device)

    def starts(self, offsets: Tensor, sizes: Tensor) -> Tensor:
        """As `index`, of segments whose numbers may be on the device."""
        heads = torch.arange(self._heads, device=offsets.device)
        return offsets[:, None] * self._heads + sizes[:, None] * heads

    def copy(self, source: Segment, target: Segment, tokens: int) -> None:
        for store in (*self.keys, *self.values):
            self.view(store, target)[:, :tokens] = self.view(store, source)[:, :tokens]


def _zeros(count: int, width: int, like: Tensor) -> Tensor:
    """Zeros, since what is masked is still multiplied by 0, and 0 x NaN is NaN.

    On a CPU the system maps them as they are first written: capacity that is never used costs no
    memory. Not in huge pages: rows lie far apart, so the first step of 64 of them would write most
    of the cache (3 s and 700 MB of the bundled model's 800).
    """
    if like.device.type != "cpu" or like.dtype != torch.float32 or not count:
        return like.new_zeros(count, width)
    memory = mmap.mmap(-1, count * width * like.element_size())
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32).view(count, width)


def runs(rows: Sequence[Row]) -> list[Run]:
    """The rows, in the order of their segments, as few runs as possible."""
    found: list[Run] = []
    for number, row in enumerate(rows):
        segment = row.place
        if found and _continues(found[-1], segment, number):
            found[-1] = Run(found[-1].first, number + 1, found[-1].segment)
        else:
            found.append(Run(number, number + 1, segment))
    return found


def _continues(run: Run, segment: Segment, number: int) -> bool:
    size = run.segment.size
    return (
        segment.size == size and segment.offset == run.segment.offset + (number - run.first) * size
    )
