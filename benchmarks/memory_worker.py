"""Peak memory of a worker process at each precision, beside a process of transformers' `generate`.

    python -m benchmarks.memory_worker --rows 64 --new-tokens 200

runs `generate` in this process and prints its figures; `benchmarks.memory` calls it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from distilq.settings import Settings
from distilq.store import JobStore

from . import resident
from .served import redis_alone
from .service import ROOT

MODEL = "random:distilgpt2"
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
PROMPT_TOKENS = 10

#: Keys and values of DistilGPT2: six layers, 768 numbers each, of four bytes.
KV_BYTES = 2 * 6 * 768 * 4


def run(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    found = {"transformers generate, float32": _of_transformers(options)}
    for precision in PRECISIONS:
        found[precision] = _of_worker(options, precision)
    return found


def _of_worker(options: argparse.Namespace, precision: str) -> dict[str, float]:
    with redis_alone() as service:
        settings = Settings.model_validate(
            {"redis_url": service.redis_url, "model": MODEL, "precision": precision}
        )
        worker = service.start_worker(settings)
        pid, store = worker.process.pid, JobStore(service.client(), settings)
        loaded: dict[str, float] = {"loading": resident.peak(pid), "loaded": resident.now(pid)}
        asked = Parameters(max_new_tokens=options.new_tokens, min_new_tokens=options.new_tokens)
        jobs = [
            JobRequest(inputs=ids, parameters=asked, timeout_s=600) for ids in _prompts(options)
        ]
        for job_id in store.submit_many(jobs):
            done = store.wait(job_id, 600)
            if done.result is None:
                raise RuntimeError(f"job {job_id} is {done.status.value}: {done.error}")
        store.close()
        [state] = store.workers()
        bound = state.kv_capacity * KV_BYTES
        return loaded | {"working": resident.peak(pid), "kv_bound": bound}


def _of_transformers(options: argparse.Namespace) -> dict[str, float]:
    size = ["--rows", str(options.rows), "--new-tokens", str(options.new_tokens)]
    command = [sys.executable, "-m", "benchmarks.memory_worker", *size]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _prompts(options: argparse.Namespace) -> list[tuple[int, ...]]:
    draw = random.Random(0)
    return [
        tuple(draw.randrange(50_000) for _ in range(PROMPT_TOKENS)) for _ in range(options.rows)
    ]


def tables(found: dict[str, dict[str, float]]) -> str:
    base = found["transformers generate, float32"]["working"]
    lines = [
        "| process | peak while loading | loaded | peak after the work | of transformers' |"
        " bound of its KV cache |",
        "|---|---|---|---|---|---|",
    ]
    for name, each in found.items():
        megabytes = [f"{each[of] / 1e6:,.0f} MB" for of in ("loading", "loaded", "working")]
        bound = f"{each['kv_bound'] / 1e6:,.0f} MB" if "kv_bound" in each else "none"
        lines.append(
            f"| {name} | {' | '.join(megabytes)} | {each['working'] / base:.0%} | {bound} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--new-tokens", type=int, required=True)
    options = parser.parse_args()
    import torch

    from worker.loading import random_distilgpt2

    pid, model = os.getpid(), random_distilgpt2().eval()
    found = {"loading": resident.peak(pid), "loaded": resident.now(pid)}
    ids = torch.tensor(_prompts(options))
    generate: Callable[..., torch.Tensor] = model.generate
    with torch.inference_mode():
        generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=options.new_tokens,
            min_new_tokens=options.new_tokens,
            do_sample=True,
            top_k=50,
            pad_token_id=0,
        )
    print(json.dumps(found | {"working": resident.peak(pid)}))


if __name__ == "__main__":
    main()
