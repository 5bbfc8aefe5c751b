"""A job that is followed -> the chunks of OpenAI's streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from distilq.errors import DistilqError, GenerationFailed
from distilq.events import Came, Ended, Event, Stands, Token
from distilq.jobs import Job, JobStatus, Sequence

from ..sse import message
from ..synchronous import told_once
from . import answers, errors
from .offsets import Offsets
from .schemas import Choice, ChoiceLogprobs, CompletionRequest

DONE = message("", "[DONE]")


def failed(error: DistilqError) -> str:
    """What ends a stream that cannot go on: openai's client raises it."""
    return _data(errors.body(error.problem()))


@dataclass
class _Row:
    """What has been told of one sequence of the job."""

    length: int = 0
    tokens: int = 0
    ended: bool = False
    offsets: Offsets = field(default_factory=Offsets)


class Chunks:
    """Writes a job's events as chunks: one per token that gives text, and no empty ones between.

    Of a choice that begins with token ids, or with the log-probabilities of its prompt, nothing
    can be told before the worker has: it comes in one piece, at the end.
    """

    def __init__(self, asked: CompletionRequest) -> None:
        self._asked = asked
        self._at_once = bool(asked.echo) and (
            asked.logprobs is not None or not isinstance(asked.prompts[0], str)
        )
        self._told: dict[tuple[int, int], list[int]] = {}
        self._rows: dict[tuple[int, int], _Row] = {}
        self._job: Job | None = None

    def shown(self, events: list[Event]) -> Iterator[str]:
        for event in events:
            if isinstance(event, Stands) and self._job is None:
                self._job = event.job
                yield from self._prompts()
        for told in told_once(events, self._told):
            if isinstance(told, Came):
                yield from self._token(told.token)
            else:
                yield from self._end(told)

    def _prompts(self) -> Iterator[str]:
        """The prompts that are texts, before what is generated for them."""
        if not self._asked.echo or self._at_once:
            return
        sequences = range(self._asked.parameters.num_return_sequences)
        for number, prompt in enumerate(self._asked.prompts):
            if isinstance(prompt, str) and prompt:
                for sequence in sequences:
                    self._row(number, sequence).length = len(prompt)
                    yield from self._chunks((number, sequence), prompt)

    def _token(self, token: Token) -> Iterator[str]:
        if self._at_once:
            return
        row, reason = self._row(token.input, token.sequence), token.finish_reason
        row.tokens += 1
        row.length += len(token.text)
        row.ended = reason is not None
        found: ChoiceLogprobs | None = None
        if token.likeliest is not None:
            placed = row.offsets.add([token.likeliest], token.text, last=row.ended)
            found = answers.logprobs(answers.shown(placed, row.length, reason or ""))
        if token.text or row.ended or (found and found.tokens):
            yield from self._chunks((token.input, token.sequence), token.text, found, reason)

    def _end(self, event: Ended) -> Iterator[str]:
        job = event.job
        if job.status is not JobStatus.SUCCEEDED:
            yield _data(errors.body(job.error or GenerationFailed().problem()))
            return
        for prompt, sequences in enumerate(job.result or []):
            for number, sequence in enumerate(sequences):
                if not self._row(prompt, number).ended:
                    yield from self._rest((prompt, number), sequence)
        if self._asked.stream_options and self._asked.stream_options.include_usage:
            yield self._chunk([], answers.usage(job, self._asked).model_dump())
        yield DONE

    def _rest(self, place: tuple[int, int], sequence: Sequence) -> Iterator[str]:
        """What no token has told: all of it, where nothing is told before the end."""
        row, text, reason = self._row(*place), sequence.generated_text, sequence.finish_reason
        found: ChoiceLogprobs | None = None
        if self._at_once:
            found = answers.whole_logprobs(sequence)
        elif sequence.logprobs is not None:
            placed = row.offsets.add(sequence.logprobs[row.tokens :], text[row.length :], last=True)
            found = answers.logprobs(answers.shown(placed, len(text), reason))
        yield from self._chunks(place, text[row.length :], found, reason)

    def _row(self, prompt: int, sequence: int) -> _Row:
        return self._rows.setdefault((prompt, sequence), _Row())

    def _chunks(
        self,
        place: tuple[int, int],
        text: str,
        logprobs: ChoiceLogprobs | None = None,
        reason: str | None = None,
    ) -> Iterator[str]:
        ended = None if reason is None else answers.finish_reason(reason)
        for index in answers.indices(self._asked, *place):
            choice = Choice(text=text, index=index, logprobs=logprobs, finish_reason=ended)
            yield self._chunk([choice])

    def _chunk(self, choices: list[Choice], usage: dict[str, Any] | None = None) -> str:
        if self._job is None:
            raise RuntimeError("a stream begins with how the job stands")
        chunk: dict[str, Any] = {
            "id": answers.completion_id(self._job),
            "object": "text_completion",
            "created": answers.created(self._job),
            "model": self._asked.model,
            "choices": [choice.model_dump() for choice in choices],
        }
        if self._asked.stream_options and self._asked.stream_options.include_usage:
            chunk["usage"] = usage
        return _data(chunk)


def _data(body: dict[str, Any]) -> str:
    return message("", json.dumps(body))  # in ASCII: some clients take U+2028 for a line's end
