"""Tokens per second of the engine, beside `transformers.generate` in the same process.

    python -m benchmarks.engine --rows 1 8 32 64 --precision float32 float16 int8

Rates depend on whatever else the machine does, so every figure of the engine is followed by its
ratio to `generate`, measured just before it on the same prompts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from distilq.settings import Settings
from worker.engine import Engine
from worker.loading import load_engine, random_distilgpt2

Prompts = list[tuple[int, ...]]


def rate_of_engine(engine: Engine, prompts: Prompts, new_tokens: int) -> float:
    asked = Parameters(max_new_tokens=new_tokens, top_k=50, seed=1)
    for number, prompt in enumerate(prompts):
        engine.submit(str(number), JobRequest(inputs=prompt, parameters=asked))
    before, left = engine.stats.generated_tokens, len(prompts)
    start = time.perf_counter()
    while left:
        left -= len(engine.step())
    return (engine.stats.generated_tokens - before) / (time.perf_counter() - start)


def rate_of_transformers(model: torch.nn.Module, prompts: Prompts, new_tokens: int) -> float:
    ids = torch.tensor(prompts)
    generate: Callable[..., torch.Tensor] = model.generate  # type: ignore[assignment]  # untyped
    start = time.perf_counter()
    with torch.inference_mode():
        out = generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=True,
            top_k=50,
            pad_token_id=0,
        )
    return (out.numel() - ids.numel()) / (time.perf_counter() - start)


def measure(options: argparse.Namespace) -> None:
    reference = random_distilgpt2().eval()
    torch.manual_seed(0)
    engines = {
        precision: load_engine(
            Settings(model="random:distilgpt2", precision=precision, max_rows=max(options.rows))
        )
        for precision in options.precision
    }
    print("rows  transformers " + "".join(f"{name:>18}" for name in engines))
    for rows in options.rows:
        drawn = torch.randint(0, 50257, (rows, options.prompt_tokens)).tolist()
        prompts: Prompts = [tuple(prompt) for prompt in drawn]
        base, rates = rounds(reference, engines, prompts, options)
        cells = "".join(f"{rate:9.0f} ({rate / base:5.2f}x)" for rate in rates)
        print(f"{rows:4}  {base:12.0f} {cells}", flush=True)


def rounds(
    reference: torch.nn.Module,
    engines: dict[str, Engine],
    prompts: Prompts,
    options: argparse.Namespace,
) -> tuple[float, list[float]]:
    """Medians over alternating rounds, so that a busy minute falls on all alike."""
    base: list[float] = []
    rates: list[list[float]] = [[] for _ in engines]
    for _ in range(options.rounds):
        base.append(rate_of_transformers(reference, prompts, options.new_tokens))
        for found, engine in zip(rates, engines.values(), strict=True):
            found.append(rate_of_engine(engine, prompts, options.new_tokens))
    return statistics.median(base), [statistics.median(found) for found in rates]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--precision", nargs="+", default=["float32", "float16", "int8"])
    parser.add_argument("--prompt-tokens", type=int, default=10)
    parser.add_argument("--new-tokens", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    measure(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
