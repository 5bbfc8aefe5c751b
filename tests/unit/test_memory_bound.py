"""The KV cache: allocated once, of the size that the settings say, and never outgrown."""

from __future__ import annotations

import random

import torch

from distilq.jobs import JobRequest, Priority
from distilq.parameters import Parameters
from tests.unit.fakes import CountingModel
from worker.cache import Cache
from worker.engine import Engine
from worker.tokens import ByteTokenizer

CAPACITY, JOBS = 2048, 60


def drawn(rng: random.Random) -> JobRequest:
    asked = Parameters(
        max_new_tokens=rng.randint(0, 200), num_return_sequences=rng.choice([1, 1, 5]), seed=1
    )
    priority = rng.choice([*Priority])
    return JobRequest(inputs="x" * rng.randint(1, 400), parameters=asked, priority=priority)


def test_the_engine_never_holds_more_tokens_than_it_may() -> None:
    model, rng = CountingModel(), random.Random(0)
    engine = Engine(
        model, ByteTokenizer(), max_rows=64, max_batch_tokens=CAPACITY, prefill_budget=64
    )
    most = done = step = 0
    while done < JOBS:
        if step % 20 == 0 and step < 20 * JOBS:
            engine.submit(str(step), drawn(rng))
        done += len(engine.step())
        most = max(most, engine.stats.kv_tokens)
        rows = model.batches.pop() if model.batches else []
        assert max((row.place.offset + row.place.size for row in rows), default=0) <= CAPACITY
        step += 1
    assert CAPACITY / 2 < most <= CAPACITY
    assert model.reserved == [CAPACITY], "allocated once, at the start"


def test_the_cache_takes_the_bytes_that_its_tokens_come_to() -> None:
    layers, heads, width = 6, 12, 64
    cache = Cache(CAPACITY, layers, heads, width, torch.zeros(1))
    stores = [*cache.keys, *cache.values]
    held = sum(store.numel() * store.element_size() for store in stores)
    assert held == CAPACITY * 2 * layers * heads * width * 4
