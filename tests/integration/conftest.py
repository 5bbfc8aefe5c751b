"""The bundled model's queue, from the clients' side and from a worker's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distilq.claims import Claims
from distilq.settings import Settings
from distilq.store import JobStore
from distilq.sweeper import Sweeper


@pytest.fixture
def store(redis_client: Any, settings: Callable[..., Settings]) -> Iterator[JobStore]:
    store = JobStore(redis_client, settings())
    yield store
    store.close()


@pytest.fixture
def claims(redis_client: Any) -> Claims:
    return Claims(redis_client, "bundled", "w1")


@pytest.fixture
def sweeper(redis_client: Any) -> Sweeper:
    return Sweeper(redis_client, "bundled")
