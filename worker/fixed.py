"""A decode step whose shapes depend on a bucket alone, so that CUDA can record it once.

The rows of a step differ in number, length and place. Here the number and the greatest length are
rounded up to a bucket's, and all else is data: one tensor, from which the device computes where to
write and what to attend to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import cache
from .rows import Row, Segment

#: Of a bucket of 24 or more at most a third is padding. Padded rows attend like others, as long.
ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 320, 384, 448, 512)
#: Lengths are powers of two from here on.
SHORTEST = 64


@dataclass(frozen=True)
class Bucket:
    rows: int
    length: int


def bucket_of(rows: Sequence[Row], n_positions: int) -> Bucket | None:
    """The smallest bucket that holds the rows; None for more rows than any does."""
    count = next((count for count in ROWS if count >= len(rows)), None)
    if count is None:
        return None
    longest = max(row.position for row in rows) + 1
    return Bucket(count, min(max(SHORTEST, 1 << (longest - 1).bit_length()), n_positions))


def packed(rows: Sequence[Row], count: int, spare: Segment) -> Tensor:
    """(count, 4): token, position, and offset and size of the segment, on the host.

    Padding is token 0 at position 0 of the spare segment, whose keys no row reads.
    """
    own = [(row.last_token, row.position, row.place.offset, row.place.size) for row in rows]
    return torch.tensor(own + [(0, 0, spare.offset, spare.size)] * (count - len(rows)))


class FixedAttention:
    """One query per row, over keys and values gathered by an index made on the device."""

    def __init__(
        self, store: cache.Cache, starts: Tensor, sizes: Tensor, positions: Tensor, length: int
    ) -> None:
        self._cache = store
        self._length = length
        places = torch.arange(length, device=starts.device)
        # Behind its segment lies what is another's: its last vector stands for that, masked.
        own = torch.minimum(places, sizes[:, None] - 1)
        self._index = (starts[:, :, None] + own[:, None]).flatten()
        self._hidden = (places > positions[:, None])[:, None]

    def __call__(self, layer: int, query: Tensor, out: Tensor) -> None:
        key = self._gathered(self._cache.keys[layer])
        value = self._gathered(self._cache.values[layer])
        asked = query.reshape(len(key), 1, -1)
        scores = torch.bmm(asked, key.transpose(1, 2))
        scores.view(len(query), -1, self._length).masked_fill_(self._hidden, -torch.inf)
        torch.bmm(scores.softmax(-1), value, out=out.view(asked.shape))

    def _gathered(self, store: Tensor) -> Tensor:
        """(rows x heads, length, width)"""
        return store.index_select(0, self._index).view(-1, self._length, store.shape[-1])
