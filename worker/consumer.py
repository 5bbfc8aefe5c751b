"""Celery's consumer, able to stop while Redis is away."""

from __future__ import annotations

from celery.worker.consumer import Consumer as StockConsumer


class Consumer(StockConsumer):  # type: ignore[misc]  # celery has no types
    def shutdown(self) -> None:
        """Close what is open.

        A connection that was lost is None, and Celery 5.7.0 closes channels over it all the same: a
        worker that had stopped in good order would exit 1.
        """
        if self.connection is not None:
            super().shutdown()
