"""The queue path that Celery itself offers: its Redis transport, a pool of its own, its results.

    celery -A benchmarks.stock_app worker --pool threads --concurrency 8

Everything is Celery's default but where results go: a database of their own, so that they can be
counted.
"""

from __future__ import annotations

import os

from celery import Celery

BROKER_DB, RESULTS_DB = 1, 2


def make_app(redis_url: str) -> Celery:
    """For a Redis whose address ends before the number of the database."""
    return Celery(
        "stock",
        broker=f"{redis_url}/{BROKER_DB}",
        backend=f"{redis_url}/{RESULTS_DB}",
        set_as_current=False,
    )


app = make_app(os.environ.get("STOCK_REDIS_URL", "redis://127.0.0.1:6379"))


@app.task(name="generate")  # type: ignore[untyped-decorator]  # celery has no types
def generate(text: str) -> str:
    """As long a text as the simulated model's, at no cost."""
    return text + "e"
