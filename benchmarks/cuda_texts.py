"""How far greedy texts on a GPU agree with those of transformers in float32; part of cuda.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from distilq.jobs import JobRequest
from distilq.parameters import Parameters
from worker.engine import Engine
from worker.loading import random_distilgpt2

TEXTS, PROMPT, NEW = 32, 16, 64


def agreement(engines: Mapping[str, Engine]) -> dict[str, float]:
    """Share of the tokens that equal float32's, up to each text's first that does not."""
    prompts = torch.randint(0, 50256, (TEXTS, PROMPT)).tolist()
    exact = theirs(random_distilgpt2().float(), prompts)
    found = {"generate, float16": theirs(random_distilgpt2().half(), prompts)}
    found |= {f"distilq, {name}": ours(engine, prompts) for name, engine in engines.items()}
    return {name: shared(texts, exact) for name, texts in found.items()}


def theirs(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    ids = torch.tensor(prompts, device="cuda")
    out = (
        model.cuda()
        .eval()
        .generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW,
            do_sample=False,
            pad_token_id=50256,
        )
    )
    texts: list[list[int]] = out[:, PROMPT:].tolist()
    return texts


def ours(engine: Engine, prompts: list[list[int]]) -> list[list[int]]:
    asked = Parameters(max_new_tokens=NEW, do_sample=False, logprobs=1)
    for number, prompt in enumerate(prompts):
        engine.submit(str(number), JobRequest(inputs=tuple(prompt), parameters=asked))
    texts: dict[int, list[int]] = {}
    while len(texts) < len(prompts):
        for key, outcome in engine.step():
            if outcome.result is None:
                raise RuntimeError(f"a text failed: {outcome.error}")
            texts[int(key)] = [each.id for each in outcome.result[0][0].logprobs or ()]
    return [texts[number] for number in range(len(prompts))]


def shared(texts: Sequence[Sequence[int]], exact: Sequence[Sequence[int]]) -> float:
    same = sum(prefix(text, other) for text, other in zip(texts, exact, strict=True))
    return same / sum(len(other) for other in exact)


def prefix(text: Sequence[int], other: Sequence[int]) -> int:
    """Tokens before the first in which they differ."""
    pairs = enumerate(zip(text, other, strict=False))
    return next((n for n, (mine, its) in pairs if mine != its), min(len(text), len(other)))
