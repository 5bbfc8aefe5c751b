"""Celery's consumer, able to stop while Redis is away, and silent about what messages hold."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.consumer import Consumer as StockConsumer

log = logging.getLogger("distilq.consumer")


class Consumer(StockConsumer):  # type: ignore[misc]  # celery has no types
    def shutdown(self) -> None:
        """Close what is open.

        A connection that was lost is None, and Celery 5.7.0 closes channels over it all the same: a
        worker that had stopped in good order would exit 1.
        """
        if self.connection is not None:
            super().shutdown()

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Celery would write the whole body into the log, whatever somebody has put there."""
        size = len(message.body or b"")
        log.error("message %r of %d bytes cannot be decoded", message.delivery_tag, size)
        message.ack()
