"""A decode step takes nothing from the system: what it needs was there before, or is used again."""

from __future__ import annotations

import gc
import resource

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from distilq.settings import Settings
from worker.engine import Engine
from worker.loading import load_engine
from worker.model import GPT2

ROWS = 8
STEPS = 40
#: The logits of 8 rows, the largest tensor of a step, alone are 64 pages.
PAGES = 8


def pages_of_steps(engine: Engine) -> int:
    """Pages that the system gave while 8 rows took 40 steps, past the steps that set up."""
    for number in range(ROWS):
        asked = Parameters(max_new_tokens=STEPS + 10, seed=number)
        engine.submit(str(number), JobRequest(inputs=tuple(range(9)), parameters=asked))
    for _ in range(5):
        assert not engine.step()
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(STEPS):
        assert not engine.step()
    pages = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    while engine.stats.rows:
        engine.step()
    return pages


def test_a_decode_step_allocates_nothing_that_the_one_before_did_not_give_back() -> None:
    engine = load_engine(Settings(model="bundled", precision="float32", threads=1))
    assert isinstance(engine.model, GPT2)
    cache = [tensor.data_ptr() for tensor in engine.model._cache.keys]
    pages_of_steps(engine)  # touches the cache for the first time
    gc.collect()
    # The least of three rounds: what a step takes it takes in each, what goes on besides not.
    assert min(pages_of_steps(engine) for _ in range(3)) <= PAGES * STEPS // 10
    assert [tensor.data_ptr() for tensor in engine.model._cache.keys] == cache
