"""From finished rows to what the client gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from distilq.errors import DistilqError
from distilq.jobs import Metrics, Outcome, TokenLogprob, Usage
from distilq.jobs import Sequence as Text

from .rows import ActiveJob, Candidates, Prompt, Row, Tokenizer
from .tokens import find_stop


@dataclass(frozen=True)
class Run:
    """How a job ran, as the engine's clock and counters saw it."""

    ended_at: float
    steps: int
    batch_size: float | None


def text_of(row: Row, tokenizer: Tokenizer) -> str:
    """A row's text as its job asks for it: with its prompt, or without."""
    text = new_text(row, tokenizer)
    return _with_prompt(row, text, tokenizer) if row.parameters.return_full_text else text


def new_text(row: Row, tokenizer: Tokenizer) -> str:
    """What was generated: without the end-of-text token, and ending before its stop string."""
    tokens = row.tokens[:-1] if row.finish_reason == "eos_token" else row.tokens
    text = tokenizer.decode(tokens) if tokens else ""
    if row.finish_reason == "stop_sequence" and (found := find_stop(text, row.parameters.stop)):
        text = text[: found[0]]
    return text


def _with_prompt(row: Row, text: str, tokenizer: Tokenizer) -> str:
    given = row.prompt.given
    if isinstance(given, str):
        return given + text
    if row.finish_reason == "length":  # in one piece: ids may end amid a character
        return tokenizer.decode([*given, *row.tokens])
    return tokenizer.decode(given) + text


def logprobs(
    ids: Iterable[int], found: Iterable[Candidates], tokenizer: Tokenizer
) -> list[TokenLogprob]:
    def entry(token: int, logprob: float, top: list[TokenLogprob]) -> TokenLogprob:
        return TokenLogprob(id=token, text=tokenizer.decode([token]), logprob=logprob, top=top)

    return [
        entry(token, each.logprob, [entry(other, value, []) for other, value in each.top])
        for token, each in zip(ids, found, strict=True)
    ]


def succeeded(job: ActiveJob, run: Run, tokenizer: Tokenizer) -> Outcome:
    return Outcome(
        result=[
            [_text(row, tokenizer) for row in _best(_rows_of(job, prompt))]
            for prompt in job.prompts
        ],
        **_facts(job, run),
    )


def failed(job: ActiveJob, run: Run, error: DistilqError) -> Outcome:
    return Outcome(error=error.problem(), **_facts(job, run))


def partial(job: ActiveJob, tokenizer: Tokenizer) -> list[list[dict[str, Any]]]:
    """What a job has so far, in the shape of a result; a text that was cut ends by `length`."""
    for row in job.rows:
        if row.finish_reason is None:
            row.text = text_of(row, tokenizer)
    return [
        [_text(row, tokenizer).model_dump(mode="json") for row in _rows_of(job, prompt)]
        for prompt in job.prompts
    ]


def _rows_of(job: ActiveJob, prompt: Prompt) -> list[Row]:
    return [row for row in job.rows if row.prompt is prompt]


def _best(rows: list[Row]) -> Sequence[Row]:
    """With `best_of` the likeliest rows per token, the likeliest first; else all, as drawn."""
    asked = rows[0].parameters
    if asked.best_of is None:
        return rows
    ranked = sorted(rows, key=lambda row: -row.logprob_sum / max(len(row.tokens), 1))
    return ranked[: asked.num_return_sequences]


def _text(row: Row, tokenizer: Tokenizer) -> Text:
    prompt = row.prompt
    known: list[TokenLogprob] | None = None
    if prompt.logprobs is not None:
        first = prompt.ids[0]
        start = TokenLogprob(id=first, text=tokenizer.decode([first]), logprob=None)
        known = [start, *prompt.logprobs]
    return Text(
        generated_text=row.text,
        finish_reason=row.finish_reason or "length",
        generated_tokens=len(row.tokens),
        seed=row.seed,
        stop=row.stop,
        logprobs=row.logprobs if row.parameters.logprobs is not None else None,
        prompt_logprobs=known,
    )


def _facts(job: ActiveJob, run: Run) -> dict[str, Any]:
    """What every outcome says of its job, however it ended."""
    admitted = job.admitted_at
    return {
        "usage": _usage(job),
        "metrics": _metrics(job, run),
        "admitted_ms": None if admitted is None else 1000 * (admitted - job.submitted_at),
        "steps": 0 if job.first_token_at is None else run.steps,
    }


def _usage(job: ActiveJob) -> Usage:
    return Usage(
        prompt_tokens=sum(len(prompt.ids) for prompt in job.prompts),
        generated_tokens=job.tokens_done,
    )


def _metrics(job: ActiveJob, run: Run) -> Metrics:
    ran = run.ended_at - job.submitted_at
    first = job.first_token_at
    return Metrics(
        run_ms=round(1000 * ran, 3),
        time_to_first_token_ms=None
        if first is None
        else round(1000 * (first - job.submitted_at), 3),
        tokens_per_s=round(job.tokens_done / ran, 3) if job.tokens_done and ran > 0 else None,
        batch_size=None if first is None or not run.batch_size else round(run.batch_size, 3),
    )
