"""Attention of new queries over the cache, straight from where the keys and values lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from . import cache
from .rows import Chunk, Row, Segment


class Attention(Protocol):
    def __call__(self, layer: int, query: Tensor, out: Tensor) -> None:
        """Write what each query sees to `out`; both (queries, heads, width)."""


class DecodeAttention:
    """One query per row: a product per run of adjacent segments."""

    def __init__(
        self, store: cache.Cache, runs: Sequence[cache.Run], positions: Tensor, rows: Sequence[Row]
    ) -> None:
        self._cache = store
        self._runs = runs
        self._lengths = [
            _padded(max(r.position for r in rows[run.first : run.last]) + 1, run.segment)
            for run in runs
        ]
        places = torch.arange(max(self._lengths, default=0), device=positions.device)
        hidden = (places > positions[:, None])[:, None]
        self._hidden = [
            hidden[run.first : run.last, :, :length]
            for run, length in zip(runs, self._lengths, strict=True)
        ]

    def __call__(self, layer: int, query: Tensor, out: Tensor) -> None:
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        for run, length, hidden in zip(self._runs, self._lengths, self._hidden, strict=True):
            rows = run.last - run.first
            key = self._cache.view(keys, run.segment, rows)[:, :length]
            value = self._cache.view(values, run.segment, rows)[:, :length]
            asked = query[run.first : run.last].reshape(key.shape[0], 1, -1)
            scores = torch.bmm(asked, key.transpose(1, 2))
            scores.view(rows, -1, length).masked_fill_(hidden, -torch.inf)
            torch.bmm(scores.softmax(-1), value, out=out[run.first : run.last].view(asked.shape))


class PrefillAttention:
    """Many queries of one prompt's chunk, of a shape that its own prompt decides."""

    def __init__(self, store: cache.Cache, chunk: Chunk) -> None:
        self._cache = store
        self._segment = chunk.segment
        self._length = _padded(chunk.stop, chunk.segment)
        device = store.keys[0].device
        places = torch.arange(self._length, device=device)
        self._hidden = places > torch.arange(chunk.start, chunk.stop, device=device)[:, None]

    def __call__(self, layer: int, query: Tensor, out: Tensor) -> None:
        key = self._cache.view(self._cache.keys[layer], self._segment)[:, : self._length]
        value = self._cache.view(self._cache.values[layer], self._segment)[:, : self._length]
        scores = torch.bmm(query.transpose(0, 1), key.transpose(1, 2))
        scores.masked_fill_(self._hidden, -torch.inf)
        out.copy_(torch.bmm(scores.softmax(-1), value).transpose(0, 1))


def _padded(tokens: int, segment: Segment) -> int:
    return min(-(-tokens // cache.PADDING) * cache.PADDING, segment.size)
