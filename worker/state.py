"""What a worker says of itself: its heartbeat, and the stamp on every result."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timezone

from distilq.cluster import WorkerState
from distilq.settings import Settings

from .engine import Engine


class WorkerFace:
    def __init__(self, engine: Engine, settings: Settings, worker_id: str) -> None:
        self._engine = engine
        self._settings = settings
        self._id = worker_id
        self._started_at = datetime.now(timezone.utc)
        info = engine.model.info
        #: Goes into every job record that this worker finishes.
        self.served_by = {"precision": info.precision}
        if info.revision is not None:
            self.served_by["revision"] = info.revision

    def state(self) -> WorkerState:
        info, stats = self._engine.model.info, self._engine.stats
        recent = self._engine.recent()
        return WorkerState(
            id=self._id,
            host=socket.gethostname(),
            pid=os.getpid(),
            model=self._settings.model,
            source="bundled" if info.bundled else info.source,
            revision=info.revision,
            precision=info.precision,
            device=info.device,
            started_at=self._started_at,
            seen_at=datetime.now(timezone.utc),
            rows=stats.rows,
            max_rows=self._settings.max_rows,
            waiting=stats.waiting,
            kv_tokens=stats.kv_tokens,
            kv_capacity=stats.kv_capacity,
            steps=stats.steps,
            row_steps=stats.row_steps,
            rows_per_step=round(stats.row_steps / stats.steps, 3) if stats.steps else 0.0,
            generated_tokens=stats.generated_tokens,
            prefill_tokens=stats.prefill_tokens,
            paused=stats.paused,
            recent_rows=[rows for rows, _ in recent],
            recent_prefill=[prefilled for _, prefilled in recent],
        )
