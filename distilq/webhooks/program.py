"""`distilq webhooks run`: a dispatcher until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from logging.config import dictConfig

import anyio

from distilq import logs
from distilq.connection import connect
from distilq.settings import Settings
from distilq.webhooks.dispatcher import Dispatcher
from distilq.webhooks.outbox import Outbox
from distilq.webhooks.rules import Rules
from distilq.webhooks.sending import Sender


def run(settings: Settings, redis_url: str, rules: Rules, secrets: Sequence[bytes]) -> None:
    """Raises ValueError: the address is not that of a Redis."""
    dictConfig(logs.config(settings))
    logging.getLogger("distilq").setLevel(logging.INFO)  # it says what it has delivered
    with connect(redis_url) as redis:
        anyio.run(_serve, Outbox(redis), rules, secrets)


async def _serve(outbox: Outbox, rules: Rules, secrets: Sequence[bytes]) -> None:
    stop = anyio.Event()
    dispatcher = Dispatcher(outbox, Sender(rules), secrets)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, stop, tasks.cancel_scope)
        await dispatcher.run(stop)
        tasks.cancel_scope.cancel()


async def _stop_on_signal(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if stop.is_set():  # the second one hurries
                scope.cancel()
            stop.set()
