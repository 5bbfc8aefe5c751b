"""CUDA graphs of the decode step: one launch per step in place of some fifteen per layer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .fixed import ROWS, Bucket, bucket_of, packed
from .rows import Row, Segment
from .transfer import pinned

log = logging.getLogger("distilq.engine")

Work = Callable[[], object]
Step = Callable[[Tensor, int], Tensor]
"""Logits of packed rows (see fixed.py), no longer than the number says."""


class Recorder:
    """Turns work on fixed tensors into its replay.

    All graphs share the memory of what lies between inputs and logits, since only one runs at a
    time.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # it ships none
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        """Do the work once, since first calls allocate and plan, then record it.

        Raises:
            RuntimeError: the work cannot be recorded; too little memory is one reason.
        """
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream())
        try:
            # The outer one goes back to the caller's stream even where recording ends in an error.
            with torch.cuda.stream(self._stream):
                work()
                with torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",
                ):
                    work()
        finally:
            torch.cuda.current_stream().wait_stream(self._stream)
        return graph.replay


class Graphs:
    """The step of every bucket, recorded when it is first needed."""

    def __init__(
        self,
        step: Step,
        record: Callable[[Work], Work],
        *,
        spare: Segment,
        n_positions: int,
        vocab_size: int,
        device: str,
    ) -> None:
        self._step = step
        self._record = record
        self._spare = spare
        self._n_positions = n_positions
        self._device = device
        # One of each for all buckets: 512 rows of 50,257 float32 logits are 100 MB.
        self._inputs = torch.zeros(ROWS[-1], 4, dtype=torch.long, device=device)
        self._logits = torch.zeros(ROWS[-1], vocab_size, dtype=torch.float32, device=device)
        #: None where recording failed.
        self._replays: dict[Bucket, Work | None] = {}

    def logits(self, rows: Sequence[Row]) -> Tensor | None:
        """The rows' logits, until the next call; None where the step has to go without a graph."""
        bucket = bucket_of(rows, self._n_positions)
        if bucket is None:
            return None
        values = packed(rows, bucket.rows, self._spare)
        self._inputs[: bucket.rows].copy_(pinned(values, self._device), non_blocking=True)
        if bucket not in self._replays:
            self._replays[bucket] = self._recorded(bucket)
        replay = self._replays[bucket]
        if replay is None:
            return None
        replay()
        return self._logits[: len(rows)]

    def _recorded(self, bucket: Bucket) -> Work | None:
        inputs, logits = self._inputs[: bucket.rows], self._logits[: bucket.rows]
        try:
            return self._record(lambda: logits.copy_(self._step(inputs, bucket.length)))
        except RuntimeError as error:
            log.warning(
                "no CUDA graph for %d rows of %d tokens, which go on without: %s",
                bucket.rows,
                bucket.length,
                str(error).strip().split("\n")[0],
            )
            return None
