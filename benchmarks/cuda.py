"""Tokens per second on a GPU, beside transformers' generate and its continuous batching.

    python -m benchmarks.cuda --full

All of DistilGPT2's shape in float16, on the same prompts, in turns; then how far greedy texts agree
with those of transformers in float32. Without a GPU it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from distilq.settings import Settings
from worker.engine import Engine
from worker.loading import load_engine, random_distilgpt2
from worker.segments import SMALLEST

from . import measure
from .cuda_texts import agreement
from .subjects import Prompts, rate_of_engine

ROWS = [1, 8, 32, 64, 128, 256, 512]
GENERATE, CONTINUOUS, OURS = "generate", "continuous batching", "distilq"
COPIED = 1 << 30


def load_ours(precision: str, rows: int, tokens: int) -> Engine:
    """An engine that has a place for every row."""
    size = max(SMALLEST, 1 << (tokens - 1).bit_length())
    return load_engine(
        Settings(
            model="random:distilgpt2",
            precision="float16" if precision == "float16" else "float32",
            max_rows=rows,
            max_batch_tokens=max(1024, rows * size),
        )
    )


def rate_of_generate(model: Any, prompts: Prompts, new_tokens: int) -> float:
    ids = torch.tensor(prompts, device="cuda")
    torch.cuda.synchronize()
    start = time.perf_counter()
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        do_sample=True,
        top_k=50,
        pad_token_id=0,
    )
    torch.cuda.synchronize()
    made: int = out.numel() - ids.numel()
    return made / (time.perf_counter() - start)


def rate_of_continuous(model: Any, prompts: Prompts, new_tokens: int) -> float:
    """The manager stays from round to round, so its own graphs are recorded but once."""
    from transformers import GenerationConfig

    config = GenerationConfig(  # type: ignore[no-untyped-call]  # it ships no types
        max_new_tokens=new_tokens, do_sample=True, top_k=50, eos_token_id=-1, pad_token_id=0
    )
    start = time.perf_counter()
    found = model.generate_batch(
        [list(prompt) for prompt in prompts], generation_config=config, persistent_manager=True
    )
    taken = time.perf_counter() - start
    if len(found) != len(prompts) or any(each.error for each in found.values()):
        raise RuntimeError("continuous batching did not finish every text")
    return sum(len(each.generated_tokens) for each in found.values()) / taken


def copy_bandwidth() -> float:
    """Bytes per second, read and written, of the best of ten copies of a gigabyte."""
    source = torch.empty(COPIED, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    taken = []
    for _ in range(10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return 2 * COPIED / min(taken)


def bytes_per_step(config: Any, parameters: int, rows: int, length: float) -> float:
    """What a step in float16 must read: every weight but the positions', and all rows' keys."""
    width: int = config.n_embd
    keys: int = 2 * config.n_layer * width  # and values, per token
    weights: int = parameters - config.n_positions * width
    return 2 * (weights + rows * length * keys)


def rates(options: argparse.Namespace) -> dict[str, Any]:
    prompt, new = options.prompt_tokens, options.new_tokens
    engine = load_ours("float16", max(options.rows), prompt + new)
    model = random_distilgpt2().half().cuda().eval()
    other = random_distilgpt2().half().cuda().eval()  # continuous batching changes its attention
    parameters = sum(each.numel() for each in model.parameters())
    bandwidth = copy_bandwidth()
    found: dict[str, Any] = {}
    for rows in options.rows:
        drawn = torch.randint(0, 50257, (rows, prompt)).tolist()
        prompts: Prompts = [tuple(each) for each in drawn]
        subjects: dict[str, Callable[[], float]] = {
            GENERATE: partial(rate_of_generate, model, prompts, new),
            CONTINUOUS: partial(rate_of_continuous, other, prompts, new),
            OURS: partial(rate_of_engine, engine, prompts, new),
        }
        measure.interleaved(subjects, 1)  # graphs are recorded, memory is allocated
        turns = measure.interleaved(subjects, options.rounds)
        other.destroy_cached_continuous_batching_manager()  # it is sized for these prompts
        step = bytes_per_step(model.config, parameters, rows, prompt + new / 2)
        found[str(rows)] = {
            "tokens_per_s": {name: spread.record() for name, spread in turns.items()},
            "limit_tokens_per_s": rows * bandwidth / step,
        }
    return {"rows": found, "copy_bytes_per_s": bandwidth}


def tables(record: dict[str, Any]) -> str:
    found = record["found"]
    lines = [
        f"**{found['device']}**, copies at {found['copy_bytes_per_s'] / 1e9:,.0f} GB/s",
        "",
        "| rows | generate, tokens/s | continuous batching | distilq (range) | of the limit |",
        "|---|---|---|---|---|",
        *(_line(rows, each) for rows, each in found["rows"].items()),
        "",
        "| greedy, float16 | tokens as float32's, up to the first other one |",
        "|---|---|",
        *(f"| {who} | {share:.1%} |" for who, share in found["agreement"].items()),
    ]
    return "\n".join(lines)


def _line(rows: str, found: dict[str, Any]) -> str:
    by_name = found["tokens_per_s"]
    base, ours = by_name[GENERATE], by_name[OURS]
    cells = [rows, f"{base['median']:,.0f}"]
    for name in (CONTINUOUS, OURS):
        pairs = zip(by_name[name]["values"], base["values"], strict=True)
        ratio = statistics.median(mine / its for mine, its in pairs)
        cells.append(f"{by_name[name]['median']:,.0f}, {ratio:.2f}x")
    cells[-1] += f" ({ours['low']:,.0f} to {ours['high']:,.0f})"
    share = ours["median"] / found["limit_tokens_per_s"]
    return f"| {' | '.join([*cells, f'{share:.1%}'])} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="240 new tokens in 5 rounds")
    options = parser.parse_args(arguments)
    if options.full:
        options.new_tokens, options.rounds = 240, 5
    if not torch.cuda.is_available():
        print("no CUDA device here: nothing is measured, nothing is written")
        return
    torch.manual_seed(0)
    found = {"device": torch.cuda.get_device_name(), **rates(options)}
    gc.collect()  # the engine's cache goes before others are made
    found["agreement"] = agreement(
        {name: load_ours(name, 32, 128) for name in ("float16", "float32")}
    )
    measure.write("cuda", found, vars(options))
    print(tables(measure.read("cuda")))


if __name__ == "__main__":
    main()
