"""Static micro-batching on Celery: celery-batches collects jobs for transformers' `generate`.

celery -A benchmarks.peers.celery_batches_app worker --pool solo

Prompts are padded on the left. The batch runs until its longest text is done, and each text is cut
to what its job has asked for. With the solo pool jobs that arrive during a batch wait in Redis, and
the next batch takes all of them; a pool that takes them at once would make a batch of each
interval's handful, and queue those.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.peers import celery_worker
from benchmarks.peers.transformers_generate import load

FLUSH_EVERY = int(os.environ["PEER_FLUSH_EVERY"])

#: Long enough for a full batch to be fetched, a millisecond per message.
FLUSH_INTERVAL_S = 0.1

app = celery_worker.make_app("batches", worker_prefetch_multiplier=FLUSH_EVERY)

from celery.signals import worker_process_init  # noqa: E402 - the app completes the path
from celery_batches import Batches  # noqa: E402

loaded: list[Any] = []


@worker_process_init.connect  # type: ignore[untyped-decorator]  # celery has no types
def start(**_: Any) -> None:
    loaded.append(load(celery_worker.checkpoint(), celery_worker.threads()))
    loaded[0].generation_config.eos_token_id = None


@app.task(  # type: ignore[untyped-decorator]
    name="batches", base=Batches, flush_every=FLUSH_EVERY, flush_interval=FLUSH_INTERVAL_S
)
def continue_batch(requests: Sequence[Any]) -> None:
    began = time.time()
    prompts, new_tokens = zip(*(request.args for request in requests), strict=True)
    texts = continued(loaded[0], prompts, new_tokens)
    for request, text in zip(requests, texts, strict=True):
        app.backend.mark_as_done(request.id, {"began": began, "tokens": text}, request=request)


def continued(
    model: Any, prompts: Sequence[list[int]], new_tokens: Sequence[int]
) -> list[list[int]]:
    import torch

    width = max(map(len, prompts))
    ids = [[0] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    with torch.inference_mode():
        out = model.generate(
            torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            max_new_tokens=max(new_tokens),
            do_sample=True,
            top_k=50,
            pad_token_id=0,
        )
    new: list[list[int]] = out[:, width:].tolist()
    return [text[:asked] for text, asked in zip(new, new_tokens, strict=True)]
