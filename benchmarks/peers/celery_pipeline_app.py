"""One `pipeline("text-generation")` call per Celery task: what the first draft of most would be.

celery -A benchmarks.peers.celery_pipeline_app worker --pool solo

The checkpoint's tokenizer has one word per token, so that the text is exactly the prompt's tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.peers import celery_worker
from benchmarks.peers.transformers_generate import load

app = celery_worker.make_app("pipeline", worker_prefetch_multiplier=1)

from celery.signals import worker_process_init  # noqa: E402 - the app completes the path

loaded: list[Any] = []


@worker_process_init.connect  # type: ignore[untyped-decorator]  # celery has no types
def start(**_: Any) -> None:
    from transformers import AutoTokenizer, pipeline

    path = celery_worker.checkpoint()
    model = load(path, celery_worker.threads())
    model.generation_config.eos_token_id = None
    tokenizer = AutoTokenizer.from_pretrained(path)
    loaded.append(pipeline("text-generation", model=model, tokenizer=tokenizer))


@app.task(name="pipeline")  # type: ignore[untyped-decorator]
def continue_one(prompt: Sequence[int], new_tokens: int) -> dict[str, Any]:
    began = time.time()
    (found,) = loaded[0](
        " ".join(f"t{token}" for token in prompt),
        max_new_tokens=new_tokens,
        do_sample=True,
        top_k=50,
        temperature=1.0,
        pad_token_id=0,
        return_full_text=False,
    )
    return {"began": began, "tokens": found["generated_text"].split()}
