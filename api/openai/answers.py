"""Jobs -> OpenAI's completion objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from distilq.jobs import Job, Sequence, TokenLogprob

from .offsets import Offsets, Placed
from .schemas import Choice, ChoiceLogprobs, Completion, CompletionRequest, CompletionUsage

FinishReason = Literal["stop", "length"]


def completion(job: Job, asked: CompletionRequest) -> Completion:
    """The whole answer, from a job that has succeeded."""
    return Completion(
        id=completion_id(job),
        created=created(job),
        model=asked.model,
        choices=list(_choices(job, asked)),
        usage=usage(job, asked),
    )


def completion_id(job: Job) -> str:
    return f"cmpl-{job.id}"


def created(job: Job) -> int:
    return int(job.created_at.timestamp())


def indices(asked: CompletionRequest, prompt: int, sequence: int) -> range:
    """The choices that a row of the job is: all of its prompt's, if they are all the same."""
    first = prompt * asked.choices
    if asked.greedy:
        return range(first, first + asked.choices)
    return range(first + sequence, first + sequence + 1)


def finish_reason(reason: str) -> FinishReason:
    return "length" if reason == "length" else "stop"


def usage(job: Job, asked: CompletionRequest) -> CompletionUsage:
    """Every text that was drawn counts, of best_of also those that are not returned."""
    new = job.usage.generated_tokens * (asked.drawn if asked.greedy else 1)
    return CompletionUsage(
        prompt_tokens=job.usage.prompt_tokens,
        completion_tokens=new,
        total_tokens=job.usage.prompt_tokens + new,
    )


def whole_logprobs(sequence: Sequence) -> ChoiceLogprobs | None:
    """Of a text that is complete; the prompt's too, where the text begins with it."""
    if sequence.logprobs is None:
        return None
    prompt, text = sequence.prompt_logprobs or [], sequence.generated_text
    placed = Offsets().add([*prompt, *sequence.logprobs], text, last=True)
    new = shown(placed[len(prompt) :], len(text), sequence.finish_reason)
    return logprobs([*placed[: len(prompt)], *new])


def shown(placed: Iterable[Placed], length: int, reason: str) -> Iterator[Placed]:
    """Without the tokens of the stop string that ended a text of this length."""
    for at, token in placed:
        if reason != "stop_sequence" or at < length:
            yield min(at, length), token


def logprobs(placed: Iterable[Placed]) -> ChoiceLogprobs:
    found = ChoiceLogprobs(text_offset=[], token_logprobs=[], tokens=[], top_logprobs=[])
    for at, token in placed:
        found.text_offset.append(at)
        found.tokens.append(token.text)
        found.token_logprobs.append(token.logprob)
        found.top_logprobs.append(_likeliest(token))
    return found


def _likeliest(token: TokenLogprob) -> dict[str, float] | None:
    """By text; of several tokens that read alike alone, the likeliest."""
    if token.logprob is None:
        return None
    found: dict[str, float] = {}
    for each in (*token.top, token):
        if each.logprob is not None:
            found.setdefault(each.text, each.logprob)
    return found


def _choices(job: Job, asked: CompletionRequest) -> Iterator[Choice]:
    for prompt, sequences in enumerate(job.result or []):
        for number, sequence in enumerate(sequences):
            for index in indices(asked, prompt, number):
                yield Choice(
                    text=sequence.generated_text,
                    index=index,
                    logprobs=whole_logprobs(sequence),
                    finish_reason=finish_reason(sequence.finish_reason),
                )
