"""Jobs -> what Text Generation Inference answers, whole or token by token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from distilq.errors import DistilqError, GenerationFailed
from distilq.events import Came, Event, Token
from distilq.jobs import Job, JobStatus, Sequence, TokenLogprob

from ..context import store
from ..sse import message
from ..synchronous import told_once
from ..waiting import no_use_in_waiting
from .errors import body
from .schemas import (
    BestOfSequence,
    Details,
    GeneratedToken,
    GenerateParameters,
    Generation,
    PrefillToken,
    StreamDetails,
    StreamEvent,
    TextDetails,
)

#: The texts of a sequence's tokens, by their ids.
Texts = dict[tuple[int, ...], list[str]]


def generation(asked: GenerateParameters, job: Job) -> Generation:
    """A job that has succeeded, as one object."""
    best, *others = (job.result or [[]])[0]
    if not asked.detailed:
        return Generation(generated_text=_whole(best))
    texts = _texts(job)
    details = Details(**_details(asked, best, texts))
    if asked.sequences > 1:
        details.best_of_sequences = [
            BestOfSequence(generated_text=_whole(other), **_details(asked, other, texts))
            for other in others
        ]
    return Generation(generated_text=_whole(best), details=details)


class Telling:
    """A job that is followed, as TGI streams it: one event per token, the whole text in the last.

    A token is told of once, whatever its workers die of; the last one when the job has succeeded.
    """

    def __init__(self, asked: GenerateParameters) -> None:
        self._asked = asked
        self._told: dict[tuple[int, int], list[int]] = {}
        self._last: Token | None = None

    def __call__(self, events: list[Event]) -> Iterator[str]:
        for event in told_once(events, self._told):
            if not isinstance(event, Came):
                yield self._end(event.job)
            elif event.token.finish_reason is None:
                yield _message(self._event(event.token))
            else:
                self._last = event.token

    def _end(self, job: Job) -> str:
        if job.status is not JobStatus.SUCCEEDED:
            return _error(job.error or GenerationFailed().problem())
        sequence, last = (job.result or [[]])[0][0], self._last
        if last is None or last.index + 1 != sequence.generated_tokens:
            return failed(GenerationFailed("tokens are missing; the job has them all"))
        event = self._event(last)
        event.generated_text = _whole(sequence)
        if self._asked.details:
            event.details = StreamDetails(
                finish_reason=sequence.finish_reason,
                generated_tokens=sequence.generated_tokens,
                seed=sequence.seed,
                input_length=job.usage.prompt_tokens,
            )
        return _message(event)

    def _event(self, token: Token) -> StreamEvent:
        found = token.likeliest
        if found is None:
            raise GenerationFailed("a token came without its log-probability")
        return StreamEvent(
            index=token.index + 1,
            token=_token(found, token.text + (token.stop or "")),
            top_tokens=_top(found) if self._asked.top_n_tokens else None,
        )


def failed(error: DistilqError) -> str:
    """The event that ends a stream which cannot go on."""
    return _error(error.problem())


def _error(problem: dict[str, Any]) -> str:
    return message("", json.dumps(body(problem)))


def _message(event: StreamEvent) -> str:
    # In ASCII: httpx, in the client, takes U+2028 and its like for the end of a line.
    return message("", json.dumps(event.model_dump()))


def _details(asked: GenerateParameters, sequence: Sequence, texts: Texts) -> dict[str, Any]:
    found = sequence.logprobs or []
    said = texts.get(tuple(token.id for token in found), [token.text for token in found])
    return dict(
        TextDetails(
            finish_reason=sequence.finish_reason,
            generated_tokens=sequence.generated_tokens,
            seed=sequence.seed,
            prefill=[
                PrefillToken(id=token.id, text=token.text, logprob=token.logprob)
                for token in sequence.prompt_logprobs or []
            ],
            tokens=[_token(token, text) for token, text in zip(found, said, strict=True)],
            top_tokens=[_top(token) for token in found] if asked.top_n_tokens else None,
        )
    )


def _texts(job: Job) -> Texts:
    """What each token gave of its text, which tokens read alone do not tell: a character may
    take several. Nothing where it cannot be had; the job is done, and that goes first."""
    ids: dict[tuple[int, int], list[int]] = {}
    texts: dict[tuple[int, int], list[str]] = {}
    with suppress(DistilqError):
        for events in store().follow(job.id, None, no_use_in_waiting()):
            for event in told_once(events, ids):
                if isinstance(event, Came):
                    token = event.token
                    said = texts.setdefault((token.input, token.sequence), [])
                    said.append(token.text + (token.stop or ""))
    return {tuple(ids[place]): said for place, said in texts.items()}


def _token(found: TokenLogprob, text: str) -> GeneratedToken:
    # What reads as nothing is special: a worker decodes tokens without those that are no text.
    logprob = found.logprob if found.logprob is not None else 0.0
    return GeneratedToken(id=found.id, text=text, logprob=logprob, special=not found.text)


def _top(found: TokenLogprob) -> list[GeneratedToken]:
    return [_token(each, each.text) for each in found.top]


def _whole(sequence: Sequence) -> str:
    """The text as TGI gives it: a stop string that ended it is its end."""
    return sequence.generated_text + (sequence.stop or "")
