"""Jobs whose text changes with what else is in the batch: each runs alone, then among others.

    python -m benchmarks.reproducibility --jobs 1000 --precision float16

Nothing is timed; what is counted does not depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator, Sequence

from distilq.jobs import JobRequest, Outcome
from distilq.parameters import Parameters
from distilq.settings import Settings
from worker.engine import Engine
from worker.loading import load_engine


def drawn_jobs(count: int, most_tokens: int) -> Iterator[JobRequest]:
    """Prompts of 1 to `most_tokens` tokens, short ones more often; 1 to 30 new tokens."""
    draw = random.Random(0)
    for seed in range(count):
        length = min(most_tokens, 1 + int(draw.expovariate(1 / 60)))
        prompt = tuple(draw.randrange(1, 8000) for _ in range(length))
        asked = Parameters(max_new_tokens=draw.randint(1, 30), seed=seed, logprobs=0)
        yield JobRequest(inputs=prompt, parameters=asked, timeout_s=3600)


def alone(engine: Engine, jobs: Sequence[JobRequest]) -> list[Outcome]:
    found = []
    for number, job in enumerate(jobs):
        engine.submit(str(number), job)
        while not (finished := engine.step()):
            pass
        found.append(finished[0][1])
    return found


def together(engine: Engine, jobs: Sequence[JobRequest]) -> list[Outcome]:
    """All of them, up to four arriving at every step, so that no batch is like another."""
    draw, found, sent = random.Random(1), dict[str, Outcome](), 0
    while len(found) < len(jobs):
        for _ in range(draw.randrange(5)):
            if sent < len(jobs):
                engine.submit(str(sent), jobs[sent])
                sent += 1
        found.update(engine.step())
    return [found[str(number)] for number in range(len(jobs))]


def count(options: argparse.Namespace) -> None:
    jobs = list(drawn_jobs(options.jobs, options.prompt_tokens))
    for precision in options.precision:
        settings = Settings(model=options.model, precision=precision, max_rows=options.rows)
        engine = load_engine(settings)
        by_itself = alone(engine, jobs)
        steps, rows = engine.stats.steps, engine.stats.row_steps
        in_company = together(engine, jobs)
        mean = (engine.stats.row_steps - rows) / (engine.stats.steps - steps)
        pairs = list(zip(by_itself, in_company, strict=True))
        other = sum(a.result != b.result for a, b in pairs)
        print(
            f"{options.model}, {precision}: {other} of {len(jobs)} jobs differ in text or"
            f" log-probabilities between alone and {mean:.1f} rows",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="random:distilgpt2")
    parser.add_argument("--precision", nargs="+", default=["float32", "float16", "int8"])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--prompt-tokens", type=int, default=900)
    parser.add_argument("--rows", type=int, default=64)
    count(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
